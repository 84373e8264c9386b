//! The handle on a journal: what handlers, writers and everybody who looks at it hold. Clones share one journal.
//!
//! Invariant: `append` never waits. It takes a record into the bounded queue of the commit thread, or refuses.

use std::fs::File;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::{Notify, oneshot};

use super::commit::{self, Command, Pending};
use super::desk::DeskNumber;
use super::directory::Directory;
use super::index::SegmentIndex;
use super::notes;
use super::pace::Pace;
use super::reader::Feed;
use super::segments::SegmentStorage;
use super::status::{JournalStatus, State};
use super::storage::Storage as _;
use super::{JournalId, JournalOptions, MAX_RECORD_BYTES, Position};
use crate::actor::Lifeline;
use crate::telemetry::JournalMetrics;

/// Why a record is not durable. It was not stored and will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the journal's queue is full")]
    QueueFull,
    #[error("the journal's disk bound is reached")]
    DiskFull,
    #[error("the journal could not be written")]
    Failed,
    #[error("the journal is closed")]
    Closed,
    #[error("the record is longer than a journal takes")]
    TooLong,
}

/// Completes when the record is durable, or is known not to be.
#[must_use = "a record is not durable before its ack"]
pub struct Ack(oneshot::Receiver<Result<(), AppendError>>);

#[cfg(test)]
impl Ack {
    pub(crate) fn pending() -> (oneshot::Sender<Result<(), AppendError>>, Self) {
        let (finish, answer) = oneshot::channel();
        (finish, Self(answer))
    }

    pub(crate) fn known(durable: Result<(), AppendError>) -> Self {
        let (finish, ack) = Self::pending();
        finish.send(durable).expect("the receiver is right here");
        ack
    }
}

impl Future for Ack {
    type Output = Result<(), AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A dropped sender means that the thread panicked over the batch: nobody will say more of it.
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(AppendError::Failed)))
    }
}

/// A handle on a journal; clones share it.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

/// What the handles and the commit thread share.
pub(super) struct Shared {
    pub(super) name: &'static str,
    id: JournalId,
    pub(super) options: JournalOptions,
    /// How far segments were deleted, in this run or an earlier one.
    released: AtomicU64,
    /// How far the database was when the last run ended in order. Told, never acted on: it may have been restored since.
    applied_before: Position,
    path: std::path::PathBuf,
    intake: Sender<Command>,
    pub(super) pace: Pace,
    pub(super) durable: AtomicU64,
    applied: AtomicU64,
    /// The append time of the first record that is not applied, 0 when the writer has caught up.
    unapplied_since_ms: AtomicU64,
    /// Whether the writer knows how far the database is.
    applied_known: AtomicBool,
    pub(super) failing: AtomicBool,
    pub(super) full: AtomicBool,
    closed: AtomicBool,
    pub(super) advanced: Notify,
    applied_moved: Notify,
    index: Arc<SegmentIndex>,
    /// Disconnected when the thread has closed the log.
    ended: OnceLock<Receiver<()>>,
    /// The directory is this process's as long as anybody holds a handle, not only while records are taken.
    _lock: Option<File>,
}

impl Shared {
    /// Nothing more will be durable.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.advanced.notify_waiters();
    }
}

