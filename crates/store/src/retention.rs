//! What retention believes beside the clock of its machine, in the same words for both engines.
//!
//! Invariants: a clock more than [`LEAP_MS`] ahead of the last time that was believed drops nothing until an operator confirms
//! it; what was stored less than a day ago is kept, by the instance's clock, by the database's, and by the time that instances
//! have run, which no wall clock moves. Rows whose ids carry a time long before they were stored count from when they were.
//! Cost: one small row an hour for each day that a batch's ids carry.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Database, PgConnection, Pool, Postgres, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::StoreError;
use weir_domain::UnixMillis;

const DAY_MS: i64 = 86_400_000;
/// How far the clock may be ahead of the last time that was believed: a machine may stand still over a weekend.
const LEAP_MS: i64 = 3 * DAY_MS;
/// A day, and what marks and counts may be late.
const FRESH_MS: i64 = 26 * 3_600_000;
/// For how long a clock must be behind, by running time, until it is believed.
const BEHIND_MS: i64 = DAY_MS;
/// Rows that were stored so long after the day of their ids count from then on.
const LATE_MS: i64 = 2 * DAY_MS;
/// How old a mark may get.
const MARKED_EVERY: Duration = Duration::from_hours(1);
/// More days than a pruned table of them is worth.
const MOST_MARKED: usize = 10_000;

/// What the database remembers.
// The columns' names.
#[allow(clippy::struct_field_names)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    trusted_at_ms: i64,
    running_ms: i64,
    counted_at_ms: i64,
    behind_since_ms: Option<i64>,
}

/// What a run of retention goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The time that is believed.
    pub(super) now: UnixMillis,
    /// The last time that was believed before.
    pub(super) trusted_at: UnixMillis,
    /// Whether the clock is so far ahead of it that an operator has to confirm it.
    pub(super) is_refused: bool,
    /// By how much the clock is ahead of it, or behind; 0 where that is near.
    pub(super) leap_ms: i64,
    pub(super) running_ms: i64,
}

type Row = (i64, i64, i64, Option<i64>);

impl State {
    fn of(row: Row) -> Self {
        let (trusted_at_ms, running_ms, counted_at_ms, behind_since_ms) = row;
        Self { trusted_at_ms, running_ms, counted_at_ms, behind_since_ms }
    }

    /// The state after this look, and what a run goes by.
    fn judge(self, now_ms: i64, ran: Duration) -> (Self, Verdict) {
        let mut next = self;
        let ran_ms = i64::try_from(ran.as_millis()).unwrap_or(i64::MAX);
        next.running_ms += ran_ms.min((now_ms - self.counted_at_ms).max(0));
        next.counted_at_ms = now_ms;
        let is_first = self.trusted_at_ms == 0;
        let is_refused = !is_first && now_ms > self.trusted_at_ms.saturating_add(LEAP_MS);
        let is_far_behind = !is_first && now_ms < self.trusted_at_ms - LEAP_MS;
        if is_far_behind {
            let since = *next.behind_since_ms.get_or_insert(next.running_ms);
            if next.running_ms - since >= BEHIND_MS {
                next.trusted_at_ms = now_ms;
                next.behind_since_ms = None;
            }
        } else {
            next.behind_since_ms = None;
            if !is_refused {
                next.trusted_at_ms = next.trusted_at_ms.max(now_ms);
            }
        }
        let believed = if is_refused { self.trusted_at_ms } else { now_ms };
        let verdict = Verdict {
            now: UnixMillis(believed),
            trusted_at: UnixMillis(self.trusted_at_ms),
            is_refused,
            leap_ms: if is_refused || is_far_behind { now_ms - self.trusted_at_ms } else { 0 },
            running_ms: next.running_ms,
        };
        (next, verdict)
    }
}

/// The tables `retention_state` and `stored_days` behind a pool.
pub(super) struct Retention<DB: Database> {
    pool: Pool<DB>,
    counted: Mutex<Option<Instant>>,
    marked: Mutex<HashMap<i64, Instant>>,
}

impl<DB: Database> Retention<DB> {
    pub(super) fn new(pool: &Pool<DB>) -> Self {
        Self { pool: pool.clone(), counted: Mutex::default(), marked: Mutex::default() }
    }

