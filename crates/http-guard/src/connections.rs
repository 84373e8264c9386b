//! What the connections of a listener share: their number, and their deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::timeouts::Timeouts;

/// How many connections there are, of how many, and their deadlines. A clone is the same count.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    open: AtomicUsize,
    max: usize,
    timeouts: Timeouts,
}

impl Connections {
    /// A count that begins at 0. The listener that it is given to accepts no more than `max`.
    #[must_use]
    pub fn at_most(max: usize, timeouts: Timeouts) -> Self {
        Self(Arc::new(Shared { open: AtomicUsize::new(0), max, timeouts }))
    }

    /// How many are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// How many there may be.
    #[must_use]
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// The deadlines of each.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.0.timeouts
    }

    /// Counts one more, until the permit is dropped.
    pub(crate) fn admit(&self) -> Permit {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Permit(Arc::clone(&self.0))
    }
}

/// A connection's share of the count.
pub(crate) struct Permit(Arc<Shared>);

impl Permit {
    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.0.timeouts
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_taken_and_dropped_are_counted() {
        let connections = Connections::at_most(2, Timeouts::default());
        let permits = [connections.admit(), connections.clone().admit()];
        assert_eq!((connections.open(), connections.max()), (2, 2));
        drop(permits);
        assert_eq!(connections.open(), 0);
    }
}
