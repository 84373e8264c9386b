//! The effects that wait, on SQLite. Its transactions come one after the other, also those of several processes: nothing waits
//! for what is there already, and there is nothing to settle but what has waited too long.

use serde_json::json;
use sqlx::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::super::fold;
use super::super::pending::{Effect, EffectColumns, PENDING_LIFETIME_MS, PendingBound, WaitingEffects, waiting};
use super::super::{Settled, StoreError};
use super::{read_id, read_time};
use weir_domain::{AnalyticsRecord, UnixMillis};

/// Nearly always that is all.
const ANY_WAIT: &str = "SELECT EXISTS (SELECT 1 FROM pending_effects)";

const WAITING_FOR: &str = "
    SELECT id, awaited, kind, view_id, at, duration, scroll_depth, user_id
    FROM pending_effects WHERE awaited IN (SELECT value FROM json_each($1)) ORDER BY id";

/// In the order in which they came.
const KEEP: &str = "
    INSERT INTO pending_effects (awaited, kind, view_id, at, duration, scroll_depth, user_id)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
    FROM json_each($1) ORDER BY key";

const EXPIRE: &str = "
    DELETE FROM pending_effects
    WHERE kept_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || ($1 / 1000) || ' seconds')";

type Row = (i64, String, String, Option<String>, Option<String>, Option<f64>, Option<f64>, Option<String>);

/// What waits for the sessions and views of these records.
pub(super) async fn waiting_for(
    connection: &mut SqliteConnection,
    records: &[AnalyticsRecord<&str>],
) -> Result<WaitingEffects, StoreError> {
    let (any,): (bool,) = sqlx::query_as(ANY_WAIT).fetch_one(&mut *connection).await?;
    let awaited = if any { fold::awaited(records) } else { Vec::new() };
    if awaited.is_empty() {
        return Ok(WaitingEffects::new());
    }
    let rows: Vec<Row> = sqlx::query_as(WAITING_FOR).bind(json!(awaited).to_string()).fetch_all(connection).await?;
    let effect = |(row, awaited, kind, view_id, at, duration_seconds, scroll_depth, user_id): Row| {
        let view_id = view_id.as_deref().map(read_id).transpose()?;
        let at = at.as_deref().map(read_time).transpose()?;
        let columns = EffectColumns { kind, view_id, at, duration_seconds, scroll_depth, user_id };
        Ok((row, read_id(&awaited)?, columns))
    };
    Ok(waiting(rows.into_iter().map(effect).collect::<Result<Vec<_>, StoreError>>()?))
}

/// Has effects wait.
pub(super) async fn keep(connection: &mut SqliteConnection, kept: &[(Uuid, Effect)]) -> Result<(), StoreError> {
    if kept.is_empty() {
        return Ok(());
    }
    let row = |(awaited, effect): &(Uuid, Effect)| {
        let row = EffectColumns::from(effect);
        let at = row.at.map(UnixMillis::to_rfc3339);
        json!([awaited, row.kind, row.view_id, at, row.duration_seconds, row.scroll_depth, row.user_id])
    };
    let rows: Vec<_> = kept.iter().map(row).collect();
    sqlx::query(KEEP).bind(json!(rows).to_string()).execute(connection).await?;
    Ok(())
}

/// These have been applied.
pub(super) async fn arrived(connection: &mut SqliteConnection, rows: &[i64]) -> Result<(), StoreError> {
    if !rows.is_empty() {
        sqlx::query("DELETE FROM pending_effects WHERE id IN (SELECT value FROM json_each($1))")
            .bind(json!(rows).to_string())
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Drops what has waited too long. Transactions follow each other here: nothing is missed.
pub(super) async fn settle(pool: &SqlitePool, bound: &PendingBound) -> Result<Settled, StoreError> {
    let mut settled = Settled::default();
    let mut connection = pool.acquire().await?;
    let (any,): (bool,) = sqlx::query_as(ANY_WAIT).fetch_one(&mut *connection).await?;
    if any {
        settled.expired =
            sqlx::query(EXPIRE).bind(PENDING_LIFETIME_MS).execute(&mut *connection).await?.rows_affected();
        let (waiting,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM pending_effects").fetch_one(&mut *connection).await?;
        settled.waiting = waiting.unsigned_abs();
    }
    settled.refused = bound.counted(settled.waiting);
    Ok(settled)
}
