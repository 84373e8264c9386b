//! Two transactions that do not see each other's rows may bring a session and what happened to it at the same instant: here
//! those are found, and what has waited too long is dropped.
//!
//! Locks effects before sessions before views, as the writer does.

use sqlx::PgPool;
use uuid::Uuid;

use super::super::fold::{Fold, PreImage, WriteSet};
use super::super::pending::{Effect, PENDING_LIFETIME_MS, PendingBound, RECENT_MS, SETTLED_AT_ONCE, WaitingEffect};
use super::super::{Settled, StoreError};
use super::changes::{load, write_changes};
use super::column;
use super::partitions::day_before;
use super::pending::{ANY_WAIT, Row, effects};

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

/// Applies what an effect and what it waited for missed of each other, and drops what has waited too long.
pub(super) async fn settle(pool: &PgPool, pending: &PendingBound, all: bool) -> Result<Settled, StoreError> {
    let (any,): (bool,) = sqlx::query_as(ANY_WAIT).fetch_one(pool).await?;
    let mut settled = Settled::default();
    if any {
        settled.expired = sqlx::query(EXPIRE).bind(PENDING_LIFETIME_MS).execute(pool).await?.rows_affected();
        let since = if all { PENDING_LIFETIME_MS } else { RECENT_MS };
        loop {
            let applied = settle_some(pool, pending, since).await?;
            settled.applied += applied;
            if applied < SETTLED_AT_ONCE.unsigned_abs() {
                break;
            }
        }
        let (waiting,): (i64,) = sqlx::query_as("SELECT count(*) FROM pending_effects").fetch_one(pool).await?;
        settled.waiting = waiting.unsigned_abs();
    }
    settled.refused = pending.counted(settled.waiting);
    Ok(settled)
}

/// Applies effects that what they wait for has passed by.
async fn settle_some(pool: &PgPool, pending: &PendingBound, since: i64) -> Result<u64, StoreError> {
    let mut transaction = pool.begin().await?;
    let rows: Vec<Row> =
        sqlx::query_as(STRANDED).bind(since).bind(SETTLED_AT_ONCE).fetch_all(&mut *transaction).await?;
    let waiting = effects(rows);
    if waiting.is_empty() {
        return Ok(0);
    }
    let mut write_set = WriteSet::default();
    write_set.expect(&waiting);
    let mut loaded = load(&mut transaction, &write_set, None).await?;
    let of_views = |(session, effects): (&Uuid, &Vec<_>)| {
        let session = *session;
        let view = move |waiting: &WaitingEffect| match waiting.effect {
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
    write_changes(&mut transaction, &fold, pending).await?;
    transaction.commit().await?;
    Ok(fold.arrived.len() as u64)
}
