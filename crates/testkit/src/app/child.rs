//! A process that was started, and its end.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// How often a process is asked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running server; killed when it is dropped.
pub(super) struct Process {
    pub child: Child,
    /// With the scheme; empty until it is known.
    pub address: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Waits for its end; `None` when it outlasts the tests' patience.
    pub async fn ended(&mut self) -> Option<ExitStatus> {
        ended(&mut self.child).await
    }
}

/// Waits for the end of a child; `None` when it outlasts the tests' patience.
pub(super) async fn ended(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
