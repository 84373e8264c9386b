//! The list of segments, as the appender, the readers and the collector share it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use weir_log::records_between;

use super::Position;

/// One segment, as both sides know it.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub path: PathBuf,
    pub first: Position,
    /// The last position given before `first`.
    pub previous: Position,
    /// When its first frame was appended; `None` while it has none.
    pub first_at_ms: Option<u64>,
    /// How long the file is, with what it runs ahead of its records.
    pub bytes: u64,
    /// Since when this process knows that all of it is applied. By the monotonic clock: no step of another one counts.
    pub applied_since: Option<Instant>,
}

/// The segments, oldest first. Locked for moments only.
#[derive(Debug, Default)]
pub(super) struct SegmentIndex {
    segments: Mutex<Vec<Segment>>,
    /// What the journal's other files take: dead letters, the torn tail, control files.
    pub other_bytes: AtomicU64,
    /// What the preallocated segment takes.
    pub preallocated_bytes: AtomicU64,
    /// What the segments take that are applied and kept.
    pub kept_bytes: AtomicU64,
    /// How many dead letters wait.
    pub waiting_letters: AtomicU64,
}

impl SegmentIndex {
    pub fn of(segments: Vec<Segment>, other_bytes: u64) -> Self {
        Self {
            segments: Mutex::new(segments),
            other_bytes: AtomicU64::new(other_bytes),
            preallocated_bytes: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            waiting_letters: AtomicU64::new(0),
        }
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Vec<Segment>) -> T) -> T {
        look(&mut self.segments.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn disk_bytes(&self) -> u64 {
        self.with(|segments| segments.iter().map(|segment| segment.bytes).sum::<u64>())
            + self.other_bytes.load(Ordering::Relaxed)
            + self.preallocated_bytes.load(Ordering::Relaxed)
    }

    /// How many segments hold nothing that lies after a position; never the newest.
    pub fn applied_segments(&self, applied: Position) -> usize {
        self.with(|segments| applied_segments(segments, applied))
    }

    /// When the segment was begun that holds the record after a position; that record itself may be younger.
    pub fn begun_after(&self, position: Position) -> Option<u64> {
        self.with(|segments| {
            let at = segments.windows(2).take_while(|pair| pair[1].previous <= position).count();
            segments.iter().skip(at).find_map(|segment| segment.first_at_ms)
        })
    }

    /// How many records lie after `from` and up to `to`.
    pub fn records_between(&self, from: Position, to: Position) -> u64 {
        // A crash may have cost records that were applied: then the gap began before them.
        let gap = self.with(|segments| {
            segments.iter().find(|segment| segment.previous < from && from < segment.first).map(|next| next.previous)
        });
        records_between(gap.unwrap_or(from), to)
    }
}

/// How many of these segments, the oldest first, hold nothing that lies after a position; never the newest.
pub(super) fn applied_segments(segments: &[Segment], applied: Position) -> usize {
    segments.windows(2).take_while(|pair| pair[1].previous <= applied).count()
}
