//! What a journal tells of itself, live or from its files alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::directory::{self, Look, OpenError};
use super::index::SegmentIndex;
use super::notes::other_bytes;
use super::reader::{Feed, ReadLimits};
use super::spare::SpareFile;
use super::{JournalId, Position};

/// Whether a journal takes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// `journal.max_bytes` is reached.
    Full,
    /// The last write or fsync failed.
    Failing,
    Closed,
}

impl State {
    /// The word in answers of `/health/ready`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "ok",
            Self::Full => "full",
            Self::Failing => "failing",
            Self::Closed => "closed",
        }
    }
}

/// A journal at one moment.
#[derive(Clone, Debug)]
pub struct JournalStatus {
    pub id: JournalId,
    /// The last position that is on disk.
    pub durable: Position,
    /// The last position that the database has; `None` while the database was never asked.
    pub applied: Option<Position>,
    /// Records on disk that the database does not have. While it was never asked: that it did not have when the last run
    /// ended in order, or, where that is not known either, all that are on disk.
    pub lag_records: u64,
    /// When the oldest of them was acknowledged, in milliseconds since 1970. It may be said to be as old as its segment
    /// until the writer has read it.
    pub oldest_unapplied_at_ms: Option<u64>,
    pub queued_records: usize,
    pub queue_capacity: usize,
    pub segments: usize,
    pub disk_bytes: u64,
    pub max_bytes: u64,
    pub state: State,
}

/// A journal's files, looked at without taking them: a server may be running.
pub struct Inspection {
    pub id: JournalId,
    durable: Position,
    released: Position,
    /// How far the database was when the last run ended in order.
    applied_before: Position,
    index: Arc<SegmentIndex>,
}

/// Looks at the journal in a directory.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn inspect(path: &Path) -> Result<Inspection, OpenError> {
    let Look { id, segments, last, released, applied_before } = directory::look(path)?;
    let index = SegmentIndex::of(segments, other_bytes(path));
    index.spare_bytes.store(SpareFile::bytes_in(path), Ordering::Relaxed);
    let index = Arc::new(index);
    Ok(Inspection { id, durable: last, released, applied_before, index })
}

impl Inspection {
    /// How many records were given positions after one and up to another.
    #[must_use]
    pub fn records_between(&self, after: Position, through: Position) -> u64 {
        self.index.records_between(after, through)
    }

    /// The status, with how far the database says it is.
    #[must_use]
    pub fn status(&self, applied: Option<Position>, max_bytes: u64) -> JournalStatus {
        let from = applied.unwrap_or(self.applied_before).max(self.released);
        let lag_records = self.index.records_between(from, self.durable);
        JournalStatus {
            id: self.id,
            durable: self.durable,
            applied,
            lag_records,
            oldest_unapplied_at_ms: self.appended_after(from),
            queued_records: 0,
            queue_capacity: 0,
            segments: self.index.with(|list| list.len()),
            disk_bytes: self.index.disk_bytes(),
            max_bytes,
            state: State::Open,
        }
    }

    /// When the first record after a position was appended.
    fn appended_after(&self, position: Position) -> Option<u64> {
        let first = ReadLimits { records: 1, bytes: 1 << 20 };
        let chunk = Feed::new(self.id, Arc::clone(&self.index)).read(position, self.durable, first).ok()?;
        chunk.entries.first().map(|entry| entry.appended_at_ms)
    }
}
