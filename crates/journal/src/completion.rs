//! Per-worker completion queues: a thread that appends much completes its own acks, a batch at a time.
//!
//! The commit thread would wake every waiting task by itself: each time a lock, a cache line that the other core has, and
//! often a system call and the loss of its core to the thread that it woke. So it pushes the acks of a batch to the queues of
//! the threads that appended, and notifies each of those threads once.
//! `docs/decisions/0007-completion-queues.md` has what that is worth.
//!
//! Invariants: every ack is completed, once: by its queue's thread, or by the commit thread where there is no queue (any
//! more), or where the ack is the only one. A queue holds no more than its thread has appended since it was last polled.
//! Queues belong to the process, not to a journal: one is enough for all that a thread appends to. A task that waits for an
//! ack of another thread waits until that thread polls its queue.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

use super::error::AppendError;

/// The other end of an ack.
pub(super) type AckSender = oneshot::Sender<Result<(), AppendError>>;

/// Acks with the same result.
type Completed = (Vec<AckSender>, Result<(), AppendError>);

/// The open queues.
static QUEUES: Mutex<BTreeMap<QueueId, Arc<CompletionQueue>>> = Mutex::new(BTreeMap::new());
static LAST_ID: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static HERE: Cell<Option<QueueId>> = const { Cell::new(None) };
}

/// The queue in which an ack is completed. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueId(u64);

impl QueueId {
    /// This thread's, if it has one.
    pub fn here() -> Option<Self> {
        HERE.get()
    }
}

struct CompletionQueue {
    /// `None` when it is closed.
    waiting: Mutex<Option<Vec<Completed>>>,
    thread: AtomicWaker,
}

impl CompletionQueue {
    fn waiting(&self) -> MutexGuard<'_, Option<Vec<Completed>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pushes acks and notifies the thread, or returns them when the queue is closed.
    fn push(&self, completed: Completed) -> Result<(), Completed> {
        match &mut *self.waiting() {
            Some(waiting) => waiting.push(completed),
            None => return Err(completed),
        }
        self.thread.wake();
        Ok(())
    }
}

/// A queue as long as it is open.
struct OpenQueue {
    queue: Arc<CompletionQueue>,
    id: QueueId,
}

impl OpenQueue {
    fn here() -> Self {
        let queue = Arc::new(CompletionQueue { waiting: Mutex::new(Some(Vec::new())), thread: AtomicWaker::new() });
        let id = QueueId(LAST_ID.fetch_add(1, Ordering::Relaxed));
        queues().insert(id, Arc::clone(&queue));
        HERE.set(Some(id));
        Self { queue, id }
    }
}

impl Drop for OpenQueue {
    fn drop(&mut self) {
        if QueueId::here() == Some(self.id) {
            HERE.set(None);
        }
        queues().remove(&self.id);
        let left = self.queue.waiting().take();
        left.into_iter().flatten().for_each(send);
    }
}

fn queues() -> MutexGuard<'static, BTreeMap<QueueId, Arc<CompletionQueue>>> {
    QUEUES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Completes the acks of everything that this thread appends from the first poll on, as long as it is polled there. Without
/// it they are completed by the journal's own thread. Where a thread has several, the last one counts.
pub async fn complete_acks_on_this_thread() {
    let open = OpenQueue::here();
    poll_fn(|context| {
        open.queue.thread.register(context.waker());
        // Taken out first: a task that is woken may push something.
        let waiting = open.queue.waiting().as_mut().map(std::mem::take);
        waiting.into_iter().flatten().for_each(send);
        Poll::<()>::Pending
    })
    .await;
}

/// Has acks completed, each by the queue that is named beside it.
pub(super) fn complete(acks: impl Iterator<Item = (Option<QueueId>, AckSender)>, result: Result<(), AppendError>) {
    let mut by_queue = BTreeMap::<Option<QueueId>, Vec<AckSender>>::new();
    for (queue, ack) in acks {
        by_queue.entry(queue).or_default().push(ack);
    }
    for (id, acks) in by_queue {
        // A single one is completed here as quickly as a queue is notified.
        let id = id.filter(|_| acks.len() > 1);
        match id.and_then(|id| queues().get(&id).cloned()) {
            Some(queue) => queue.push((acks, result)).unwrap_or_else(send),
            None => send((acks, result)),
        }
    }
}

