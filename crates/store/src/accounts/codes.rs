//! An address's sign-in codes: one live code, and what counts against its limits.
//!
//! Invariants: the row of an address is locked while it is judged, so that attempts at the same instant are counted one
//! by one. Where the wall clock stepped back, what lies ahead counts as if it were done at the first look after the
//! step: an address is shut for no longer than a window from then, no failure is forgiven, and a code from ahead is not
//! live.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection};
use subtle::ConstantTimeEq;

use super::tables::{AccountTables, Time};
use crate::StoreError;
use weir_domain::{CODE_LIMITS, CodeRequest, UnixMillis};

/// A moment that is further ahead than this is from before a step of the wall clock. What is less far ahead is from a
/// request that overtook this one, or from a server whose clock is a little off.
const CLOCK_STEP_MS: i64 = 60_000;

/// What an address has done, the oldest first.
fn moments(list: &str) -> Vec<i64> {
    serde_json::from_str(list).unwrap_or_default()
}

/// Whether the wall clock stepped back after the last of these moments.
fn are_ahead(moments: &[i64], now: UnixMillis) -> bool {
    moments.last().is_some_and(|last| *last > now.0 + CLOCK_STEP_MS)
}

/// What an address has done lately, without what no longer counts. What lies ahead counts as done now.
fn recent(moments: &[i64], now: UnixMillis) -> Vec<i64> {
    moments.iter().map(|at| (*at).min(now.0)).filter(|at| *at > now.0 - CODE_LIMITS.window_ms).collect()
}

fn list(moments: &[i64]) -> String {
    serde_json::Value::from(moments).to_string()
}

macro_rules! on_engine {
    ($engine:ty, $connection:ty, $time:ty, $lock:literal) => {
        impl AccountTables<$engine> {
            /// Replaces the address's code. False when the address had its codes for now.
            pub(super) async fn replace_code(
                connection: &mut $connection,
                request: &CodeRequest,
            ) -> Result<bool, StoreError> {
                // The row is made first, so that there is one to lock.
                sqlx::query(
                    "INSERT INTO sign_in_codes (address_hash, expires_at, codes_at, failures_at, updated_at)
                     VALUES ($1, $2, '[]', '[]', $2) ON CONFLICT (address_hash) DO NOTHING",
                )
                .bind(&request.address_hash)
                .bind(<$time>::of(request.now))
                .execute(&mut *connection)
                .await?;
                let (codes_at,): (String,) =
                    sqlx::query_as(concat!("SELECT codes_at FROM sign_in_codes WHERE address_hash = $1", $lock))
                        .bind(&request.address_hash)
                        .fetch_one(&mut *connection)
                        .await?;
                let stored = moments(&codes_at);
                let mut codes_at = recent(&stored, request.now);
                if codes_at.len() >= CODE_LIMITS.codes {
                    if !are_ahead(&stored, request.now) {
                        return Ok(false);
                    }
                    // A refusal stores nothing, and what is ahead would count until the clock has caught up with it:
                    // the first request after a step gets a code, and with it all moments are brought back to now.
                    codes_at.remove(0);
                }
                codes_at.push(request.now.0);
                sqlx::query(
                    "UPDATE sign_in_codes SET code_hash = $2, expires_at = $3, codes_at = $4, updated_at = $5
                     WHERE address_hash = $1",
                )
                .bind(&request.address_hash)
                .bind(&request.code_hash)
                .bind(<$time>::of(request.expires_at))
                .bind(list(&codes_at))
                .bind(<$time>::of(request.now))
                .execute(&mut *connection)
                .await?;
                Ok(true)
            }

            /// Whether this is the address's live code, which it then no longer is. Counts the attempt that fails.
            pub(super) async fn take_code(
                connection: &mut $connection,
                address_hash: &str,
                code_hash: &str,
                now: UnixMillis,
            ) -> Result<bool, StoreError> {
                type CodeRow = (Option<String>, $time, String, String);
                let row: Option<CodeRow> = sqlx::query_as(concat!(
                    "SELECT code_hash, expires_at, codes_at, failures_at FROM sign_in_codes WHERE address_hash = $1",
                    $lock
                ))
                .bind(address_hash)
                .fetch_optional(&mut *connection)
                .await?;
                let Some((live, expires_at, codes_at, failures_at)) = row else { return Ok(false) };
                // The last of the codes is the live one: whoever stores the list stores a new code with it.
                let made_ahead = live.is_some() && are_ahead(&moments(&codes_at), now);
                let stored = moments(&failures_at);
                let mut failures_at = recent(&stored, now);
                let over = failures_at.len() >= CODE_LIMITS.failures;
                if over && !made_ahead && !are_ahead(&stored, now) {
                    return Ok(false);
                }
                let fresh = !made_ahead && now < Time::read(expires_at)?;
                let equal = live.is_some_and(|live| bool::from(live.as_bytes().ct_eq(code_hash.as_bytes())));
                let good = !over && fresh && equal;
                // One attempt too many is not looked at, and does not count: it only brings the moments back to now.
                if !good && !over {
                    failures_at.push(now.0);
                }
                // A code from ahead would be live once more when the clock has caught up with it.
                let gone = good || made_ahead;
                sqlx::query(
                    "UPDATE sign_in_codes SET failures_at = $2, updated_at = $3,
                            code_hash = CASE WHEN $4 THEN NULL ELSE code_hash END
                     WHERE address_hash = $1",
                )
                .bind(address_hash)
                .bind(list(&failures_at))
                .bind(<$time>::of(now))
                .bind(gone)
                .execute(connection)
                .await?;
                Ok(good)
            }
        }
    };
}

on_engine!(Postgres, PgConnection, DateTime<Utc>, " FOR UPDATE");
on_engine!(Sqlite, SqliteConnection, String, "");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_times_older_than_hour_are_dropped() {
        let now = UnixMillis(10_000_000);
        assert_eq!(recent(&moments("[6400000,6400001,9999999]"), now), [6_400_001, 9_999_999]);
        assert_eq!(moments("nonsense"), Vec::<i64>::new());
    }

    #[test]
    fn sign_in_times_in_future_count_as_now() {
        let now = UnixMillis(10_000_000);
        assert_eq!(recent(&[9_999_999, 10_000_001, 13_600_000], now), [9_999_999, 10_000_000, 10_000_000]);
    }

    #[test]
    fn sign_in_times_over_minute_ahead_reveal_clock_step() {
        let now = UnixMillis(10_000_000);
        assert!(!are_ahead(&[], now));
        assert!(!are_ahead(&[9_999_999, 10_060_000], now));
        assert!(are_ahead(&[9_999_999, 10_060_001], now));
    }
}
