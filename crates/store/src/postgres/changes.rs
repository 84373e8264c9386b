//! What is there of the rows that a batch may change, locked, and how it is changed.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::StoreError;
use super::super::fold::{Fold, PreImage, SessionState, ViewState, ViewStates, WriteSet, is_ours};
use super::super::pending::PendingBound;
use super::{column, partitions, pending, unix_millis};

/// Every look-up names the lowest and the highest id beside the list: that is what prunes partitions. Where an operator has
/// made a foreign key, a step that is prepared has shared locks on the keys of its views' sessions, for which `FOR UPDATE` would
/// wait.
const LOCK_SESSIONS: &str = "
    SELECT id, user_id::text, page_views::int4, bounced, duration::int4, last_activity_at
    FROM analytics_sessions
    WHERE id = ANY($1) AND id >= $2 AND id <= $3
    ORDER BY id
    FOR NO KEY UPDATE";

/// No view of a session is older than the session, but for a day that clocks of instances may differ. The floor is each
/// session's own: one old session must not make the look-up for all others visit every partition since. What the step wrote
/// itself before its turn does not count.
const LAST_VIEWS: &str = "
    SELECT session.id, last.id
    FROM unnest($1::uuid[], $2::uuid[]) AS session (id, floor)
    CROSS JOIN LATERAL (
        SELECT id FROM analytics_pageviews
        WHERE session_id = session.id AND id >= session.floor AND id NOT IN (SELECT unnest($3::uuid[]))
        ORDER BY id DESC LIMIT 1
    ) AS last";

const LOCK_VIEWS: &str = "
    SELECT id, entered_at, duration::float8, scroll_depth::float8
    FROM analytics_pageviews
    WHERE id = ANY($1) AND id >= $2 AND id <= $3
    ORDER BY id
    FOR NO KEY UPDATE";

const UPDATE_SESSIONS: &str = "
    UPDATE analytics_sessions AS session
    SET user_id = change.user_id, page_views = change.page_views, bounced = change.bounced,
        duration = change.duration, last_activity_at = change.last_activity_at
    FROM unnest($1::uuid[], $2::text[], $3::int4[], $4::bool[], $5::int4[], $6::timestamptz[])
        AS change (id, user_id, page_views, bounced, duration, last_activity_at)
    WHERE session.id = change.id AND session.id >= $7 AND session.id <= $8";

const UPDATE_VIEWS: &str = "
    UPDATE analytics_pageviews AS view
    SET duration = change.duration, scroll_depth = change.scroll_depth
    FROM unnest($1::uuid[], $2::float8[], $3::float8[]) AS change (id, duration, scroll_depth)
    WHERE view.id = change.id AND view.id >= $4 AND view.id <= $5";

/// Writes what a fold comes to, beside new rows and keys.
pub(super) async fn write_changes(
    connection: &mut PgConnection,
    fold: &Fold<'_>,
    pending: &PendingBound,
) -> Result<(), StoreError> {
    update_sessions(connection, &fold.changed_sessions).await?;
    update_views(connection, &fold.changed_views).await?;
    pending::keep(connection, pending.admit(&fold.waiting)).await?;
    pending::arrived(connection, &fold.arrived).await
}

/// The lowest and the highest of ordered ids.
fn bounds<'a>(mut ids: impl DoubleEndedIterator<Item = &'a Uuid>) -> Option<(Uuid, Uuid)> {
    let lowest = *ids.next()?;
    Some((lowest, ids.next_back().copied().unwrap_or(lowest)))
}

/// Rows in the order of their ids, a day at a time: an UPDATE is planned for every partition between its bounds.
fn by_day<T>(rows: &[(Uuid, T)]) -> impl Iterator<Item = &[(Uuid, T)]> {
    rows.chunk_by(|(one, _), (other, _)| partitions::day_before(*one) == partitions::day_before(*other))
}