    /// Whose marks are missing or old, of the days that these ids carry.
    pub(super) fn unmarked(&self, ids: impl Iterator<Item = Uuid>) -> BTreeSet<i64> {
        let marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_marked = |day: &i64| marked.get(day).is_some_and(|at| at.elapsed() < MARKED_EVERY);
        ids.map(day_of).filter(|day| !is_marked(day)).collect()
    }

    /// These days' marks are committed.
    pub(super) fn remember(&self, days: &BTreeSet<i64>) {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if marked.len() > MOST_MARKED {
            marked.clear();
        }
        marked.extend(days.iter().map(|day| (*day, Instant::now())));
    }

    /// Marks are no longer known to be there.
    pub(super) fn forget(&self) {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The time since the last look of this process.
    fn ran(&self) -> Duration {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.replace(Instant::now()).map_or(Duration::ZERO, |last| last.elapsed())
    }
}

/// One text for both engines.
macro_rules! on_engine {
    ($engine:ty, $connection:ty, $most_ahead_ms:expr) => {
        impl Retention<$engine> {
            /// Says that rows of these days are stored now. What is stored after it has a mark that is at most an hour old.
            pub(super) async fn mark(
                connection: &mut $connection,
                days: &BTreeSet<i64>,
                now: UnixMillis,
            ) -> Result<(), StoreError> {
                let most_ahead_ms: i64 = $most_ahead_ms;
                for day in days {
                    sqlx::query(MARK).bind(day).bind(now.0).bind(most_ahead_ms).execute(&mut *connection).await?;
                }
                Ok(())
            }

            /// Takes the time down, and says which time is believed.
            pub(super) async fn observe(&self, now: UnixMillis) -> Result<Verdict, StoreError> {
                let state = State::of(sqlx::query_as(READ).fetch_one(&self.pool).await?);
                let (next, verdict) = state.judge(now.0, self.ran());
                // Another instance, or an operator who confirms, may have been there in between: theirs stands.
                sqlx::query(
                    "UPDATE retention_state
                     SET trusted_at_ms = $1, running_ms = $2, counted_at_ms = $3, behind_since_ms = $4
                     WHERE trusted_at_ms = $5 OR trusted_at_ms = 0",
                )
                .bind(next.trusted_at_ms)
                .bind(next.running_ms)
                .bind(next.counted_at_ms)
                .bind(next.behind_since_ms)
                .bind(state.trusted_at_ms)
                .execute(&self.pool)
                .await?;
                Ok(verdict)
            }

            /// The same, without writing anything.
            pub(super) async fn look(&self, now: UnixMillis) -> Result<Verdict, StoreError> {
                let state = State::of(sqlx::query_as(READ).fetch_one(&self.pool).await?);
                Ok(state.judge(now.0, Duration::ZERO).1)
            }

            /// An operator says that the clock is right. What was stored within the last day of running was stored about now,
            /// whatever the clock said then.
            pub(super) async fn confirm(&self, now: UnixMillis) -> Result<(), StoreError> {
                let mut transaction = self.pool.begin().await?;
                sqlx::query(
                    "UPDATE retention_state SET trusted_at_ms = $1, counted_at_ms = $1, behind_since_ms = NULL",
                )
                .bind(now.0)
                .execute(&mut *transaction)
                .await?;
                sqlx::query(
                    "UPDATE stored_days SET stored_at_ms = $1
                     WHERE stored_at_ms < $1 AND running_ms > (SELECT running_ms FROM retention_state) - $2",
                )
                .bind(now.0)
                .bind(FRESH_MS)
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await?;
                Ok(())
            }

            /// The days before this moment whose rows stay all the same.
            pub(super) async fn kept_days(
                &self,
                kept_from: UnixMillis,
                verdict: &Verdict,
            ) -> Result<BTreeSet<i64>, StoreError> {
                let rows: Vec<(i64,)> = sqlx::query_as(
                    "SELECT day FROM stored_days
                     WHERE day <= $1 AND (
                         running_ms > $2 OR stored_at_ms > $3
                         OR (stored_at_ms > (day + 1) * 86400000 + $4 AND stored_at_ms >= $5)
                     )",
                )
                .bind(kept_from.0.div_euclid(DAY_MS))
                .bind(verdict.running_ms - FRESH_MS)
                .bind(verdict.now.0 - FRESH_MS)
                .bind(LATE_MS)
                .bind(kept_from.0)
                .fetch_all(&self.pool)
                .await?;
                Ok(rows.into_iter().map(|(day,)| day).collect())
            }

            /// Forgets days whose rows are dropped.
            pub(super) async fn prune(&self, kept_from: UnixMillis, kept: &BTreeSet<i64>) -> Result<(), StoreError> {
                let rows: Vec<(i64,)> = sqlx::query_as("SELECT day FROM stored_days WHERE day < $1")
                    .bind(kept_from.0.div_euclid(DAY_MS))
                    .fetch_all(&self.pool)
                    .await?;
                for (day,) in rows.into_iter().filter(|(day,)| !kept.contains(day)) {
                    // Rows that came since then have marked it anew.
                    sqlx::query(
                        "DELETE FROM stored_days
                         WHERE day = $1 AND running_ms <= (SELECT running_ms FROM retention_state) - $2",
                    )
                    .bind(day)
                    .bind(FRESH_MS)
                    .execute(&self.pool)
                    .await?;
                }
                self.forget();
                Ok(())
            }
        }
    };
}

// The server's clock tells when rows are stored, and is a second opinion by itself. On SQLite it is the instance's.
on_engine!(Postgres, PgConnection, 36_500 * DAY_MS);
on_engine!(Sqlite, SqliteConnection, LEAP_MS);

/// Where no run has believed a time yet, rows may be there all the same: then the time of the first of them stands.
const READ: &str = "
    SELECT CASE WHEN trusted_at_ms = 0 THEN coalesce((SELECT min(stored_at_ms) FROM stored_days), 0) ELSE trusted_at_ms END,
        running_ms, counted_at_ms, behind_since_ms FROM retention_state";

/// A time before the one that is believed, or far ahead of it, is not believed. A mark never goes back.
const MARK: &str = "
    INSERT INTO stored_days (day, stored_at_ms, running_ms)
    SELECT $1, CASE WHEN trusted_at_ms <> 0 AND ($2 < trusted_at_ms OR $2 > trusted_at_ms + $3) THEN trusted_at_ms ELSE $2 END,
           running_ms
    FROM retention_state WHERE true
    ON CONFLICT (day) DO UPDATE
    SET stored_at_ms = CASE WHEN stored_days.stored_at_ms > excluded.stored_at_ms THEN stored_days.stored_at_ms
                            ELSE excluded.stored_at_ms END,
        running_ms = excluded.running_ms";

/// The day that an id carries, in days since 1970.
fn day_of(id: Uuid) -> i64 {
    i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX).div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_777_543_200_000;
    const HOUR: Duration = Duration::from_hours(1);