impl Journal {
    /// Starts the journal's thread over an opened storage.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        name: &'static str,
        mut storage: SegmentStorage,
        options: JournalOptions,
        metrics: JournalMetrics,
        lifeline: Lifeline,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = bounded(options.queue_records);
        let shared = Arc::new(Shared {
            name,
            id: storage.id(),
            options,
            released: AtomicU64::new(storage.released().0),
            applied_before: storage.applied_before(),
            path: storage.path(),
            intake: sender,
            pace: Pace::default(),
            durable: AtomicU64::new(storage.last().0),
            applied: AtomicU64::new(0),
            unapplied_since_ms: AtomicU64::new(0),
            applied_known: AtomicBool::new(false),
            failing: AtomicBool::new(!storage.is_writable()),
            full: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            advanced: Notify::new(),
            applied_moved: Notify::new(),
            index: storage.index(),
            ended: OnceLock::new(),
            _lock: storage.take_lock(),
        });
        let ended = commit::spawn(Arc::clone(&shared), receiver, storage, metrics, lifeline)?;
        let _ = shared.ended.set(ended);
        Ok(Self(shared))
    }

    /// Hands a record over. The returned ack completes when it is durable.
    ///
    /// # Errors
    /// At once, when the queue or the disk bound is reached, or the journal is closed.
    pub fn append(&self, payload: Vec<u8>) -> Result<Ack, AppendError> {
        let shared = &self.0;
        let length = payload.len();
        if length > MAX_RECORD_BYTES {
            return Err(AppendError::TooLong);
        }
        if shared.closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        let completes = shared.pace.join(length, shared.options.queue_bytes).ok_or(AppendError::QueueFull)?;
        let (ack, answer) = oneshot::channel();
        match shared.intake.try_send(Command::Append(Pending { payload, desk: DeskNumber::here(), ack })) {
            Ok(()) => {
                if completes {
                    shared.pace.complete();
                }
                Ok(Ack(answer))
            }
            Err(refused) => {
                shared.pace.leave(length);
                Err(match refused {
                    TrySendError::Full(_) => AppendError::QueueFull,
                    TrySendError::Disconnected(_) => AppendError::Closed,
                })
            }
        }
    }

    /// Which of the journals this is, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The journal's identity.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.0.id
    }

    /// The bounds it was started with.
    #[must_use]
    pub fn options(&self) -> &JournalOptions {
        &self.0.options
    }

    /// The directory its files lie in.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.0.path
    }

    /// The last durable position.
    #[must_use]
    pub fn durable(&self) -> Position {
        Position(self.0.durable.load(Ordering::Acquire))
    }

    /// The position that the next record gets, or an earlier one. After a crash it lies a jump ahead of what is durable.
    #[must_use]
    pub fn next_position(&self) -> Position {
        let begun = self.index().with(|segments| segments.last().map_or(Position::START, |segment| segment.first));
        begun.max(self.durable().next())
    }

    /// The last position that the database has applied, as far as this process knows.
    #[must_use]
    pub fn applied(&self) -> Position {
        Position(self.0.applied.load(Ordering::Acquire))
    }

    /// How far segments were deleted. A database that stands before it was restored from an older copy.
    #[must_use]
    pub fn released(&self) -> Position {
        Position(self.0.released.load(Ordering::Acquire))
    }

    /// A reader of its own for a writer.
    #[must_use]
    pub fn feed(&self) -> Feed {
        Feed::new(self.0.id, Arc::clone(&self.0.index))
    }

    /// Completes when the durable position is past `position`, or the journal is closed.
    pub async fn wait_beyond(&self, position: Position) {
        loop {
            let advanced = self.0.advanced.notified();
            if self.durable() > position || self.0.closed.load(Ordering::Acquire) {
                return;
            }
            advanced.await;
        }
    }

    /// The writer tells how far the database is; what lies before may be deleted.
    pub fn note_applied(&self, position: Position) {
        self.0.applied.store(position.0, Ordering::Release);
        self.0.applied_known.store(true, Ordering::Release);
        // Halfway through a batch, or with more behind it, the oldest record that waits is as old as the writer said.
        let since = &self.0.unapplied_since_ms;
        if position >= self.durable() {
            since.store(0, Ordering::Relaxed);
        } else if since.load(Ordering::Relaxed) == 0 {
            // The writer has not read it yet, and may not be able to.
            since.store(self.0.index.begun_after(position).unwrap_or(0), Ordering::Relaxed);
        }
        self.0.applied_moved.notify_waiters();
    }

    /// The writer tells when the oldest record that it holds unapplied was acknowledged.
    pub fn note_unapplied_since(&self, appended_at_ms: u64) {
        self.0.unapplied_since_ms.store(appended_at_ms, Ordering::Relaxed);
    }

    /// Notes, durably, how far the database is, so that the next start can tell what is behind while it is away. Blocks.
    ///
    /// # Errors
    /// When the directory cannot be written; the next start then tells of more behind than there is.
    pub fn remember_applied(&self) -> std::io::Result<()> {
        if !self.0.applied_known.load(Ordering::Acquire) {
            return Ok(());
        }
        Directory::write_applied(&self.0.path, self.applied())
    }

    /// Completes when the database has applied everything up to `position`.
    pub async fn wait_applied(&self, position: Position) {
        loop {
            let moved = self.0.applied_moved.notified();
            if self.applied() >= position {
                return;
            }
            moved.await;
        }
    }

    /// Notes, durably, that a writer of this directory calls itself so. See [`Journal::knows_writer`].
    ///
    /// # Errors
    /// When the directory cannot be written; the writer must then not move any position.
    pub fn remember_writer(&self, writer: uuid::Uuid) -> std::io::Result<()> {
        notes::remember_writer(&self.0.path, &writer.to_string())
    }

    /// Whether a writer of this name ever used this directory. A position that was moved by another one means that a copy
    /// of the directory is in use somewhere. The empty name is an operator's, who set the position by hand.
    #[must_use]
    pub fn knows_writer(&self, writer: &str) -> bool {
        writer.is_empty() || notes::knows_writer(&self.0.path, writer)
    }

    /// How many records were given positions after one and up to another.
    #[must_use]
    pub fn records_between(&self, after: Position, through: Position) -> u64 {
        self.0.index.records_between(after, through)
    }

    /// Everything that health, metrics and the command line tell of it. Reads atomics and a short lock.
    #[must_use]
    pub fn status(&self) -> JournalStatus {
        let shared = &self.0;
        let applied_known = shared.applied_known.load(Ordering::Acquire);
        let (durable, applied) = (self.durable(), self.applied());
        let at_least = if applied_known { applied } else { shared.applied_before }.max(self.released());
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
            queued_records: shared.intake.len(),
            queue_capacity: shared.options.queue_records,
            segments: shared.index.with(|segments| segments.len()),
            disk_bytes: shared.index.disk_bytes(),
            max_bytes: shared.options.max_bytes,
            state: if shared.closed.load(Ordering::Acquire) {
                State::Closed
            } else if shared.failing.load(Ordering::Acquire) {
                State::Failing
            } else if shared.full.load(Ordering::Acquire) {
                State::Full
            } else {
                State::Open
            },
        }
    }

    /// Writes and syncs everything that was accepted, and takes nothing more. Blocks; call it off the arbiters.
    pub fn close(&self) {
        // The queue may be full: wait for a place rather than lose the order to close.
        let _ = self.0.intake.send(Command::Close);
        if let Some(ended) = self.0.ended.get() {
            let _ = ended.recv();
        }
    }

    pub(super) fn index(&self) -> &SegmentIndex {
        &self.0.index
    }

    /// The keeper is about to delete everything up to here.
    pub(super) fn note_released(&self, position: Position) {
        self.0.released.store(position.0, Ordering::Release);
    }

    pub(super) fn note_room(&self) {
        self.0.full.store(false, Ordering::Release);
    }
}
