//! The state that a journal's handles and its commit thread share: atomics and a short lock, nothing that waits.

use super::disk::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::Notify;

use super::completion::{AckSender, QueueId};
use super::group_commit::GroupCommitDelay;
use super::index::SegmentIndex;
use super::{JournalId, JournalOptions, Position};

/// A record on its way to the disk, and who waits for it.
pub(super) struct Pending {
    pub payload: Vec<u8>,
    /// Where the ack is completed.
    pub queue: Option<QueueId>,
    pub ack: AckSender,
}

/// What the commit thread is told.
pub(super) enum Command {
    Append(Pending),
    /// Write what came before this, then end.
    Close,
}

pub(super) struct Shared {
    pub name: &'static str,
    pub id: JournalId,
    pub options: JournalOptions,
    pub path: PathBuf,
    pub queue: Sender<Command>,
    pub delay: GroupCommitDelay,
    pub index: Arc<SegmentIndex>,
    /// The last position that is on disk.
    pub durable: AtomicU64,
    pub durable_moved: Arc<Notify>,
    /// How far segments were deleted, in this run or an earlier one.
    pub trim_point: AtomicU64,
    /// How far the database was when the last run ended in order. Told, never acted on: it may have been restored since.
    pub applied_before: Position,
    pub applied: AtomicU64,
    /// How far the control file says that the database is.
    pub applied_noted: AtomicU64,
    /// Held while segments are deleted: the collector does it, and the commit thread where records need the room. When
    /// `applied_noted` was last written.
    pub deleting: Mutex<Option<Instant>>,
    pub applied_moved: Notify,
    /// A reader found the database further back than `applied`.
    pub doubted: Notify,
    /// Whether the applier knows how far the database is.
    pub applied_known: AtomicBool,
    /// The append time of the first record that is not applied, 0 when the applier has caught up.
    pub unapplied_since_ms: AtomicU64,
    pub failing: AtomicBool,
    pub full: AtomicBool,
    pub closed: AtomicBool,
    /// Disconnected when the thread has closed the log.
    pub ended: OnceLock<Receiver<()>>,
    /// The directory is this process's as long as anybody holds a handle, not only while records are accepted.
    pub _lock: Option<File>,
}

impl Shared {
    /// Nothing more will be durable.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.durable_moved.notify_waiters();
    }

    pub fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    pub fn applied(&self) -> Position {
        Position(self.applied.load(Ordering::Acquire))
    }

    pub fn trim_point(&self) -> Position {
        Position(self.trim_point.load(Ordering::Acquire))
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