    fn state() -> State {
        State { trusted_at_ms: T, running_ms: 5, counted_at_ms: T, behind_since_ms: None }
    }

    #[test]
    fn clock_days_ahead_is_refused_again_and_again() {
        let mut state = state();
        for hour in 0..100 {
            let (next, verdict) = state.judge(T + 60 * DAY_MS + hour * 3_600_000, HOUR);
            assert!(verdict.is_refused && verdict.now == UnixMillis(T), "{verdict:?}");
            state = next;
        }
        assert_eq!(state.trusted_at_ms, T);
    }

    #[test]
    fn clock_that_moves_with_time_is_believed() {
        let mut state = state();
        for hour in 1..100 {
            let (next, verdict) = state.judge(T + hour * 3_600_000, HOUR);
            assert!(!verdict.is_refused);
            state = next;
        }
        assert_eq!(state.running_ms, 5 + 99 * 3_600_000);
    }

    #[test]
    fn clock_behind_is_believed_after_a_day_of_running() {
        let mut state = state();
        for hour in 0..=24 {
            let (next, verdict) = state.judge(T - 2_400 * DAY_MS + hour * 3_600_000, HOUR);
            assert!(!verdict.is_refused);
            assert_eq!(state.trusted_at_ms, T, "hour {hour}");
            state = next;
        }
        assert!(state.trusted_at_ms < T);
    }

    #[test]
    fn instances_together_count_no_more_than_the_time_that_passed() {
        let mut state = state();
        for third in 1..=9 {
            state = state.judge(T + third * 1_200_000, HOUR).0;
        }
        assert_eq!(state.running_ms, 5 + 3 * 3_600_000);
    }
}
