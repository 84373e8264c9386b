//! A started journal, and the handles on it: each knows what one kind of user needs, and no more.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};

use crossbeam_channel::{Receiver, bounded};
use tokio::sync::Notify;

use super::appender::Appender;
use super::collector::SegmentCollector;
use super::dead_letters::DeadLetters;
use super::error::OpenError;
use super::group_commit::GroupCommitDelay;
use super::offsets::JournalOffsets;
use super::reader::JournalReader;
use super::segments::SegmentStorage;
use super::shared::{Command, Shared};
use super::status::LogStatus;
use super::storage::Storage as _;
use super::{JournalObserver, JournalOptions, commit};

/// A journal whose thread runs. It closes when its [`Appender`] is told to; its directory is given back when the last handle
/// is dropped.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

impl Journal {
    /// Opens or makes the journal in `path` and starts its thread. Blocks: the newest segment is read.
    ///
    /// # Errors
    /// When the directory is in use, belongs to something else, or cannot be read or written, or when the operating system
    /// gives no thread.
    pub fn open(
        name: &'static str,
        path: &Path,
        options: JournalOptions,
        observer: Arc<dyn JournalObserver>,
    ) -> Result<Self, OpenError> {
        let storage = SegmentStorage::open(path, options, Arc::clone(&observer))?;
        Self::start(name, storage, options, observer).map_err(OpenError::io(path, "start the commit thread of"))
    }

    /// As [`Self::open`], without a thread: whoever has the other half commits.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[cfg(feature = "virtual-disk")]
    pub fn open_by_hand(
        name: &'static str,
        path: &Path,
        options: JournalOptions,
        observer: Arc<dyn JournalObserver>,
    ) -> Result<(Self, commit::CommitByHand), OpenError> {
        let mut storage = SegmentStorage::open(path, options, Arc::clone(&observer))?;
        let (shared, queue) = share(name, &mut storage, options);
        let by_hand = commit::CommitByHand::new(Arc::clone(&shared), queue, storage, observer);
        Ok((Self(shared), by_hand))
    }

    fn start(
        name: &'static str,
        mut storage: SegmentStorage,
        options: JournalOptions,
        observer: Arc<dyn JournalObserver>,
    ) -> std::io::Result<Self> {
        let (shared, queue) = share(name, &mut storage, options);
        let ended = commit::spawn(Arc::clone(&shared), queue, storage, observer)?;
        let _ = shared.ended.set(ended);
        Ok(Self(shared))
    }

    /// Which of a process's journals this is, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// For whoever writes records.
    #[must_use]
    pub fn appender(&self) -> Appender {
        Appender::new(Arc::clone(&self.0))
    }

    /// For whoever reads them back; each reader has a place of its own.
    #[must_use]
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(Arc::clone(&self.0))
    }

    /// How far the database is.
    #[must_use]
    pub fn offsets(&self) -> JournalOffsets {
        JournalOffsets::new(Arc::clone(&self.0))
    }

    /// For health, metrics and the command line.
    #[must_use]
    pub fn status(&self) -> LogStatus {
        LogStatus::new(Arc::clone(&self.0))
    }

    /// Deletes what is applied.
    #[must_use]
    pub fn collector(&self) -> SegmentCollector {
        SegmentCollector::new(Arc::clone(&self.0))
    }

    /// What will not reach the database.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::of(&self.0.path, self.0.options.max_bytes).counted_in(Arc::clone(&self.0.index))
    }
}

/// What the handles and the commit thread share, and the queue between them.
fn share(
    name: &'static str,
    storage: &mut SegmentStorage,
    options: JournalOptions,
) -> (Arc<Shared>, Receiver<Command>) {
    let (sender, queue) = bounded(options.queue_records);
    let shared = Arc::new(Shared {
        name,
        id: storage.id(),
        options,
        path: storage.path(),
        queue: sender,
        delay: GroupCommitDelay::default(),
        index: storage.index(),
        durable: AtomicU64::new(storage.last().0),
        durable_moved: Arc::new(Notify::new()),
        trim_point: AtomicU64::new(storage.trim_point().0),
        applied_before: storage.applied_before(),
        applied: AtomicU64::new(0),
        applied_noted: AtomicU64::new(storage.applied_before().0),
        deleting: Mutex::default(),
        applied_moved: Notify::new(),
        doubted: Notify::new(),
        applied_known: AtomicBool::new(false),
        unapplied_since_ms: AtomicU64::new(0),
        failing: AtomicBool::new(!storage.is_writable()),
        full: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        ended: OnceLock::new(),
        _lock: storage.take_lock(),
    });
    (shared, queue)
}