fn send((acks, result): Completed) {
    for ack in acks {
        // A client that went away waits for nothing; its record is stored all the same.
        let _ = ack.send(result);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Wake, Waker};
    use std::thread::{self, ThreadId};

    use futures_util::FutureExt;

    use super::*;

    type Ack = oneshot::Receiver<Result<(), AppendError>>;

    /// Tells which thread woke it.
    struct Notes(mpsc::Sender<ThreadId>);

    impl Wake for Notes {
        fn wake(self: Arc<Self>) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    fn notes() -> (Waker, mpsc::Receiver<ThreadId>) {
        let (sender, notes) = mpsc::channel();
        (Waker::from(Arc::new(Notes(sender))), notes)
    }

    /// Acks of this thread, their other ends completed by another one.
    fn completed(count: usize, result: Result<(), AppendError>) -> (Vec<Ack>, impl FnOnce()) {
        let id = QueueId::here();
        let (senders, acks): (Vec<_>, Vec<_>) = (0..count).map(|_| oneshot::channel()).unzip();
        let senders: Vec<_> = senders.into_iter().map(|sender| (id, sender)).collect();
        let commit = move || thread::spawn(move || complete(senders.into_iter(), result)).join().unwrap();
        (acks, commit)
    }

    fn result(ack: Ack) -> Option<Result<(), AppendError>> {
        ack.now_or_never()?.ok()
    }

    #[test]
    fn completion_queue_of_batch_notifies_thread_once_and_it_completes_acks() {
        let (thread_waker, notified) = notes();
        let mut queue = pin!(complete_acks_on_this_thread());
        let mut poll = || assert!(queue.as_mut().poll(&mut Context::from_waker(&thread_waker)).is_pending());
        poll();
        for _ in 0..3 {
            let ((mut acks, commit), (mut more, commit_more)) = (completed(3, Ok(())), completed(2, Ok(())));
            acks.append(&mut more);
            let (waker, wakings) = notes();
            for ack in &mut acks {
                assert!(ack.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
            }
            commit();
            commit_more();
            assert_eq!(notified.try_iter().count(), 1);
            assert_eq!(wakings.try_iter().count(), 0, "they wait in the queue");
            poll();
            assert_eq!(wakings.try_iter().collect::<Vec<_>>(), vec![thread::current().id(); 5]);
            assert!(acks.into_iter().all(|ack| result(ack) == Some(Ok(()))));
        }
    }

    #[test]
    fn completion_queue_single_ack_is_completed_at_once() {
        let mut queue = pin!(complete_acks_on_this_thread());
        assert!(queue.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let (mut acks, commit) = completed(1, Err(AppendError::DiskFull));
        commit();
        assert_eq!(result(acks.remove(0)), Some(Err(AppendError::DiskFull)));
    }

    #[test]
    fn completion_queue_closed_completes_waiting_and_late_acks() {
        let (waiting, late, commit) = {
            let mut queue = pin!(complete_acks_on_this_thread());
            assert!(queue.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let (waiting, push) = completed(2, Ok(()));
            push();
            let (late, commit) = completed(2, Ok(()));
            (waiting, late, commit)
        };
        assert_eq!(QueueId::here(), None);
        commit();
        // A client that is told that a stored record failed would send it again.
        assert!(waiting.into_iter().chain(late).all(|ack| result(ack) == Some(Ok(()))));
    }

    #[test]
    fn completion_queue_closed_meanwhile_returns_acks() {
        let open = OpenQueue::here();
        let queue = Arc::clone(&open.queue);
        drop(open);
        let (sender, ack) = oneshot::channel();
        let (acks, known) = queue.push((vec![sender], Ok(()))).unwrap_err();
        assert_eq!((acks.len(), known), (1, Ok(())));
        send((acks, known));
        assert_eq!(result(ack), Some(Ok(())));
    }

    #[test]
    fn completion_queue_older_one_closed_leaves_newer_one() {
        let older = OpenQueue::here();
        let newer = OpenQueue::here();
        drop(older);
        assert_eq!(QueueId::here(), Some(newer.id));
    }

    #[test]
    fn thread_without_completion_queue_is_served_by_commit_thread() {
        let (acks, commit) = completed(2, Ok(()));
        commit();
        assert!(acks.into_iter().all(|ack| result(ack) == Some(Ok(()))));
    }
}
