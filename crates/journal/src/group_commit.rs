//! The group-commit delay: how long the commit thread lets records gather before the next fsync.
//!
//! A quick disk would sync a handful at a time, and an fsync costs as much CPU as several requests, not to speak of the
//! threads that it wakes. So an fsync waits until the one before it is [`SYNC_EVERY`] old, or until there are
//! [`MIN_BATCH_BYTES`] to write: clients that all wait for the same fsync must not wait for a clock as well. A record that
//! comes alone never waits.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// The least time from one fsync to the next, while several records share one and are few.
pub(super) const SYNC_EVERY: Duration = Duration::from_millis(1);
/// So many payload bytes wait for nothing: some thirty sessions.
const MIN_BATCH_BYTES: usize = 12 << 10;

/// The bytes that are queued, and the thread that may be waiting for more of them.
#[derive(Default)]
pub(super) struct GroupCommitDelay {
    queued_bytes: AtomicUsize,
    thread: OnceLock<Thread>,
}

impl GroupCommitDelay {
    /// This thread is the one that waits.
    pub fn register_thread(&self) {
        self.thread.get_or_init(std::thread::current);
    }

    /// Counts a record in, unless more than `most` bytes would be queued. True for the one that completes a batch: when it is
    /// in the queue, [`Self::batch_complete`] is to be called.
    pub fn enqueue(&self, bytes: usize, most: usize) -> Option<bool> {
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let after = before + bytes;
        if after > most {
            self.dequeue(bytes);
            return None;
        }
        Some(before < MIN_BATCH_BYTES && after >= MIN_BATCH_BYTES)
    }

    /// There is enough for a batch: the thread waits no longer.
    pub fn batch_complete(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Records are no longer queued.
    pub fn dequeue(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Waits for a batch, no longer than until then. Parked, and not receiving: nobody has to wake this thread for every
    /// record.
    pub fn wait(&self, until: Instant) {
        while self.queued_bytes() < MIN_BATCH_BYTES {
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
    fn group_commit_delay_complete_batch_does_not_wait() {
        let delay = Arc::new(GroupCommitDelay::default());
        let waiting = {
            let delay = Arc::clone(&delay);
            std::thread::spawn(move || {
                delay.register_thread();
                delay.wait(Instant::now() + FAR);
                delay.queued_bytes()
            })
        };
        while !delay.enqueue(400, usize::MAX).unwrap() {}
        delay.batch_complete();
        assert!(waiting.join().unwrap() >= MIN_BATCH_BYTES);
    }

    #[test]
    fn group_commit_delay_batch_already_there_does_not_wait() {
        let delay = GroupCommitDelay::default();
        delay.register_thread();
        assert_eq!(delay.enqueue(MIN_BATCH_BYTES, usize::MAX), Some(true));
        assert_eq!(delay.enqueue(MIN_BATCH_BYTES, usize::MAX), Some(false));
        delay.wait(Instant::now() + FAR);
    }

    #[test]
    fn group_commit_delay_few_records_wait_for_deadline() {
        let delay = GroupCommitDelay::default();
        delay.register_thread();
        assert_eq!(delay.enqueue(MIN_BATCH_BYTES - 1, usize::MAX), Some(false));
        let until = Instant::now() + Duration::from_millis(30);
        delay.wait(until);
        assert!(Instant::now() >= until);
    }

    #[test]
    fn group_commit_delay_queue_full_counts_nothing() {
        let delay = GroupCommitDelay::default();
        assert!(delay.enqueue(60, 100).is_some());
        assert_eq!(delay.enqueue(41, 100), None);
        assert!(delay.enqueue(40, 100).is_some());
        delay.dequeue(100);
        assert_eq!(delay.queued_bytes(), 0);
    }
}
