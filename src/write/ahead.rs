//! The next chunk, read while the database still works on this one.
//!
//! Only where a whole batch more is durable already, that is while the writer catches up: taking what little there is
//! would make the next transaction a small one. Bounds: one chunk, on one thread of the runtime's blocking pool.
//!
//! Invariant: what was read ahead is used only when it follows the position that was reached; after a failure, a restart
//! or a dead letter that is not so, it is read again.

use tokio::task::JoinHandle;

use crate::journal::{Chunk, Feed, FeedError, Journal, Position, ReadLimits};

/// What a reading ends with: the reader itself, and what it read.
type Reading = JoinHandle<(Feed, Result<Chunk, FeedError>)>;

/// The reader of a journal, and the chunk that it has read ahead.
#[derive(Default)]
pub(super) struct Ahead {
    feed: Option<Feed>,
    /// The position that is read from, and the reading.
    reading: Option<(Position, Reading)>,
    /// The position that it follows, and the chunk.
    read: Option<(Position, Chunk)>,
}

impl Ahead {
    /// What follows a position: the chunk that was read ahead, or one that is read now.
    ///
    /// # Errors
    /// When a segment cannot be read; the call can be repeated.
    pub fn read(
        &mut self,
        journal: &Journal,
        after: Position,
        up_to: Position,
        limits: ReadLimits,
    ) -> Result<Chunk, FeedError> {
        match self.read.take() {
            Some((follows, chunk)) if follows == after => Ok(chunk),
            _ => self.feed.get_or_insert_with(|| journal.feed()).read(after, up_to, limits),
        }
    }

    /// Begins to read what comes after a position, if that is a whole batch and not read already.
    pub fn begin(&mut self, journal: &Journal, after: Position, limits: ReadLimits) {
        let up_to = journal.durable();
        let is_read = self.read.as_ref().is_some_and(|(follows, _)| *follows == after);
        if is_read || up_to.0.saturating_sub(after.0) < limits.records as u64 {
            return;
        }
        let mut feed = self.feed.take().unwrap_or_else(|| journal.feed());
        let reading = tokio::task::spawn_blocking(move || {
            let chunk = feed.read(after, up_to, limits);
            (feed, chunk)
        });
        self.reading = Some((after, reading));
    }

    /// Waits for what [`Self::begin`] began.
    pub async fn finish(&mut self) {
        let Some((after, reading)) = self.reading.take() else { return };
        // A failure comes again, and is told, when the chunk is read in its turn; so does a panic.
        if let Ok((feed, chunk)) = reading.await {
            self.feed = Some(feed);
            self.read = chunk.ok().map(|chunk| (after, chunk));
        }
    }
}
