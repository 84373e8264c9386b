//! What a journal tells whoever measures it.

use std::time::Duration;

/// A batch that is durable.
#[derive(Clone, Copy, Debug)]
pub struct CommittedBatch {
    pub records: usize,
    /// With their frames.
    pub bytes: u64,
    /// To write and sync it.
    pub took: Duration,
}

/// Told by the commit thread, a few times a batch: it must return at once.
pub trait JournalObserver: Send + Sync + 'static {
    /// A batch is durable; its acks are about to be completed.
    fn batch_committed(&self, _batch: CommittedBatch) {}
    /// One fdatasync took so long.
    fn synced(&self, _took: Duration) {}
    /// A batch could not be made durable.
    fn batch_failed(&self) {}
    /// The commit thread panicked, told the senders of its batch, and goes on in a new segment.
    fn panicked(&self) {}
}

/// Nobody measures.
impl JournalObserver for () {}
