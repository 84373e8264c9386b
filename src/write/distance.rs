//! The distance that transactions keep where records come in numbers, so that many records share what each of them costs.
//!
//! Invariants: records that come alone are applied at once, but for the first after a transaction with many; a backlog is
//! never made longer by waiting; nothing waits longer than the distance.

use std::time::{Duration, Instant};

use crate::journal::Position;

/// So many records in one transaction are numbers.
const NUMBERS: usize = 32;

/// When one writer's next transaction may begin.
pub(super) struct Distance {
    apart: Duration,
    /// After a transaction with records in numbers, until the wait is over.
    until: Option<Instant>,
}

impl Distance {
    /// Transactions that begin so long one after the other.
    pub const fn of(apart: Duration) -> Self {
        Self { apart, until: None }
    }

    /// A transaction begins, with so many records, the last of them at `through`. Where there were more, because its bytes or
    /// its records were the bound, the next one follows at once.
    pub fn begins(&mut self, records: usize, through: Position, durable: Position) {
        self.until = (records >= NUMBERS && through >= durable).then(|| Instant::now() + self.apart);
    }

    /// How much of the distance the transaction that has begun may take, as nothing waited behind it: three quarters, so
    /// that its end, the commit, is within it as well. Whole batches that come meanwhile wait for it, no longer than that.
    pub fn unhurried(&self) -> Duration {
        self.until.map_or(Duration::ZERO, |_| self.apart * 3 / 4)
    }

    /// Waits for records to come together, unless a whole batch of them waits already.
    pub async fn keep(&mut self, whole_batch_waits: bool) {
        if let Some(until) = self.until.take()
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
    fn a_transaction_that_left_records_behind_is_followed_at_once() {
        let mut distance = Distance::of(Duration::from_secs(1));
        distance.begins(NUMBERS, Position(40), Position(40));
        assert_eq!(distance.unhurried(), Duration::from_millis(750));
        distance.begins(NUMBERS, Position(40), Position(41));
        assert!(distance.until.is_none());
        assert_eq!(distance.unhurried(), Duration::ZERO);
        distance.begins(NUMBERS, Position(40), Position(40));
        distance.begins(NUMBERS - 1, Position(41), Position(41));
        assert!(distance.until.is_none(), "they come alone");
    }

    #[tokio::test]
    async fn a_whole_batch_does_not_wait_and_a_distance_is_kept_once() {
        let apart = Duration::from_millis(20);
        let mut distance = Distance::of(apart);
        let began = Instant::now();
        distance.begins(NUMBERS, Position(40), Position(40));
        distance.keep(false).await;
        assert!(began.elapsed() >= apart);

        let mut distance = Distance::of(Duration::from_hours(1));
        let waits = async {
            distance.begins(NUMBERS, Position(40), Position(40));
            distance.keep(true).await;
            distance.keep(false).await;
        };
        tokio::time::timeout(Duration::from_secs(10), waits).await.expect("nothing to wait for");
    }
}
