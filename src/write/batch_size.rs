//! How many records one transaction gets.
//!
//! As many as the database likes best, until a transaction runs into its bound in time: tried again as it was, it would
//! run into it for ever. Then half as many, down to one, and twice as many again when it goes well.

use std::time::Duration;

/// A transaction that failed after so long was too slow, whoever gave up on it first: the server's own bound on a
/// statement is 30 seconds.
const SLOW: Duration = Duration::from_secs(25);

/// The size of the next batch.
#[derive(Debug)]
pub struct BatchSize {
    most: usize,
    now: usize,
}

impl BatchSize {
    #[must_use]
    pub fn of(most: usize) -> Self {
        Self { most, now: most }
    }

    #[must_use]
    pub fn records(&self) -> usize {
        self.now
    }

    /// Whether a batch is as large as the database likes best.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.now == self.most
    }

    /// A transaction failed after this time. True when the next one is to be smaller.
    pub fn failed_after(&mut self, took: Duration) -> bool {
        let is_slow = took >= SLOW;
        if is_slow {
            self.now = (self.now / 2).max(1);
        }
        is_slow
    }

    /// A transaction went through.
    pub fn went_through(&mut self, took: Duration) {
        if took < SLOW / 4 {
            self.now = (self.now * 2).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_database_gets_less_and_a_quick_one_more_within_bounds() {
        let mut size = BatchSize::of(100);
        assert!(!size.failed_after(Duration::from_secs(1)), "an outage says nothing of the size");
        assert_eq!(size.records(), 100);
        for expected in [50, 25, 12, 6, 3, 1, 1] {
            assert!(size.failed_after(SLOW));
            assert_eq!(size.records(), expected);
        }
        size.went_through(SLOW / 2);
        assert_eq!(size.records(), 1, "twice as much would be too slow again");
        for expected in [2, 4, 8, 16, 32, 64, 100, 100] {
            size.went_through(Duration::from_millis(10));
            assert_eq!(size.records(), expected);
        }
    }
}
