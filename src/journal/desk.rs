//! Desks: a thread that appends much gives out its acks itself, a batch at a time.
//!
//! The commit thread would wake every waiting task by itself: each time a lock, a line of memory that the other core has,
//! and often a system call and the loss of its core to the thread that it woke. So it lays the acks of a batch on the desks of
//! the threads that appended, and wakes each of those threads once.
//!
//! Invariants: every ack is given out, once: at its desk, or by the commit thread where there is none (any more), or where
//! it is the only one. What lies on a desk is no more than its thread has appended since it was last there. Desks belong to
//! the process, not to a journal: one is enough for all that a thread appends to. Whoever waits for an ack of another thread
//! waits until that one comes to its desk.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

use super::AppendError;

/// The other end of an [`super::Ack`].
pub(super) type Answer = oneshot::Sender<Result<(), AppendError>>;

/// Acks that end alike.
type Lot = (Vec<Answer>, Result<(), AppendError>);

/// The open desks.
static DESKS: Mutex<BTreeMap<DeskNumber, Arc<Desk>>> = Mutex::new(BTreeMap::new());
static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static HERE: Cell<Option<DeskNumber>> = const { Cell::new(None) };
}

/// Which desk an ack is given out at. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeskNumber(u64);

impl DeskNumber {
    /// This thread's, if it has one.
    pub fn here() -> Option<Self> {
        HERE.get()
    }
}

struct Desk {
    /// `None` when nobody will look any more.
    lots: Mutex<Option<Vec<Lot>>>,
    bell: AtomicWaker,
}

impl Desk {
    fn lots(&self) -> MutexGuard<'_, Option<Vec<Lot>>> {
        self.lots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays acks on it, or gives them back when it is closed.
    fn take(&self, lot: Lot) -> Result<(), Lot> {
        match &mut *self.lots() {
            Some(lots) => lots.push(lot),
            None => return Err(lot),
        }
        self.bell.wake();
        Ok(())
    }
}

/// A desk as long as it is open.
struct Open {
    desk: Arc<Desk>,
    number: DeskNumber,
}

impl Open {
    fn here() -> Self {
        let desk = Arc::new(Desk { lots: Mutex::new(Some(Vec::new())), bell: AtomicWaker::new() });
        let number = DeskNumber(LAST_NUMBER.fetch_add(1, Ordering::Relaxed));
        desks().insert(number, Arc::clone(&desk));
        HERE.set(Some(number));
        Self { desk, number }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if DeskNumber::here() == Some(self.number) {
            HERE.set(None);
        }
        desks().remove(&self.number);
        let left = self.desk.lots().take();
        left.into_iter().flatten().for_each(give);
    }
}

fn desks() -> MutexGuard<'static, BTreeMap<DeskNumber, Arc<Desk>>> {
    DESKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives out the acks of everything that this thread appends from the first poll on, as long as it is polled there. Without
/// it they are given out by the journal's own thread. Where a thread has several, the last one counts.
pub async fn attend_desk() {
    let open = Open::here();
    poll_fn(|context| {
        open.desk.bell.register(context.waker());
        // Taken out first: who is woken may lay something on it.
        let lots = open.desk.lots().as_mut().map(std::mem::take);
        lots.into_iter().flatten().for_each(give);
        Poll::<()>::Pending
    })
    .await;
}

/// Sees to it that acks are given out, each at the desk that is named beside it.
pub(super) fn give_out(acks: impl Iterator<Item = (Option<DeskNumber>, Answer)>, known: Result<(), AppendError>) {
    let mut by_desk = BTreeMap::<Option<DeskNumber>, Vec<Answer>>::new();
    for (desk, ack) in acks {
        by_desk.entry(desk).or_default().push(ack);
    }
    for (number, acks) in by_desk {
        // A single one is woken as quickly as its desk.
        let number = number.filter(|_| acks.len() > 1);
        match number.and_then(|number| desks().get(&number).cloned()) {
            Some(desk) => desk.take((acks, known)).unwrap_or_else(give),
            None => give((acks, known)),
        }
    }
}

