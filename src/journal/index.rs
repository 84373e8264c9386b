//! What both sides know of a journal's segments: the appender, the feed, the keeper, and whoever asks how much is left.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Position;

/// How far positions jump after an unclean stop: more records than a segment, or an outage, can hold.
pub(super) const JUMP: u64 = 1 << 32;

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
}

/// The list of segments, oldest first, shared by the appender, the feed and the keeper. Held for moments only.
#[derive(Debug, Default)]
pub(super) struct SegmentIndex {
    segments: Mutex<Vec<Segment>>,
    /// What the journal's other files take: dead letters, the torn tail, notes.
    pub other_bytes: AtomicU64,
    /// What the file takes that is to be the next segment.
    pub spare_bytes: AtomicU64,
}

impl SegmentIndex {
    pub fn of(segments: Vec<Segment>, other_bytes: u64) -> Self {
        Self {
            segments: Mutex::new(segments),
            other_bytes: AtomicU64::new(other_bytes),
            spare_bytes: AtomicU64::new(0),
        }
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Vec<Segment>) -> T) -> T {
        look(&mut self.segments.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn disk_bytes(&self) -> u64 {
        self.with(|segments| segments.iter().map(|segment| segment.bytes).sum::<u64>())
            + self.other_bytes.load(Ordering::Relaxed)
            + self.spare_bytes.load(Ordering::Relaxed)
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
        // A crash may have cost records that were applied: then the jump began before them.
        let jump = self.with(|segments| {
            segments.iter().find(|segment| segment.previous < from && from < segment.first).map(|next| next.previous)
        });
        given_between(jump.unwrap_or(from), to)
    }
}

/// How many positions after one and up to another were given. Every jump leaves out `JUMP - 1`, and what is given between
/// two jumps is far less, so their number can be told from the distance alone.
pub(super) fn given_between(after: Position, through: Position) -> u64 {
    let distance = through.0.saturating_sub(after.0);
    let jumps = distance.saturating_add(JUMP / 2) / JUMP;
    distance.saturating_sub(jumps * (JUMP - 1))
}
