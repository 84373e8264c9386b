//! Group commit: many handlers append, one thread writes and syncs, everybody in the batch is answered together.
//!
//! There is no timer. While a batch syncs, the next one gathers; a lone record pays one fsync, ten thousand share it.
//! It is a thread of its own and no actor: an fsync blocks, and a blocked arbiter starves everything else on it.
//!
//! Invariants: at most `queue_records` and `queue_bytes` wait here; past that, and past the disk's bound, `append`
//! refuses at once. A panic in the thread costs its batch (whose senders are told), never the thread.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use tokio::sync::{Notify, oneshot};

use super::directory::SegmentIndex;
use super::reader::Feed;
use super::segments::SegmentStorage;
use super::status::{JournalStatus, State};
use super::storage::Storage;
use super::{JournalId, JournalOptions, MAX_RECORD_BYTES, Position};
use crate::actor::Lifeline;
use crate::telemetry::JournalMetrics;

/// The most records one append writes; bounds the time until the first of them is answered.
const BATCH_RECORDS: usize = 4096;
/// The most payload bytes one append writes.
const BATCH_BYTES: usize = 4 << 20;
/// How often a failing journal tries whether the disk is back.
const PROBE_EVERY: Duration = Duration::from_millis(500);

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

impl Future for Ack {
    type Output = Result<(), AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A dropped sender means that the thread lost the batch: it was never synced.
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(AppendError::Failed)))
    }
}

struct Pending {
    payload: Vec<u8>,
    ack: oneshot::Sender<Result<(), AppendError>>,
}

enum Command {
    Append(Pending),
    Close,
}

/// A handle on a journal; clones share it.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

