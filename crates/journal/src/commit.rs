//! Group commit: many handlers append, one thread writes and syncs, everybody in the batch is answered together.
//!
//! While a batch syncs, the next one gathers; a lone record pays one fsync, ten thousand share it. Where records come in
//! numbers, an fsync waits for more of them (`group_commit`).
//! It is a thread of its own and no actor: an fsync blocks, and a blocked arbiter starves everything else on it.
//!
//! Invariants: no ack before its fsync; past the disk's bound a record is refused, never written. A panic in the thread
//! costs the batch that is not on disk (whose senders are told), never the thread, and never an order to close.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use weir_fail_points as fail_points;

use super::completion::{AckSender, QueueId, complete};
use super::error::AppendError;
use super::group_commit::SYNC_EVERY;
use super::observer::{CommittedBatch, JournalObserver};
use super::shared::{Command, Pending, Shared};
use super::storage::{Storage, StorageError};
use super::{Position, kept};

/// The most records one append writes; bounds the time until the first of them is answered.
const BATCH_RECORDS: usize = 4096;
/// The most payload bytes one append writes.
const BATCH_BYTES: usize = 4 << 20;
/// How often a failing journal tries whether the disk is back.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// Starts the thread over a storage. What it returns is disconnected when the journal is closed.
pub(super) fn spawn<S: Storage>(
    shared: Arc<Shared>,
    queue: Receiver<Command>,
    storage: S,
    observer: Arc<dyn JournalObserver>,
) -> std::io::Result<Receiver<()>> {
    let (open, closed) = bounded(0);
    let name = format!("journal-{}", shared.name);
    let committer = Committer::new(shared, storage, observer);
    std::thread::Builder::new().name(name).spawn(move || committer.run(queue, open))?;
    Ok(closed)
}

struct Committer<S> {
    shared: Arc<Shared>,
    storage: S,
    observer: Arc<dyn JournalObserver>,
    batch: Vec<Pending>,
    batch_bytes: usize,
    /// False when this batch is the last one.
    is_open: bool,
    /// When the next fsync may begin, where the last batch was more than one record.
    delayed_until: Option<Instant>,
}

/// An ack's other end, and the queue in which it is completed.
type Waiting = (Option<QueueId>, AckSender);

/// The acks of a batch. However the work on it ends, what is known by then goes out to each of them, once.
struct Acks {
    waiting: Vec<Waiting>,
    known: Result<(), AppendError>,
}

impl Drop for Acks {
    fn drop(&mut self) {
        complete(self.waiting.drain(..), self.known);
    }
}

impl<S: Storage> Committer<S> {
    fn new(shared: Arc<Shared>, storage: S, observer: Arc<dyn JournalObserver>) -> Self {
        Self { shared, storage, observer, batch: Vec::new(), batch_bytes: 0, is_open: true, delayed_until: None }
    }

    fn run(mut self, queue: Receiver<Command>, open: Sender<()>) {
        self.shared.delay.register_thread();
        while self.is_open {
            if catch_unwind(AssertUnwindSafe(|| self.turn(&queue))).is_err() {
                self.after_panic();
            }
        }
        let _ = catch_unwind(AssertUnwindSafe(|| self.storage.close()));
        self.shared.close();
        drop(self);
        drop(open);
        // What arrives late is told so: a queue that nobody reads would keep its senders waiting for ever.
        for command in queue {
            if let Command::Append(pending) = command {
                let _ = pending.ack.send(Err(AppendError::Closed));
            }
        }
    }

