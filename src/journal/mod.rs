//! The durable journal: where an event becomes a record on disk.
//!
//! One journal per database. Handlers call [`Journal::append`] and await the [`Ack`]; it completes after the record is
//! written and fsynced. A writer follows with a [`Feed`]: the next records after a position. Nothing outside this
//! folder knows what a journal is made of.
//!
//! - `handle`: what everybody else holds of it.
//! - `commit`: the thread that gathers what waits, appends it at once and syncs once.
//! - `pace`: how long it lets records gather.
//! - `desk`: where acks are completed, by the threads that appended.
//! - `storage`: what that thread needs of a log, as a trait.
//! - `segments`, `reader`, `format`: that log on plain files, and reading it back.
//! - `spare`: the next of these files, written before its time.
//! - `directory`, `recovery`, `index`, `notes`: taking a directory, what is found there, and what is kept of it.
//! - `keeper`: deletes what the database has applied.
//! - `reserve`: room for that on a disk that is full.
//! - `dead_letters`: what a database refused, or what was damaged, with the reason.
//!
//! Invariants:
//! - An ack follows the fsync; a batch whose write or fsync failed is never acknowledged and never readable.
//! - Positions grow and are never given twice, also across a crash that cost the log its tail.
//! - Memory is bounded (queue), disk is bounded (`journal.max_bytes`, every file counted); at either bound `append`
//!   refuses.
//!
//! Cost: see the `journal` benchmark; about 1 µs of CPU a record at batches of 100, plus one fdatasync a batch.

mod commit;
mod dead_letters;
mod desk;
mod directory;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod handle;
mod index;
mod keeper;
mod notes;
mod pace;
mod reader;
mod recovery;
mod reserve;
mod segments;
mod spare;
mod status;
mod storage;

pub use dead_letters::{DeadLetter, DeadLetterReason, DeadLetters};
pub use desk::attend_desk;
pub use directory::OpenError;
pub use handle::{Ack, AppendError, Journal};
pub use keeper::Keeper;
pub use reader::{Chunk, Damage, Entry, Feed, FeedError, ReadLimits};
pub use segments::SegmentStorage;
pub use status::{Inspection, JournalStatus, State, inspect};
pub use storage::{Storage, StorageError};

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A record's place in its journal: 1 is the first, 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(pub u64);

impl Position {
    /// Before the first record.
    pub const START: Self = Self(0);

    /// The last one that a database's column can name. A higher one was never given: what says it is damaged.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The place right after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The random identity of a journal, made with it. A database remembers how far it applied *this* journal, so a wiped
/// or exchanged data directory cannot be mistaken for the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalId(pub Uuid);

impl fmt::Display for JournalId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How a journal is bounded and how careful it is.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// The most its files may take together, in bytes.
    pub max_bytes: u64,
    /// When a segment is followed by the next, in bytes. A quarter of `max_bytes` where that is less: a journal
    /// that could never start a second segment could never delete the first.
    pub segment_bytes: u64,
    /// False gives up the promise on power failure (not on a crash of the process) for the price of an fsync.
    pub fsync: bool,
    /// The most records that may wait for the disk.
    pub queue_records: usize,
    /// The most bytes that may wait for the disk.
    pub queue_bytes: usize,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { max_bytes: 8 << 30, segment_bytes: 64 << 20, fsync: true, queue_records: 16_384, queue_bytes: 32 << 20 }
    }
}

impl JournalOptions {
    /// The size at which a segment is really followed by the next.
    #[must_use]
    pub fn effective_segment_bytes(&self) -> u64 {
        self.segment_bytes.min(self.max_bytes / 4)
    }
}

/// The longest record a journal takes, in bytes: a request body is at most 64 KiB, and enrichment adds little.
pub const MAX_RECORD_BYTES: usize = 256 << 10;