fn give((acks, known): Lot) {
    for ack in acks {
        // A client that went away waits for nothing; its record is stored all the same.
        let _ = ack.send(known);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Wake, Waker};
    use std::thread::{self, ThreadId};

    use futures_util::FutureExt;

    use super::super::Ack;
    use super::*;

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

    /// Acks of this thread, their other ends given out by another one.
    fn given_out(count: usize, known: Result<(), AppendError>) -> (Vec<Ack>, impl FnOnce()) {
        let desk = DeskNumber::here();
        let (answers, acks): (Vec<_>, Vec<_>) = (0..count).map(|_| Ack::pending()).unzip();
        let answers: Vec<_> = answers.into_iter().map(|answer| (desk, answer)).collect();
        let commit = move || thread::spawn(move || give_out(answers.into_iter(), known)).join().unwrap();
        (acks, commit)
    }

    #[test]
    fn a_thread_with_a_desk_is_woken_once_and_gives_out_its_acks_itself() {
        let (bell, rings) = notes();
        let mut desk = pin!(attend_desk());
        let mut look = || assert!(desk.as_mut().poll(&mut Context::from_waker(&bell)).is_pending());
        look();
        for _ in 0..3 {
            let ((mut acks, commit), (mut more, commit_more)) = (given_out(3, Ok(())), given_out(2, Ok(())));
            acks.append(&mut more);
            let (waker, wakings) = notes();
            for ack in &mut acks {
                assert!(ack.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
            }
            commit();
            commit_more();
            assert_eq!(rings.try_iter().count(), 1);
            assert_eq!(wakings.try_iter().count(), 0, "they lie on the desk");
            look();
            assert_eq!(wakings.try_iter().collect::<Vec<_>>(), vec![thread::current().id(); 5]);
            assert!(acks.into_iter().all(|ack| ack.now_or_never() == Some(Ok(()))));
        }
    }

    #[test]
    fn an_ack_without_company_waits_for_no_desk() {
        let mut desk = pin!(attend_desk());
        assert!(desk.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let (mut acks, commit) = given_out(1, Err(AppendError::DiskFull));
        commit();
        assert_eq!(acks.remove(0).now_or_never(), Some(Err(AppendError::DiskFull)));
    }

    #[test]
    fn a_desk_that_closes_gives_out_what_lies_on_it_and_nothing_comes_too_late() {
        let (lying, late, commit) = {
            let mut desk = pin!(attend_desk());
            assert!(desk.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let (lying, lay) = given_out(2, Ok(()));
            lay();
            let (late, commit) = given_out(2, Ok(()));
            (lying, late, commit)
        };
        assert_eq!(DeskNumber::here(), None);
        commit();
        // Who is told that a stored record failed would send it again.
        assert!(lying.into_iter().chain(late).all(|ack| ack.now_or_never() == Some(Ok(()))));
    }

    #[test]
    fn a_desk_that_closes_meanwhile_gives_a_lot_back() {
        let open = Open::here();
        let desk = Arc::clone(&open.desk);
        drop(open);
        let (answer, ack) = Ack::pending();
        let (acks, known) = desk.take((vec![answer], Ok(()))).unwrap_err();
        assert_eq!((acks.len(), known), (1, Ok(())));
        give((acks, known));
        assert_eq!(ack.now_or_never(), Some(Ok(())));
    }

    #[test]
    fn an_older_desk_that_closes_leaves_the_newer_one() {
        let older = Open::here();
        let newer = Open::here();
        drop(older);
        assert_eq!(DeskNumber::here(), Some(newer.number));
    }

    #[test]
    fn a_thread_without_a_desk_is_served_by_the_other() {
        let (acks, commit) = given_out(2, Ok(()));
        commit();
        assert!(acks.into_iter().all(|ack| ack.now_or_never() == Some(Ok(()))));
    }
}