    /// One batch.
    fn turn(&mut self, queue: &Receiver<Command>) {
        self.gather(queue);
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            self.commit(batch);
            self.release_bytes();
        }
    }

    /// Dropping the batch has told its senders. The log goes on in a new file.
    fn after_panic(&mut self) {
        self.batch.clear();
        self.release_bytes();
        let _ = catch_unwind(AssertUnwindSafe(|| self.storage.abandon()));
        self.shared.failing.store(true, Ordering::Release);
        self.observer.panicked();
    }

    fn release_bytes(&mut self) {
        self.shared.delay.dequeue(std::mem::take(&mut self.batch_bytes));
    }

    /// Takes what waits, or waits for the first.
    fn gather(&mut self, queue: &Receiver<Command>) {
        let mut next = match queue.recv_timeout(PROBE_EVERY) {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => {
                self.probe();
                None
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.is_open = false;
                return;
            }
        };
        if let Some(until) = self.delayed_until.take() {
            self.shared.delay.wait(until);
        }
        let mut waited = false;
        while let Some(command) = next {
            match command {
                Command::Append(pending) => {
                    self.batch_bytes += pending.payload.len();
                    self.batch.push(pending);
                }
                Command::Close => {
                    self.is_open = false;
                    return;
                }
            }
            if self.batch.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES {
                break;
            }
            next = queue.try_recv().ok();
            if next.is_none() && !std::mem::replace(&mut waited, true) {
                // Where every core is busy, whoever would add to the batch waits for this one. Elsewhere it costs nothing.
                std::thread::yield_now();
                next = queue.try_recv().ok();
            }
        }
    }

    fn probe(&mut self) {
        if !self.shared.failing.load(Ordering::Acquire) {
            // Nobody should have to send a record to learn that it would be refused.
            if let Err(error) = self.storage.check_in_place() {
                self.storage.abandon();
                self.has_failed(&error);
            }
            return;
        }
        let mut probed = self.storage.probe();
        while probed.as_ref().is_err_and(is_full) && kept::give_up_oldest(&self.shared) {
            probed = self.storage.probe();
        }
        if probed.is_ok() {
            tracing::info!(journal = self.shared.name, "journal accepts records again");
            self.shared.failing.store(false, Ordering::Release);
        }
    }

    fn commit(&mut self, batch: Vec<Pending>) {
        let (payloads, waiting) = self.admit(batch);
        if payloads.is_empty() {
            return;
        }
        let mut acks = Acks { waiting, known: Err(AppendError::Failed) };
        let began = Instant::now();
        self.delayed_until = (payloads.len() > 1).then(|| began + SYNC_EVERY);
        match self.append(&payloads) {
            Ok(last) => {
                // Before anything that could panic: who is told that a stored record failed would send it again.
                self.shared.durable.store(last.0, Ordering::Release);
                self.shared.durable_moved.notify_waiters();
                acks.known = Ok(());
                fail_points::step("journal.synced");
                self.observer.batch_committed(CommittedBatch {
                    records: payloads.len(),
                    bytes: payloads.iter().map(|payload| self.storage.cost(payload.len())).sum(),
                    took: began.elapsed(),
                });
                self.shared.failing.store(false, Ordering::Release);
            }
            Err(error) => {
                self.has_failed(&error);
                self.observer.batch_failed();
            }
        }
    }

    fn has_failed(&self, error: &StorageError) {
        if !self.shared.failing.swap(true, Ordering::AcqRel) {
            tracing::error!(journal = self.shared.name, %error, "journal cannot be written, records are refused");
        }
    }

    /// Appends. On a full disk, what is applied and kept makes room first.
    fn append(&mut self, payloads: &[Vec<u8>]) -> Result<Position, StorageError> {
        loop {
            match self.storage.append(payloads) {
                Err(error) if is_full(&error) && kept::give_up_oldest(&self.shared) => {}
                appended => return appended,
            }
        }
    }

    /// Refuses what does not fit under the disk's bound, and keeps the rest.
    fn admit(&mut self, batch: Vec<Pending>) -> (Vec<Vec<u8>>, Vec<Waiting>) {
        let mut payloads = Vec::with_capacity(batch.len());
        let mut acks = Vec::with_capacity(batch.len());
        let needed: u64 = batch.iter().map(|pending| self.storage.cost(pending.payload.len())).sum();
        let is_short = |storage: &S| storage.disk_bytes() + needed > self.shared.options.max_bytes;
        while is_short(&self.storage) && kept::give_up_oldest(&self.shared) {}
        let mut disk_bytes = self.storage.disk_bytes();
        let mut refused = Vec::new();
        for pending in batch {
            let cost = self.storage.cost(pending.payload.len());
            if disk_bytes + cost > self.shared.options.max_bytes {
                refused.push((pending.queue, pending.ack));
                continue;
            }
            disk_bytes += cost;
            payloads.push(pending.payload);
            acks.push((pending.queue, pending.ack));
        }
        // The state first: who is refused may look at it.
        if refused.is_empty() {
            self.shared.full.store(false, Ordering::Release);
        } else {
            self.refuse_for_room();
        }
        complete(refused.into_iter(), Err(AppendError::DiskFull));
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

/// The work of the commit thread, done by whoever has this, when he says so.
#[cfg(feature = "virtual-disk")]
pub struct CommitByHand {
    committer: Committer<super::SegmentStorage>,
    queue: Receiver<Command>,
}

#[cfg(feature = "virtual-disk")]
impl CommitByHand {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: Receiver<Command>,
        storage: super::SegmentStorage,
        observer: Arc<dyn JournalObserver>,
    ) -> Self {
        Self { committer: Committer::new(shared, storage, observer), queue }
    }

    /// Commits all that is queued, a batch at a time. With nothing queued, a failing journal tries whether the disk is back.
    pub fn commit(&mut self) {
        if self.queue.is_empty() {
            self.committer.probe();
        }
        while !self.queue.is_empty() {
            // The delay is for the threads that would add to the batch.
            self.committer.delayed_until = None;
            self.committer.turn(&self.queue);
        }
    }

    /// Ends in order. Without it, the process has died.
    pub fn close(mut self) {
        self.commit();
        self.committer.storage.close();
        self.committer.shared.close();
    }
}

fn is_full(error: &StorageError) -> bool {
    error.source.kind() == std::io::ErrorKind::StorageFull
}
