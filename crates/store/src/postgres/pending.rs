//! The effects that wait, on PostgreSQL.
//!
//! Two transactions that do not see each other's rows may bring a session and what happened to it at the same instant.
//! [`settle`] finds those. It locks effects before sessions before views, as the writer does.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::super::fold::{self, Fold, PreImage, WriteSet};
use super::super::pending::{
    Effect, EffectColumns, PENDING_LIFETIME_MS, RECENT_MS, SETTLED_AT_ONCE, WaitingEffects, waiting,
};
use super::super::{Settled, StoreError};
use super::analytics::{PostgresAnalytics, load, write_changes};
use super::partitions::day_before;
use super::{column, unix_millis};
use weir_domain::{AnalyticsRecord, UnixMillis};

/// Nearly always that is all.
const ANY_WAIT: &str = "SELECT EXISTS (SELECT FROM pending_effects)";

const WAITING_FOR: &str = "
    SELECT id, awaited, kind, view_id, at, duration, scroll_depth, user_id
    FROM pending_effects WHERE awaited = ANY($1) ORDER BY id FOR UPDATE";

/// In the order in which they came.
const KEEP: &str = "
    INSERT INTO pending_effects (awaited, kind, view_id, at, duration, scroll_depth, user_id)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[], $5::float8[], $6::float8[], $7::text[])";

/// By the database's clock, which also says when they came.
const EXPIRE: &str =
    "DELETE FROM pending_effects WHERE kept_at < clock_timestamp() - $1::float8 * interval '1 millisecond'";

const STRANDED: &str = "
    SELECT id, awaited, kind, view_id, at, duration, scroll_depth, user_id
    FROM pending_effects AS effect
    WHERE kept_at >= clock_timestamp() - $1::float8 * interval '1 millisecond' AND CASE kind
        WHEN 'leave' THEN EXISTS (SELECT FROM analytics_pageviews AS view WHERE view.id = effect.awaited)
        ELSE EXISTS (SELECT FROM analytics_sessions AS session WHERE session.id = effect.awaited)
    END
    ORDER BY id LIMIT $2
    FOR UPDATE OF effect SKIP LOCKED";

/// The views before these in their sessions.
const PREVIOUS_VIEWS: &str = "
    SELECT view.id, previous.id
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS view (id, session_id, floor)
    CROSS JOIN LATERAL (
        SELECT id FROM analytics_pageviews
        WHERE session_id = view.session_id AND id >= view.floor AND id < view.id
        ORDER BY id DESC LIMIT 1
    ) AS previous";

type Row = (i64, Uuid, String, Option<Uuid>, Option<DateTime<Utc>>, Option<f64>, Option<f64>, Option<String>);

fn effects(rows: Vec<Row>) -> WaitingEffects {
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

pub(super) async fn settle(sink: &PostgresAnalytics, all: bool) -> Result<Settled, StoreError> {
    let (any,): (bool,) = sqlx::query_as(ANY_WAIT).fetch_one(&sink.pool).await?;
    let mut settled = Settled::default();
    if any {
        settled.expired = sqlx::query(EXPIRE).bind(PENDING_LIFETIME_MS).execute(&sink.pool).await?.rows_affected();
        let since = if all { PENDING_LIFETIME_MS } else { RECENT_MS };
        loop {
            let applied = settle_some(sink, &sink.pool, since).await?;
            settled.applied += applied;
            if applied < SETTLED_AT_ONCE.unsigned_abs() {
                break;
            }
        }
        let (waiting,): (i64,) = sqlx::query_as("SELECT count(*) FROM pending_effects").fetch_one(&sink.pool).await?;
        settled.waiting = waiting.unsigned_abs();
    }
    settled.refused = sink.pending.counted(settled.waiting);
    Ok(settled)
}

/// Applies effects that what they wait for has passed by.
async fn settle_some(sink: &PostgresAnalytics, pool: &PgPool, since: i64) -> Result<u64, StoreError> {
    let mut transaction = pool.begin().await?;
    let rows = sqlx::query_as(STRANDED).bind(since).bind(SETTLED_AT_ONCE).fetch_all(&mut *transaction).await?;
    let waiting = effects(rows);
    if waiting.is_empty() {
        return Ok(0);
    }
    let mut write_set = WriteSet::default();
    write_set.expect(&waiting);
    let mut loaded = load(&mut transaction, &write_set, None).await?;
    let of_views = |(session, effects): (&Uuid, &Vec<_>)| {
        let session = *session;
        let view = move |waiting: &super::super::pending::WaitingEffect| match waiting.effect {
            Effect::View { id, .. } => Some((id, session)),
            _ => None,
        };
        effects.iter().filter_map(view).collect::<Vec<_>>()
    };
    let views: Vec<(Uuid, Uuid)> = waiting.iter().flat_map(of_views).collect();
    if !views.is_empty() {
        let previous: Vec<(Uuid, Uuid)> = sqlx::query_as(PREVIOUS_VIEWS)
            .bind(column(&views, |(view, _)| *view))
            .bind(column(&views, |(_, session)| *session))
            .bind(column(&views, |(_, session)| day_before(*session)))
            .fetch_all(&mut *transaction)
            .await?;
        let before = WriteSet { views: previous.iter().map(|(_, view)| *view).collect(), ..WriteSet::default() };
        loaded.views.extend(load(&mut transaction, &before, None).await?.views);
        loaded.previous_views.extend(previous);
    }
    let fold = Fold::settle(PreImage { waiting, ..loaded });
    write_changes(&mut transaction, &fold, &sink.pending).await?;
    transaction.commit().await?;
    Ok(fold.arrived.len() as u64)
}