struct Shared {
    name: &'static str,
    id: JournalId,
    options: JournalOptions,
    released_before: Position,
    path: std::path::PathBuf,
    intake: Sender<Command>,
    queued_bytes: AtomicUsize,
    durable: AtomicU64,
    applied: AtomicU64,
    /// The append time of the first record that is not applied, 0 when the writer has caught up.
    unapplied_since_ms: AtomicU64,
    /// Whether the writer knows how far the database is.
    applied_known: AtomicBool,
    failing: AtomicBool,
    full: AtomicBool,
    closed: AtomicBool,
    advanced: Notify,
    applied_moved: Notify,
    index: Arc<SegmentIndex>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Starts the journal's thread over an opened storage.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        name: &'static str,
        storage: SegmentStorage,
        options: JournalOptions,
        metrics: JournalMetrics,
        lifeline: Lifeline,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = bounded(options.queue_records);
        let shared = Arc::new(Shared {
            name,
            id: storage.id(),
            options,
            released_before: storage.released(),
            path: storage.path(),
            intake: sender,
            queued_bytes: AtomicUsize::new(0),
            durable: AtomicU64::new(storage.last().0),
            applied: AtomicU64::new(0),
            unapplied_since_ms: AtomicU64::new(0),
            applied_known: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            full: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            advanced: Notify::new(),
            applied_moved: Notify::new(),
            index: storage.index(),
            thread: std::sync::Mutex::new(None),
        });
        let committer = Committer { shared: Arc::clone(&shared), storage, metrics, lifeline, batch: Vec::new() };
        let thread =
            std::thread::Builder::new().name(format!("journal-{name}")).spawn(move || committer.run(&receiver))?;
        *shared.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(thread);
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
        if shared.queued_bytes.fetch_add(length, Ordering::Relaxed) + length > shared.options.queue_bytes {
            shared.queued_bytes.fetch_sub(length, Ordering::Relaxed);
            return Err(AppendError::QueueFull);
        }
        let (ack, answer) = oneshot::channel();
        match shared.intake.try_send(Command::Append(Pending { payload, ack })) {
            Ok(()) => Ok(Ack(answer)),
            Err(refused) => {
                shared.queued_bytes.fetch_sub(length, Ordering::Relaxed);
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

    /// The last position that the database has applied, as far as this process knows.
    #[must_use]
    pub fn applied(&self) -> Position {
        Position(self.0.applied.load(Ordering::Acquire))
    }

    /// How far earlier runs deleted segments. A database that stands before it was restored from an older copy.
    #[must_use]
    pub fn released_before(&self) -> Position {
        self.0.released_before
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
        self.0.unapplied_since_ms.store(0, Ordering::Relaxed);
        self.0.applied_moved.notify_waiters();
    }

    /// The writer tells when the oldest record that it holds unapplied was acknowledged.
    pub fn note_unapplied_since(&self, appended_at_ms: u64) {
        self.0.unapplied_since_ms.store(appended_at_ms, Ordering::Relaxed);
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
        super::directory::remember_writer(&self.0.path, &writer.to_string())
    }

    /// Whether a writer of this name ever used this directory. A position that was moved by another one means that a copy
    /// of the directory is in use somewhere. The empty name is an operator's, who set the position by hand.
    #[must_use]
    pub fn knows_writer(&self, writer: &str) -> bool {
        writer.is_empty() || super::directory::knows_writer(&self.0.path, writer)
    }

    /// Everything that health, metrics and the command line tell of it. Reads atomics and a short lock.
    #[must_use]
    pub fn status(&self) -> JournalStatus {
        let shared = &self.0;
        let applied_known = shared.applied_known.load(Ordering::Acquire);
        let (durable, applied) = (self.durable(), self.applied());
        let oldest_ms = match shared.unapplied_since_ms.load(Ordering::Relaxed) {
            0 if !applied_known => {
                shared.index.with(|segments| segments.iter().find_map(|segment| segment.first_at_ms)).unwrap_or(0)
            }
            since => since,
        };
        JournalStatus {
            id: shared.id,
            durable,
            applied: applied_known.then_some(applied),
            lag_records: shared.index.records_between(applied, durable),
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

    /// Writes and syncs everything that was accepted, then ends the thread. Blocks; call it off the arbiters.
    pub fn close(&self) {
        // The queue may be full: wait for a place rather than lose the order to close.
        let _ = self.0.intake.send(Command::Close);
        let thread = self.0.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.0.closed.store(true, Ordering::Release);
        self.0.advanced.notify_waiters();
    }

    pub(super) fn index(&self) -> &SegmentIndex {
        &self.0.index
    }

    pub(super) fn note_room(&self) {
        self.0.full.store(false, Ordering::Release);
    }
}

struct Committer<S> {
    shared: Arc<Shared>,
    storage: S,
    metrics: JournalMetrics,
    lifeline: Lifeline,
    batch: Vec<Pending>,
}

impl<S: Storage> Committer<S> {
    fn run(mut self, intake: &Receiver<Command>) {
        let mut open = true;
        while open {
            open = self.gather(intake);
            if !self.batch.is_empty() {
                let batch = std::mem::take(&mut self.batch);
                let bytes: usize = batch.iter().map(|pending| pending.payload.len()).sum();
                if catch_unwind(AssertUnwindSafe(|| self.commit(batch))).is_err() {
                    self.storage.abandon();
                    self.shared.failing.store(true, Ordering::Release);
                    self.lifeline.restarted("panic");
                }
                self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
        self.storage.close();
    }

    /// Takes what waits, or waits for the first. False when the journal is to be closed.
    fn gather(&mut self, intake: &Receiver<Command>) -> bool {
        let mut bytes = 0;
        let mut next = match intake.recv_timeout(PROBE_EVERY) {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => {
                self.probe();
                None
            }
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        while let Some(command) = next {
            match command {
                Command::Append(pending) => {
                    bytes += pending.payload.len();
                    self.batch.push(pending);
                }
                Command::Close => return false,
            }
            if self.batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                break;
            }
            next = intake.try_recv().ok();
        }
        true
    }

    fn probe(&mut self) {
        if self.shared.failing.load(Ordering::Acquire) && self.storage.probe().is_ok() {
            tracing::info!(journal = self.shared.name, "journal takes records again");
            self.shared.failing.store(false, Ordering::Release);
        }
    }

    fn commit(&mut self, batch: Vec<Pending>) {
        let (payloads, acks) = self.admit(batch);
        if payloads.is_empty() {
            return;
        }
        let began = std::time::Instant::now();
        let answer = match self.storage.append(&payloads) {
            Ok(last) => {
                self.metrics.append_seconds.record(began.elapsed());
                self.metrics.batch_records.record(u32::try_from(payloads.len()).map_or(f64::MAX, f64::from));
                self.metrics.records.increment(payloads.len() as u64);
                self.metrics.bytes.increment(payloads.iter().map(|payload| self.storage.cost(payload.len())).sum());
                self.shared.failing.store(false, Ordering::Release);
                self.shared.durable.store(last.0, Ordering::Release);
                self.shared.advanced.notify_waiters();
                Ok(())
            }
            Err(error) => {
                if !self.shared.failing.swap(true, Ordering::AcqRel) {
                    tracing::error!(journal = self.shared.name, %error, "journal cannot be written, records are refused");
                }
                self.metrics.failures.increment(1);
                Err(AppendError::Failed)
            }
        };
        for ack in acks {
            // A client that went away waits for nothing; its record is stored all the same.
            let _ = ack.send(answer);
        }
    }

    /// Refuses what does not fit under the disk's bound, and keeps the rest.
    #[allow(clippy::type_complexity)] // two vectors side by side, taken apart in the next line
    fn admit(&mut self, batch: Vec<Pending>) -> (Vec<Vec<u8>>, Vec<oneshot::Sender<Result<(), AppendError>>>) {
        let mut payloads = Vec::with_capacity(batch.len());
        let mut acks = Vec::with_capacity(batch.len());
        let mut disk_bytes = self.storage.disk_bytes();
        let mut refused = Vec::new();
        for pending in batch {
            let cost = self.storage.cost(pending.payload.len());
            if disk_bytes + cost > self.shared.options.max_bytes {
                refused.push(pending.ack);
                continue;
            }
            disk_bytes += cost;
            payloads.push(pending.payload);
            acks.push(pending.ack);
        }
        // The state first: who is refused may look at it.
        if refused.is_empty() {
            self.shared.full.store(false, Ordering::Release);
        } else {
            self.refuse_for_room();
        }
        for ack in refused {
            let _ = ack.send(Err(AppendError::DiskFull));
        }
        (payloads, acks)
    }

    fn refuse_for_room(&mut self) {
        if !self.shared.full.swap(true, Ordering::AcqRel) {
            let max_bytes = self.shared.options.max_bytes;
            tracing::error!(
                journal = self.shared.name,
                max_bytes,
                "journal is full, records are refused until the database has applied some"
            );
        }
        // Only a sealed segment can be deleted: without this the newest one would keep the journal full for ever.
        if let Err(error) = self.storage.seal() {
            tracing::error!(journal = self.shared.name, %error, "full journal cannot seal its segment");
        }
    }
}
