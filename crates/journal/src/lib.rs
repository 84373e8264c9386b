//! A durable journal on plain segment files: where an event becomes a record on disk.
//!
//! [`Journal::open`] takes a directory and starts one thread. Each kind of user holds a handle of its own:
//!
//! - [`Appender`]: hands records over and awaits their [`Ack`]s. An ack completes after the record is written and fsynced;
//!   one fsync serves everything that waits (group commit). A thread that appends much also runs
//!   [`complete_acks_on_this_thread`].
//! - [`JournalReader`], a [`weir_log::LogReader`]: the next records after a position.
//! - [`JournalOffsets`], a [`weir_log::Offsets`]: how far the database is, and who waits for that.
//! - [`SegmentCollector`]: deletes the segments that are applied, when they have been kept for long enough.
//! - [`DeadLetters`], a [`weir_log::DeadLetterQueue`]: what the database refused, or what was corrupt, with the reason.
//! - [`LogStatus`]: what health, metrics and the command line show. [`inspect`] does it without taking the directory.
//!
//! It knows no HTTP, no database, no actor, and nothing of what its records mean.
//!
//! ```
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! use std::sync::Arc;
//! use weir_journal::{Journal, JournalOptions};
//! use weir_log::{LogReader, Position, ReadLimits};
//!
//! let directory = tempfile::tempdir().unwrap();
//! let journal = Journal::open("example", directory.path(), JournalOptions::default(), Arc::new(())).unwrap();
//! let appender = journal.appender();
//! appender.append(b"a record".to_vec()).unwrap().await.unwrap();
//! // From here on it survives `kill -9` and a power cut.
//!
//! let mut reader = journal.reader();
//! let limits = ReadLimits { records: 100, bytes: 1 << 20 };
//! let batch = reader.read(Position::START, reader.end(), limits).unwrap();
//! assert_eq!(&batch.records[0].payload[..], b"a record");
//! appender.close();
//! # });
//! ```
//!
//! Inside, bottom up, each room knowing only those before it: `disk` (the file system), `format` (the bytes),
//! `layout` (the files' names), `ballast` and `control_files`, `index`, `recovery`, `directory` (taking one, and what is found
//! there), `preallocated`, `segments` (the log, behind the trait in `storage`), `reader`, `completion`, `shared`,
//! `group_commit`, `commit` (the thread), and the handles.
//!
//! Invariants:
//! - An ack follows the fsync; a batch whose write or fsync failed is never acknowledged and never readable.
//! - Positions grow and are never given twice, also across a crash that cost the log its tail.
//! - Memory is bounded (queue), disk is bounded (`max_bytes`, every file counted); at either bound `append` refuses.
//!
//! Cost: see the `journal` benchmark; about 1 µs of CPU a record at batches of 100, plus one fdatasync a batch.

mod appender;
mod ballast;
mod collector;
mod commit;
mod completion;
mod control_files;
mod dead_letters;
mod directory;
mod disk;
mod error;
pub mod format;
mod group_commit;
mod index;
mod journal;
mod kept;
mod layout;
mod observer;
mod offsets;
mod preallocated;
mod reader;
mod recovery;
mod segments;
mod shared;
mod status;
mod storage;
mod waiting;

use std::time::Duration;

pub use appender::{Ack, Appender};
pub use collector::SegmentCollector;
#[cfg(feature = "virtual-disk")]
pub use commit::CommitByHand;
pub use completion::complete_acks_on_this_thread;
pub use dead_letters::DeadLetters;
#[cfg(feature = "virtual-disk")]
pub use disk::{Open, VirtualDisk, with_disk};
pub use error::{AppendError, OpenError};
pub use journal::Journal;
pub use observer::{CommittedBatch, JournalObserver};
pub use offsets::JournalOffsets;
pub use reader::{JournalReader, SegmentReader};
pub use segments::SegmentStorage;
pub use status::{Inspection, JournalState, JournalStatus, LogStatus, accept_database, inspect};
pub use storage::{Storage, StorageError};
pub use weir_log::{JournalId, Position};

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
    /// How long a segment stays after all of it is applied, so that a database that goes back can be followed.
    pub keep_applied: Duration,
    /// The most that such segments may take together, in bytes. They count against `max_bytes`, and go when records need
    /// their room.
    pub keep_applied_bytes: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            max_bytes: 8 << 30,
            segment_bytes: 64 << 20,
            fsync: true,
            queue_records: 16_384,
            queue_bytes: 32 << 20,
            keep_applied: Duration::ZERO,
            keep_applied_bytes: 0,
        }
    }
}

impl JournalOptions {
    /// The size at which a segment is really followed by the next.
    #[must_use]
    pub fn effective_segment_bytes(&self) -> u64 {
        self.segment_bytes.min(self.max_bytes / 4)
    }
}

/// The longest record that a journal accepts, in bytes.
pub const MAX_RECORD_BYTES: usize = 256 << 10;