/// What is there of the write set. A step that is prepared wrote its new rows and these views itself, which do not count: had
/// they been there before, that had failed.
pub(super) async fn load(
    connection: &mut PgConnection,
    write_set: &WriteSet,
    prepared: Option<&ViewStates>,
) -> Result<PreImage, StoreError> {
    let mut loaded = PreImage::default();
    let is_own_session = |id: &Uuid| prepared.is_some() && write_set.begun.contains(id);
    let is_own_view = |id: &Uuid| prepared.is_some_and(|views| views.contains_key(id));
    // Every id here is a UUIDv7. What a client made up must not make the look-up visit every partition.
    let sessions: Vec<Uuid> =
        write_set.sessions.iter().copied().filter(|id| is_ours(*id) && !is_own_session(id)).collect();
    if let Some((lowest, highest)) = bounds(sessions.iter()) {
        type Row = (Uuid, Option<String>, i32, bool, i32, DateTime<Utc>);
        let rows: Vec<Row> = sqlx::query_as(LOCK_SESSIONS)
            .bind(&sessions)
            .bind(lowest)
            .bind(highest)
            .fetch_all(&mut *connection)
            .await?;
        let state = |(id, user_id, page_views, bounced, duration_seconds, last_activity_at): Row| {
            let last_activity_at = unix_millis(last_activity_at);
            (id, SessionState { user_id, page_views, bounced, duration_seconds, last_activity_at })
        };
        loaded.sessions = rows.into_iter().map(state).collect();
    }
    let known: BTreeSet<Uuid> =
        loaded.sessions.keys().chain(write_set.begun.iter().filter(|id| is_ours(**id))).copied().collect();
    if !known.is_empty() {
        let floors: Vec<Uuid> = known.iter().map(|id| partitions::day_before(*id)).collect();
        let known: Vec<Uuid> = known.into_iter().collect();
        let own_views: Vec<Uuid> = prepared.into_iter().flatten().map(|(id, _)| *id).collect();
        let rows: Vec<(Uuid, Uuid)> =
            sqlx::query_as(LAST_VIEWS).bind(known).bind(floors).bind(own_views).fetch_all(&mut *connection).await?;
        loaded.last_views.extend(rows);
    }
    let mut views: BTreeSet<Uuid> =
        write_set.views.iter().copied().filter(|id| is_ours(*id) && !is_own_view(id)).collect();
    views.extend(loaded.last_views.values());
    if let Some((lowest, highest)) = bounds(views.iter()) {
        type Row = (Uuid, DateTime<Utc>, Option<f64>, Option<f64>);
        let ids: Vec<Uuid> = views.iter().copied().collect();
        let rows: Vec<Row> =
            sqlx::query_as(LOCK_VIEWS).bind(&ids).bind(lowest).bind(highest).fetch_all(connection).await?;
        let state = |(id, entered_at, duration_seconds, scroll_depth): Row| {
            (id, ViewState { entered_at: unix_millis(entered_at), duration_seconds, scroll_depth })
        };
        loaded.views = rows.into_iter().map(state).collect();
    }
    Ok(loaded)
}

async fn update_sessions(connection: &mut PgConnection, changed: &[(Uuid, SessionState)]) -> Result<(), StoreError> {
    for changed in by_day(changed) {
        let Some((lowest, highest)) = bounds(changed.iter().map(|(id, _)| id)) else { continue };
        sqlx::query(UPDATE_SESSIONS)
            .bind(column(changed, |(id, _)| *id))
            .bind(column(changed, |(_, state)| state.user_id.as_deref()))
            .bind(column(changed, |(_, state)| state.page_views))
            .bind(column(changed, |(_, state)| state.bounced))
            .bind(column(changed, |(_, state)| state.duration_seconds))
            .bind(column(changed, |(_, state)| state.last_activity_at.to_datetime()))
            .bind(lowest)
            .bind(highest)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn update_views(connection: &mut PgConnection, changed: &[(Uuid, ViewState)]) -> Result<(), StoreError> {
    for changed in by_day(changed) {
        let Some((lowest, highest)) = bounds(changed.iter().map(|(id, _)| id)) else { continue };
        sqlx::query(UPDATE_VIEWS)
            .bind(column(changed, |(id, _)| *id))
            .bind(column(changed, |(_, state)| state.duration_seconds))
            .bind(column(changed, |(_, state)| state.scroll_depth))
            .bind(lowest)
            .bind(highest)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
