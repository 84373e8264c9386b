//! An applier's pauses: tokio's timer and nothing else.
//!
//! With the cargo feature `virtual-time`, a thread that was given a [`VirtualTime`] says itself when a pause is over, so that a
//! simulation waits for none. Without the feature, which is for tests alone, there is nothing here but tokio.

#[cfg(feature = "virtual-time")]
pub use simulated::*;
#[cfg(not(feature = "virtual-time"))]
pub(super) use tokio::time::sleep;

#[cfg(feature = "virtual-time")]
mod simulated {
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Poll;
    use std::time::Duration;

    thread_local! {
        static HERE: RefCell<Option<Rc<VirtualTime>>> = const { RefCell::new(None) };
    }

    /// A timer in a test's hands.
    #[derive(Default)]
    pub struct VirtualTime {
        now: Cell<Duration>,
        /// When the pause is over that was met last.
        next: Cell<Option<Duration>>,
    }

    impl VirtualTime {
        /// How long it has run.
        #[must_use]
        pub fn now(&self) -> Duration {
            self.now.get()
        }

        /// Goes on until the pause is over that was met since the last call. False when there was none.
        pub fn go_on(&self) -> bool {
            let next = self.next.take();
            self.now.set(next.unwrap_or_default().max(self.now.get()));
            next.is_some()
        }
    }

    /// Does something whose pauses are in the hands of this timer.
    pub fn with_time<T>(time: &Rc<VirtualTime>, work: impl FnOnce() -> T) -> T {
        let before = HERE.replace(Some(Rc::clone(time)));
        let done = work();
        HERE.set(before);
        done
    }

    pub fn is_virtual() -> bool {
        HERE.with_borrow(Option::is_some)
    }

    pub async fn sleep(pause: Duration) {
        let Some(time) = HERE.with_borrow(Clone::clone) else { return tokio::time::sleep(pause).await };
        let until = time.now() + pause;
        drop(time);
        poll_fn(|_| {
            let Some(time) = HERE.with_borrow(Clone::clone) else { return Poll::Ready(()) };
            if time.now() >= until {
                return Poll::Ready(());
            }
            time.next.set(Some(time.next.get().map_or(until, |next| next.min(until))));
            Poll::Pending
        })
        .await;
    }
}
