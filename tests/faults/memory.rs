//! How much memory a server has resident, looked at while something else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use weir_testkit::TestApp;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Resident bytes of the server at this moment.
pub fn resident_bytes(app: &TestApp) -> u64 {
    of(app.pid())
}

pub fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

fn of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Keeps the highest figure until it is asked for.
pub struct Peak {
    highest: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Peak {
    pub fn of(app: &TestApp) -> Self {
        let (highest, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let peak = Self { highest: Arc::clone(&highest), over: Arc::clone(&over) };
        let pid = app.pid();
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                highest.fetch_max(of(pid), Ordering::Relaxed);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        peak
    }

    pub fn bytes(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
