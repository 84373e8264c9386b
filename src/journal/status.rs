//! What a journal tells of itself, live or from its files alone.

use std::path::Path;

use super::directory::{self, Look, OpenError};
use super::index::SegmentIndex;
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
    /// Records on disk that the database does not have.
    pub lag_records: u64,
    /// When the oldest of them was acknowledged, in milliseconds since 1970.
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
    index: SegmentIndex,
}

/// Looks at the journal in a directory.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn inspect(path: &Path) -> Result<Inspection, OpenError> {
    let Look { id, segments, last, released } = directory::look(path)?;
    let index = SegmentIndex::default();
    index.with(|list| *list = segments);
    Ok(Inspection { id, durable: last, released, index })
}

impl Inspection {
    /// The status, with how far the database says it is.
    #[must_use]
    pub fn status(&self, applied: Option<Position>, max_bytes: u64) -> JournalStatus {
        let oldest = self.index.with(|list| list.iter().find_map(|segment| segment.first_at_ms));
        let lag_records = self.index.records_between(applied.unwrap_or_default().max(self.released), self.durable);
        JournalStatus {
            id: self.id,
            durable: self.durable,
            applied,
            lag_records,
            oldest_unapplied_at_ms: oldest.filter(|_| lag_records > 0),
            queued_records: 0,
            queue_capacity: 0,
            segments: self.index.with(|list| list.len()),
            disk_bytes: self.index.disk_bytes(),
            max_bytes,
            state: State::Open,
        }
    }
}
