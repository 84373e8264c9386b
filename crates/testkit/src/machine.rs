//! How many tests use the machine at once, and which of them need it alone.
//!
//! Most tests of a running server wait: for a timeout, a retry, an applied record. They run side by side, more of them
//! than there are cores. A test that measures time, CPU or a rate, or that saturates the machine by itself, calls
//! [`exclusive`] first and then runs alone.
//!
//! [`TestApp`](crate::TestApp) takes a shared permit by itself, so a test has nothing to do to be one of many. Permits
//! are a test's own: a second server of the same test shares the first one's. They count within one process, which is
//! enough, because cargo runs one suite after the other.
//!
//! An exclusive test waits until no other runs, and keeps nobody from starting meanwhile. So it runs at the end of its
//! suite, at no cost to the others but its thread. `TEST_WIDTH` bounds the shared permits; with more threads than that
//! (`RUST_TEST_THREADS`), those that wait take nobody's place. `scripts/run-suite` sets both.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How often a test that waits looks whether its turn has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);

static MACHINE: Mutex<Use> = Mutex::new(Use::Shared(0));

/// The most tests at once. Without `TEST_WIDTH`, as many as there are threads for.
static WIDTH: LazyLock<usize> = LazyLock::new(|| match std::env::var("TEST_WIDTH") {
    Ok(width) => width.parse().ok().filter(|width| *width > 0).expect("TEST_WIDTH is a number of tests"),
    Err(_) => usize::MAX,
});

thread_local! {
    /// The permit of the test that runs in this thread.
    static OWN: RefCell<Weak<Permit>> = const { RefCell::new(Weak::new()) };
}

/// Who uses the machine now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// So many tests side by side.
    Shared(usize),
    /// One alone.
    Exclusive,
}

impl Use {
    /// After one more test; `None` when it has to wait.
    fn with(self, is_exclusive: bool, width: usize) -> Option<Self> {
        match self {
            Self::Shared(0) if is_exclusive => Some(Self::Exclusive),
            Self::Shared(tests) if !is_exclusive && tests < width => Some(Self::Shared(tests + 1)),
            Self::Shared(_) | Self::Exclusive => None,
        }
    }

    /// After one test less.
    fn without(self) -> Self {
        match self {
            Self::Shared(tests) => Self::Shared(tests.saturating_sub(1)),
            Self::Exclusive => Self::Shared(0),
        }
    }
}

/// The right to use the machine, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    is_exclusive: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        *machine = machine.without();
    }
}

/// Waits until no other test runs, and keeps them all waiting while the permit lives. Call it first, before the test
/// has a server: one that has a shared permit already would wait for itself, and panics instead.
///
/// ```no_run
/// # async fn test() {
/// let _alone = weir_testkit::exclusive().await;
/// # }
/// ```
pub async fn exclusive() -> Arc<Permit> {
    take(true).await
}

/// Waits for a place among the tests that run side by side.
pub async fn shared() -> Arc<Permit> {
    take(false).await
}

async fn take(is_exclusive: bool) -> Arc<Permit> {
    if let Some(own) = OWN.with_borrow(Weak::upgrade) {
        assert!(own.is_exclusive || !is_exclusive, "exclusive() comes first: this test runs beside others already");
        return own;
    }
    while !try_take(is_exclusive) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let permit = Arc::new(Permit { is_exclusive });
    OWN.set(Arc::downgrade(&permit));
    permit
}

fn try_take(is_exclusive: bool) -> bool {
    let mut machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let next = machine.with(is_exclusive, *WIDTH);
    *machine = next.unwrap_or(*machine);
    next.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_test_waits_for_others_and_others_wait_for_it() {
        assert_eq!(Use::Shared(0).with(true, 2), Some(Use::Exclusive));
        assert_eq!(Use::Shared(1).with(true, 2), None);
        assert_eq!(Use::Exclusive.with(true, 2), None);
        assert_eq!(Use::Exclusive.with(false, 2), None);
        assert_eq!(Use::Exclusive.without(), Use::Shared(0));
    }

    #[test]
    fn shared_tests_are_bounded_by_the_width() {
        assert_eq!(Use::Shared(0).with(false, 2), Some(Use::Shared(1)));
        assert_eq!(Use::Shared(1).with(false, 2), Some(Use::Shared(2)));
        assert_eq!(Use::Shared(2).with(false, 2), None);
        assert_eq!(Use::Shared(2).without(), Use::Shared(1));
    }

    #[tokio::test]
    async fn second_permit_of_a_test_is_the_first_one() {
        let first = exclusive().await;
        let (second, third) = (shared().await, exclusive().await);
        assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first, &third));
        drop((first, second));
        let other_test = std::thread::spawn(|| try_take(false));
        assert!(!other_test.join().unwrap(), "the last of them is still held");
    }

    #[tokio::test]
    #[should_panic(expected = "exclusive() comes first")]
    async fn exclusive_permit_after_a_shared_one_is_refused() {
        let _shared = shared().await;
        let _exclusive = exclusive().await;
    }
}
