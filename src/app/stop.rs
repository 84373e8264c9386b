//! The end: not ready, no new connections, answer what is in flight, sync the journals, drain the writers, by a deadline.
//!
//! Invariant: whatever is left when the deadline passes is on disk, and is applied by the next start. Clients get half of
//! the time at most: one that does not finish its request must not keep the journals from their orderly end.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};

use super::AppError;
use super::waiting::waiting;
use crate::http::AppState;
use weir_journal::Journal;

/// Stops from the front to the back.
pub(super) async fn stop(state: &Data<AppState>, journals: [Journal; 2], servers: Vec<ServerHandle>, time: Duration) {
    let (clients, deadline) = (Instant::now() + time / 2, Instant::now() + time);
    state.draining.store(true, Ordering::Release);
    let connections = || format!("{} connections", state.connections.open());
    by_deadline(clients, "requests in flight", connections, async {
        for server in &servers {
            server.stop(true).await;
        }
    })
    .await;
    for journal in &journals {
        let appender = journal.appender();
        let queued = || format!("{} records of {}", journal.status().snapshot().queued_records, journal.name());
        by_deadline(deadline, "the journals", queued, on_a_thread(move || appender.close())).await;
    }
    by_deadline(deadline, "the writers", || behind(&journals), async {
        for journal in &journals {
            let offsets = journal.offsets();
            offsets.wait_applied(offsets.durable()).await;
        }
    })
    .await;
    for journal in &journals {
        let lag = journal.status().snapshot().lag_records;
        tracing::info!(journal = journal.name(), left_for_the_next_start = lag, "stopped");
        let offsets = journal.offsets();
        by_deadline(
            deadline,
            "the applied position cannot be written yet",
            || journal.name().to_owned(),
            on_a_thread(move || {
                if let Err(error) = offsets.remember_applied() {
                    tracing::warn!(journal = offsets.name(), %error, "the applied position could not be written to its control file");
                }
            }),
        )
        .await;
    }
}

/// Runs what waits for a disk. The thread is joined by nobody: a disk that hangs must not outlive the deadline.
async fn on_a_thread(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    let _ = ended.await;
}

/// How much the databases do not have yet.
fn behind(journals: &[Journal]) -> String {
    let of_each =
        |journal: &Journal| format!("{} records of {}", journal.status().snapshot().lag_records, journal.name());
    journals.iter().map(of_each).collect::<Vec<_>>().join(", ")
}

/// Does the work, or gives up on it when the deadline passes.
async fn by_deadline(deadline: Instant, what: &'static str, left: impl Fn() -> String, work: impl Future<Output = ()>) {
    if timeout_at(deadline, waiting(what, left, work)).await.is_err() {
        tracing::warn!(waiting_for = what, "the deadline of the stop passed");
    }
}

/// The signals that end the process.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub fn install() -> Result<Self, AppError> {
        let install = |kind| signal(kind).map_err(|source| AppError::System { action: "listen for signals", source });
        Ok(Self { interrupt: install(SignalKind::interrupt())?, terminate: install(SignalKind::terminate())? })
    }

    /// The next signal's name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupt",
            _ = self.terminate.recv() => "terminate",
        }
    }
}
