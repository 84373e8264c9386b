//! Rows that are sent over a while instead of all at once.
//!
//! Where transactions keep a distance, the next one would only wait for it. Thousands of rows sent as fast as they go keep two
//! cores busy until they are written, here and at the server, and answers wait; then both are idle. Sent a few at a time they
//! are in nobody's way. Invariants: a row is never held back once its time has passed, so that a slow server makes nothing
//! longer; without a while nothing waits.

use std::time::{Duration, Instant};

/// So many rows are sent between two looks at the clock: a piece of COPY, a millisecond's work of the server's.
const ROWS: u32 = 128;

/// When each of a number of rows is due.
pub(super) struct Pace {
    began: Instant,
    over: Duration,
    rows: u32,
    sent: u32,
}

impl Pace {
    /// So many rows, sent evenly over this while.
    pub fn of(rows: usize, over: Duration) -> Self {
        // No batch has more.
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        Self { began: Instant::now(), over, rows, sent: 0 }
    }

    /// Waits until the next row is due.
    pub async fn keep(&mut self) {
        let sent = self.sent;
        self.sent += 1;
        if sent.is_multiple_of(ROWS) && !self.over.is_zero() {
            let due = self.began + self.due_after(sent);
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// How long after the beginning the row is due that follows so many.
    fn due_after(&self, sent: u32) -> Duration {
        let rows = self.rows.max(1);
        self.over / rows * sent.min(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pacing_window_spreads_rows_evenly() {
        let pace = Pace::of(4_000, Duration::from_millis(100));
        let due = [0, 1_000, 2_000, 4_000, 9_000].map(|sent| pace.due_after(sent).as_millis());
        assert_eq!(due, [0, 25, 50, 100, 100]);
        assert_eq!(Pace::of(0, Duration::from_millis(100)).due_after(0), Duration::ZERO);
    }

    #[tokio::test]
    async fn pacing_window_is_kept_and_late_rows_never_wait() {
        let (over, rows) = (Duration::from_millis(50), 2 * ROWS as usize);
        let began = Instant::now();
        let mut pace = Pace::of(rows, over);
        for _ in 0..rows {
            pace.keep().await;
        }
        assert!(began.elapsed() >= over / 2, "{:?}", began.elapsed());

        let over = Duration::from_mins(1);
        let began = Instant::now().checked_sub(over).expect("the machine is up for longer");
        let late = Pace { began, ..Pace::of(rows, over) };
        let waits = async {
            for mut pace in [late, Pace::of(rows, Duration::ZERO)] {
                for _ in 0..rows {
                    pace.keep().await;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waits).await.expect("nothing to wait for");
    }
}
