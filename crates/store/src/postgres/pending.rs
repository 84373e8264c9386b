//! The effects that wait, on PostgreSQL.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::StoreError;
use super::super::fold;
use super::super::pending::{Effect, EffectColumns, WaitingEffects, waiting};
use super::{column, unix_millis};
use weir_domain::{AnalyticsRecord, UnixMillis};

/// Nearly always that is all.
pub(super) const ANY_WAIT: &str = "SELECT EXISTS (SELECT FROM pending_effects)";

const WAITING_FOR: &str = "
    SELECT id, awaited, kind, view_id, at, duration, scroll_depth, user_id
    FROM pending_effects WHERE awaited = ANY($1) ORDER BY id FOR UPDATE";

/// In the order in which they came.
const KEEP: &str = "
    INSERT INTO pending_effects (awaited, kind, view_id, at, duration, scroll_depth, user_id)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[], $5::float8[], $6::float8[], $7::text[])";

pub(super) type Row =
    (i64, Uuid, String, Option<Uuid>, Option<DateTime<Utc>>, Option<f64>, Option<f64>, Option<String>);

/// What waits, as it was read.
pub(super) fn effects(rows: Vec<Row>) -> WaitingEffects {
    waiting(rows.into_iter().map(|(row, awaited, kind, view_id, at, duration_seconds, scroll_depth, user_id)| {
        let at = at.map(unix_millis);
        (row, awaited, EffectColumns { kind, view_id, at, duration_seconds, scroll_depth, user_id })
    }))
}

/// What waits for the sessions and views of these records.
pub(super) async fn waiting_for(
    connection: &mut PgConnection,
    records: &[AnalyticsRecord<&str>],
) -> Result<WaitingEffects, StoreError> {
    let (any,): (bool,) = sqlx::query_as(ANY_WAIT).fetch_one(&mut *connection).await?;
    let awaited = if any { fold::awaited(records) } else { Vec::new() };
    if awaited.is_empty() {
        return Ok(WaitingEffects::new());
    }
    Ok(effects(sqlx::query_as(WAITING_FOR).bind(awaited).fetch_all(connection).await?))
}

/// Has effects wait.
pub(super) async fn keep(connection: &mut PgConnection, kept: &[(Uuid, Effect)]) -> Result<(), StoreError> {
    if kept.is_empty() {
        return Ok(());
    }
    let rows: Vec<EffectColumns> = kept.iter().map(|(_, effect)| effect.into()).collect();
    sqlx::query(KEEP)
        .bind(column(kept, |(awaited, _)| *awaited))
        .bind(column(&rows, |row| row.kind.as_str()))
        .bind(column(&rows, |row| row.view_id))
        .bind(column(&rows, |row| row.at.map(UnixMillis::to_datetime)))
        .bind(column(&rows, |row| row.duration_seconds))
        .bind(column(&rows, |row| row.scroll_depth))
        .bind(column(&rows, |row| row.user_id.as_deref()))
        .execute(connection)
        .await?;
    Ok(())
}

/// These have been applied.
pub(super) async fn arrived(connection: &mut PgConnection, rows: &[i64]) -> Result<(), StoreError> {
    if !rows.is_empty() {
        sqlx::query("DELETE FROM pending_effects WHERE id = ANY($1)").bind(rows).execute(connection).await?;
    }
    Ok(())
}
