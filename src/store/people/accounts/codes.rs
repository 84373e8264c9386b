//! An address's sign-in codes: one live code, and what counts against its limits.
//!
//! Invariant: the row of an address is locked while it is judged, so that attempts at the same instant are counted one by
//! one.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection};
use subtle::ConstantTimeEq;

use super::super::{People, Time};
use super::{CODE_LIMITS, CodeRequest};
use crate::domain::UnixMillis;
use crate::store::StoreError;

/// What an address has done lately, without what no longer counts.
fn recent(list: &str, now: UnixMillis) -> Vec<i64> {
    let moments: Vec<i64> = serde_json::from_str(list).unwrap_or_default();
    moments.into_iter().filter(|at| now.0 - at < CODE_LIMITS.window_ms).collect()
}

fn list(moments: &[i64]) -> String {
    serde_json::Value::from(moments).to_string()
}

macro_rules! on_engine {
    ($engine:ty, $connection:ty, $time:ty, $lock:literal) => {
        impl People<$engine> {
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
                let mut codes_at = recent(&codes_at, request.now);
                if codes_at.len() >= CODE_LIMITS.codes {
                    return Ok(false);
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
                type CodeRow = (Option<String>, $time, String);
                let row: Option<CodeRow> = sqlx::query_as(concat!(
                    "SELECT code_hash, expires_at, failures_at FROM sign_in_codes WHERE address_hash = $1",
                    $lock
                ))
                .bind(address_hash)
                .fetch_optional(&mut *connection)
                .await?;
                let Some((live, expires_at, failures_at)) = row else { return Ok(false) };
                let mut failures_at = recent(&failures_at, now);
                if failures_at.len() >= CODE_LIMITS.failures {
                    return Ok(false);
                }
                let fresh = now < Time::read(expires_at)?;
                let equal = live.is_some_and(|live| bool::from(live.as_bytes().ct_eq(code_hash.as_bytes())));
                let good = fresh && equal;
                if !good {
                    failures_at.push(now.0);
                }
                sqlx::query(
                    "UPDATE sign_in_codes SET failures_at = $2, updated_at = $3,
                            code_hash = CASE WHEN $4 THEN NULL ELSE code_hash END
                     WHERE address_hash = $1",
                )
                .bind(address_hash)
                .bind(list(&failures_at))
                .bind(<$time>::of(now))
                .bind(good)
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
    fn only_what_happened_within_the_hour_counts() {
        let now = UnixMillis(10_000_000);
        assert_eq!(recent("[6400000,6400001,9999999]", now), [6_400_001, 9_999_999]);
        assert_eq!(recent("nonsense", now), Vec::<i64>::new());
    }
}
