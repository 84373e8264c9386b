//! Pacing: how many records the next transaction gets, when it begins, and over how long its rows may be sent. All of it is
//! decided here.
//!
//! - **Batch size.** As many records as the database likes best, until a transaction runs into its bound in time: tried again
//!   as it was, it would run into it for ever. Then half as many, down to one, and twice as many again when it goes well.
//! - **Minimum commit interval.** Where records come in numbers, transactions begin so long one after the other, so that
//!   many records share what a transaction costs. A record that comes alone is applied at once.
//! - **Pacing window.** The rows of such a transaction may be sent evenly over three quarters of the interval: thousands of
//!   rows at once keep every core busy, and answers wait.
//!
//! Invariants: a backlog is never made longer by waiting; nothing waits longer than the interval; a batch is never larger
//! than the sink asked for.

use std::time::{Duration, Instant};

use weir_log::Position;

/// A transaction that failed after so long was too slow, whichever bound ended it: the server's own bound on a statement is
/// 30 seconds.
const SLOW: Duration = Duration::from_secs(25);
/// So many records in one transaction are numbers.
const NUMBERS: usize = 32;

/// The policy of one applier.
#[derive(Debug)]
pub struct Pacing {
    /// The most records of a transaction.
    batch_max: usize,
    batch: usize,
    min_commit_interval: Duration,
    /// After a transaction with records in numbers, until the interval is over.
    wait_until: Option<Instant>,
}

impl Pacing {
    /// For a sink that likes so many records best, and whose transactions begin so long one after the other.
    #[must_use]
    pub const fn new(batch_max: usize, min_commit_interval: Duration) -> Self {
        Self { batch_max, batch: batch_max, min_commit_interval, wait_until: None }
    }

    /// How many records the next transaction gets, at most.
    #[must_use]
    pub fn batch_records(&self) -> usize {
        self.batch
    }

    /// Whether a batch is as large as the database likes best.
    #[must_use]
    pub fn batch_is_whole(&self) -> bool {
        self.batch == self.batch_max
    }

    /// A transaction failed after this time. True when the next one is to be smaller.
    pub fn failed_after(&mut self, took: Duration) -> bool {
        let is_slow = took >= SLOW;
        if is_slow {
            self.batch = (self.batch / 2).max(1);
        }
        is_slow
    }

    /// A transaction was committed after this time.
    pub fn committed_after(&mut self, took: Duration) {
        if took < SLOW / 4 {
            self.batch = (self.batch * 2).min(self.batch_max);
        }
    }

    /// A transaction begins, with so many records, the last of them at `through`. Where there were more, because its bytes or
    /// its records were the bound, the next one follows at once.
    pub fn begins(&mut self, records: usize, through: Position, end: Position) {
        let waits = records >= NUMBERS && through >= end;
        self.wait_until = waits.then(|| Instant::now() + self.min_commit_interval);
    }

    /// Over how long the rows of the transaction that is prepared may be sent, as nothing waited behind them: three quarters of
    /// the interval, so that its commit is within it as well. Whole batches that come meanwhile wait for it, no longer.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.wait_until.map_or(Duration::ZERO, |_| self.min_commit_interval * 3 / 4)
    }

    /// Waits for the interval to end, unless a whole batch of records waits already.
    pub async fn wait(&mut self, whole_batch_waits: bool) {
        if let Some(until) = self.wait_until.take()
            && !whole_batch_waits
        {
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_size_slow_database_is_halved_and_quick_one_doubled_within_bounds() {
        let mut pacing = Pacing::new(100, Duration::ZERO);
        assert!(!pacing.failed_after(Duration::from_secs(1)), "an outage says nothing of the size");
        assert_eq!(pacing.batch_records(), 100);
        for expected in [50, 25, 12, 6, 3, 1, 1] {
            assert!(pacing.failed_after(SLOW));
            assert_eq!(pacing.batch_records(), expected);
        }
        pacing.committed_after(SLOW / 2);
        assert_eq!(pacing.batch_records(), 1, "twice as much would be too slow again");
        for expected in [2, 4, 8, 16, 32, 64, 100, 100] {
            pacing.committed_after(Duration::from_millis(10));
            assert_eq!(pacing.batch_records(), expected);
        }
    }

    #[test]
    fn minimum_commit_interval_with_records_left_behind_is_skipped() {
        let mut pacing = Pacing::new(100, Duration::from_secs(1));
        pacing.begins(NUMBERS, Position(40), Position(40));
        assert_eq!(pacing.window(), Duration::from_millis(750));
        pacing.begins(NUMBERS, Position(40), Position(41));
        assert!(pacing.wait_until.is_none());
        assert_eq!(pacing.window(), Duration::ZERO);
        pacing.begins(NUMBERS, Position(40), Position(40));
        pacing.begins(NUMBERS - 1, Position(41), Position(41));
        assert!(pacing.wait_until.is_none(), "they come alone");
    }

    #[tokio::test]
    async fn minimum_commit_interval_is_kept_once_and_not_by_whole_batch() {
        let interval = Duration::from_millis(20);
        let mut pacing = Pacing::new(100, interval);
        let began = Instant::now();
        pacing.begins(NUMBERS, Position(40), Position(40));
        pacing.wait(false).await;
        assert!(began.elapsed() >= interval);

        let mut pacing = Pacing::new(100, Duration::from_hours(1));
        let waits = async {
            pacing.begins(NUMBERS, Position(40), Position(40));
            pacing.wait(true).await;
            pacing.wait(false).await;
        };
        tokio::time::timeout(Duration::from_secs(10), waits).await.expect("nothing to wait for");
    }
}
