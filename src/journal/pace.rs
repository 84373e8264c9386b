//! How long the commit thread lets records gather before the next fsync, where they come in company.
//!
//! A quick disk would sync a handful at a time, and an fsync costs as much CPU as several requests, not to speak of the
//! threads that it wakes. So an fsync waits until the one before it is [`SYNC_EVERY`] old, or until there are
//! [`COMPANY_BYTES`] to write: clients that all wait for the same fsync must not wait for a clock as well. A record that
//! comes alone never waits.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// The least time from one fsync to the next, while records come in company and are few.
pub(super) const SYNC_EVERY: Duration = Duration::from_millis(1);
/// So many payload bytes wait for nothing: some thirty sessions.
const COMPANY_BYTES: usize = 12 << 10;

/// The bytes that are queued, and the thread that may be waiting for more of them.
#[derive(Default)]
pub(super) struct Pace {
    queued_bytes: AtomicUsize,
    thread: OnceLock<Thread>,
}

impl Pace {
    /// This thread is the one that waits.
    pub fn attend(&self) {
        self.thread.get_or_init(std::thread::current);
    }

    /// Counts a record in, unless more than `most` bytes would be queued. True for the one that completes the company:
    /// when it is in the queue, [`Self::complete`] is to be called.
    pub fn join(&self, bytes: usize, most: usize) -> Option<bool> {
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let after = before + bytes;
        if after > most {
            self.leave(bytes);
            return None;
        }
        Some(before < COMPANY_BYTES && after >= COMPANY_BYTES)
    }

    /// The company is complete: nobody waits for more.
    pub fn complete(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Records are no longer queued.
    pub fn leave(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Waits for company, no longer than until then. Parked, and not receiving: nobody has to wake this thread for every
    /// record.
    pub fn wait(&self, until: Instant) {
        while self.queued_bytes() < COMPANY_BYTES {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const FAR: Duration = Duration::from_mins(10);

    #[test]
    fn company_that_is_complete_is_not_kept_waiting() {
        let pace = Arc::new(Pace::default());
        let waiting = {
            let pace = Arc::clone(&pace);
            std::thread::spawn(move || {
                pace.attend();
                pace.wait(Instant::now() + FAR);
                pace.queued_bytes()
            })
        };
        while !pace.join(400, usize::MAX).unwrap() {}
        pace.complete();
        assert!(waiting.join().unwrap() >= COMPANY_BYTES);
    }

    #[test]
    fn company_that_is_there_already_waits_for_nothing() {
        let pace = Pace::default();
        pace.attend();
        assert_eq!(pace.join(COMPANY_BYTES, usize::MAX), Some(true));
        assert_eq!(pace.join(COMPANY_BYTES, usize::MAX), Some(false));
        pace.wait(Instant::now() + FAR);
    }

    #[test]
    fn few_records_wait_for_the_clock() {
        let pace = Pace::default();
        pace.attend();
        assert_eq!(pace.join(COMPANY_BYTES - 1, usize::MAX), Some(false));
        let until = Instant::now() + Duration::from_millis(30);
        pace.wait(until);
        assert!(Instant::now() >= until);
    }

    #[test]
    fn what_does_not_fit_is_not_counted() {
        let pace = Pace::default();
        assert!(pace.join(60, 100).is_some());
        assert_eq!(pace.join(41, 100), None);
        assert!(pace.join(40, 100).is_some());
        pace.leave(100);
        assert_eq!(pace.queued_bytes(), 0);
    }
}
