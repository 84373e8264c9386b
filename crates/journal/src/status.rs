//! What a journal tells of itself, live or from its files alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_log::{AcceptedDatabase, ReadLimits};

use super::directory::{self, Look};
use super::error::OpenError;
use super::index::{Segment, SegmentIndex, applied_segments};
use super::layout::{other_bytes, preallocated_bytes};
use super::reader::SegmentReader;
use super::shared::Shared;
use super::{JournalId, JournalOptions, Position};

/// Whether a journal accepts records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalState {
    Open,
    /// `journal.max_bytes` is reached.
    Full,
    /// The last write or fsync failed.
    Failing,
    Closed,
}

impl JournalState {
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
    /// until the applier has read it.
    pub oldest_unapplied_at_ms: Option<u64>,
    pub queued_records: usize,
    pub queue_capacity: usize,
    pub segments: usize,
    pub disk_bytes: u64,
    /// What of it segments take that are applied and kept; records that need the room get it.
    pub kept_bytes: u64,
    pub max_bytes: u64,
    pub state: JournalState,
}

/// A journal as health, metrics and the command line see it; clones share it.
#[derive(Clone)]
pub struct LogStatus(Arc<Shared>);

impl LogStatus {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Which of a process's journals this is, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The bounds it was started with.
    #[must_use]
    pub fn options(&self) -> &JournalOptions {
        &self.0.options
    }

    /// The directory its files lie in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// How many dead letters waited when the collector last looked, a moment ago.
    #[must_use]
    pub fn waiting_letters(&self) -> u64 {
        self.0.index.waiting_letters.load(Ordering::Relaxed)
    }

    /// The journal at this moment. Reads atomics and takes a short lock.
    #[must_use]
    pub fn snapshot(&self) -> JournalStatus {
        let shared = &self.0;
        let applied_known = shared.applied_known.load(Ordering::Acquire);
        let (durable, applied) = (shared.durable(), shared.applied());
        let at_least = if applied_known { applied } else { shared.applied_before }.max(shared.trim_point());
        let oldest_ms = match shared.unapplied_since_ms.load(Ordering::Relaxed) {
            0 if !applied_known && at_least < durable => shared.index.begun_after(at_least).unwrap_or(0),
            since => since,
        };
        JournalStatus {
            id: shared.id,
            durable,
            applied: applied_known.then_some(applied),
            lag_records: shared.index.records_between(at_least, durable),
            oldest_unapplied_at_ms: (oldest_ms > 0).then_some(oldest_ms),
            queued_records: shared.queue.len(),
            queue_capacity: shared.options.queue_records,
            segments: shared.index.with(|segments| segments.len()),
            disk_bytes: shared.index.disk_bytes(),
            kept_bytes: shared.index.kept_bytes.load(Ordering::Relaxed),
            max_bytes: shared.options.max_bytes,
            state: if shared.is_closed() {
                JournalState::Closed
            } else if shared.failing.load(Ordering::Acquire) {
                JournalState::Failing
            } else if shared.full.load(Ordering::Acquire) {
                JournalState::Full
            } else {
                JournalState::Open
            },
        }
    }
}

/// A journal's files, looked at without taking them: a server may be running.
pub struct Inspection {
    pub id: JournalId,
    durable: Position,
    trim_point: Position,
    /// How far the database was when the last run ended in order.
    applied_before: Position,
    index: Arc<SegmentIndex>,
}

/// Says that a journal is to be applied to another database from now on. A server that runs takes it up.
///
/// # Errors
/// When it cannot be written.
pub fn accept_database(path: &Path, accepted: &AcceptedDatabase) -> std::io::Result<()> {
    super::control_files::accept_database(path, accepted)
}

/// Looks at the journal in a directory.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn inspect(path: &Path) -> Result<Inspection, OpenError> {
    let Look { id, segments, last, trim_point, applied_before } = directory::look(path)?;
    let index = SegmentIndex::of(segments, other_bytes(path));
    index.preallocated_bytes.store(preallocated_bytes(path), Ordering::Relaxed);
    let index = Arc::new(index);
    Ok(Inspection { id, durable: last, trim_point, applied_before, index })
}

impl Inspection {
    /// How far the database was, as far as it was written down, and how far segments are deleted.
    #[must_use]
    pub fn applied_and_trimmed(&self) -> (Position, Position) {
        (self.applied_before.max(self.trim_point), self.trim_point)
    }

    /// How many records were given positions after one and up to another.
    #[must_use]
    pub fn records_between(&self, after: Position, through: Position) -> u64 {
        self.index.records_between(after, through)
    }

    /// The status, with how far the database says it is.
    #[must_use]
    pub fn status(&self, applied: Option<Position>, max_bytes: u64) -> JournalStatus {
        let from = applied.unwrap_or(self.applied_before).max(self.trim_point);
        let lag_records = self.index.records_between(from, self.durable);
        let kept = |segments: &mut Vec<Segment>| {
            let done = applied_segments(segments, from);
            segments[..done].iter().map(|segment| segment.bytes).sum()
        };
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
            kept_bytes: self.index.with(kept),
            max_bytes,
            state: JournalState::Open,
        }
    }

    /// When the first record after a position was appended.
    fn appended_after(&self, position: Position) -> Option<u64> {
        let first = ReadLimits { records: 1, bytes: 1 << 20 };
        let mut reader = SegmentReader::new(self.id, Arc::clone(&self.index));
        reader.read(position, self.durable, first).ok()?.oldest_at_ms()
    }
}
