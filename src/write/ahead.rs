//! The next batch, read and decoded while the database still works on this one.
//!
//! Only where a whole batch more is durable already, that is while the writer catches up: taking what little there is
//! would make the next transaction a small one. Bounds: one batch, on one thread of the runtime's blocking pool.
//!
//! Invariant: what was read ahead is used only when it follows the position that was reached; after a failure, a restart
//! or a dead letter that is not so, it is read again.

use tokio::task::JoinHandle;

use crate::domain::{DecodeError, JournalRecord};
use crate::journal::{Chunk, Damage, Entry, Feed, FeedError, Journal, Position, ReadLimits};

/// What one chunk of the journal holds.
pub(super) struct Batch<R> {
    after: Position,
    /// Everything up to here is in it, or was before it.
    pub through: Position,
    /// When its first record was appended.
    pub oldest_ms: Option<u64>,
    pub records: Vec<R>,
    /// Those of the records, one for one.
    pub entries: Vec<Entry>,
    pub damage: Vec<Damage>,
    pub undecodable: Vec<(Entry, DecodeError)>,
    /// A record that only another version knows.
    pub foreign: Option<(Position, DecodeError)>,
}

impl<R: JournalRecord> Batch<R> {
    /// Reads on after a position.
    ///
    /// # Errors
    /// When a segment cannot be read; the call can be repeated.
    pub fn read(feed: &mut Feed, after: Position, up_to: Position, limits: ReadLimits) -> Result<Self, FeedError> {
        feed.read(after, up_to, limits).map(|chunk| Self::decode(after, chunk))
    }

    fn decode(after: Position, chunk: Chunk) -> Self {
        let mut batch = Self {
            after,
            through: chunk.through,
            oldest_ms: chunk.entries.first().map(|entry| entry.appended_at_ms),
            records: Vec::with_capacity(chunk.entries.len()),
            entries: Vec::with_capacity(chunk.entries.len()),
            damage: chunk.damage,
            undecodable: Vec::new(),
            foreign: None,
        };
        for entry in chunk.entries {
            match R::decode(&entry.payload) {
                Ok(record) => {
                    batch.records.push(record);
                    batch.entries.push(entry);
                }
                Err(error @ DecodeError::UnknownKind { .. }) => {
                    batch.foreign = Some((entry.position, error));
                    break;
                }
                Err(error) => batch.undecodable.push((entry, error)),
            }
        }
        batch
    }
}

/// What a reading ends with: the reader itself, and what it read.
type Reading<R> = JoinHandle<(Feed, Result<Batch<R>, FeedError>)>;

/// The reader of a journal, and the batch that it has read ahead.
pub(super) struct Ahead<R> {
    feed: Option<Feed>,
    reading: Option<Reading<R>>,
    batch: Option<Batch<R>>,
}

impl<R> Default for Ahead<R> {
    fn default() -> Self {
        Self { feed: None, reading: None, batch: None }
    }
}

impl<R: JournalRecord> Ahead<R> {
    /// The batch that was read ahead, if it is the one after this position.
    pub fn take_after(&mut self, position: Position) -> Option<Batch<R>> {
        self.batch.take().filter(|batch| batch.after == position)
    }

    /// The reader, when nobody reads ahead.
    pub fn feed(&mut self, journal: &Journal) -> &mut Feed {
        self.feed.get_or_insert_with(|| journal.feed())
    }

    /// Begins to read what comes after a position, if that is a whole batch.
    pub fn begin(&mut self, journal: &Journal, after: Position, limits: ReadLimits) {
        let up_to = journal.durable();
        if up_to.0.saturating_sub(after.0) < limits.records as u64 {
            return;
        }
        let mut feed = self.feed.take().unwrap_or_else(|| journal.feed());
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let batch = Batch::read(&mut feed, after, up_to, limits);
            (feed, batch)
        }));
    }

    /// Waits for what [`Self::begin`] began.
    pub async fn finish(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        // A failure comes again, and is told, when the batch is read in its turn; so does a panic.
        if let Ok((feed, batch)) = reading.await {
            self.feed = Some(feed);
            self.batch = batch.ok();
        }
    }
}
