//! The analytics database on SQLite.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sqlx::encode::Encode;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, Type};
use uuid::Uuid;

use super::super::fold::{Fold, PreImage, SessionState, ViewState, WriteSet};
use super::super::keys::{BatchKeyTable, StoredKey};
use super::super::migrations::{self, MigrationObserver};
use super::super::pending::PendingBound;
use super::super::position::{AsOf, PositionTable, Positions};
use super::super::retention::{Retention, Verdict};
use super::super::{ANALYTICS_COMMIT_INTERVAL, Applied, Maintained, RetentionPlan, Settled, Sink, Step, StoreError};
use super::pending;
use super::{MAX_BINDS, SqliteFile, insert_sql, read_id, read_time};
use crate::columns::{NewRow, StateWriter};
use crate::sift::sift;
use weir_domain::{
    AnalyticsRecord, BATCH_KEY_LIFETIME_MS, BatchKey, CachedResponse, Clock, RowWriter, UnixMillis, VisitorHash,
    lowest_id,
};

/// Lists of ids and of changed rows are one bound JSON text each, so that every statement's text stays the same.
const LOAD_SESSIONS: &str = "
    SELECT id, user_id, page_views, bounced, duration, last_activity_at
    FROM analytics_sessions WHERE id IN (SELECT value FROM json_each($1))";

const LAST_VIEWS: &str = "
    SELECT session_id, id
    FROM (
        SELECT value AS session_id, (
            SELECT id FROM analytics_pageviews WHERE session_id = value ORDER BY id DESC LIMIT 1
        ) AS id
        FROM json_each($1)
    )
    WHERE id IS NOT NULL";

const LOAD_VIEWS: &str = "
    SELECT id, entered_at, duration, scroll_depth
    FROM analytics_pageviews WHERE id IN (SELECT value FROM json_each($1))";

const UPDATE_SESSIONS: &str = "
    UPDATE analytics_sessions
    SET user_id = change.value ->> 1, page_views = change.value ->> 2, bounced = change.value ->> 3,
        duration = change.value ->> 4, last_activity_at = change.value ->> 5
    FROM json_each($1) AS change
    WHERE analytics_sessions.id = change.value ->> 0";

const UPDATE_VIEWS: &str = "
    UPDATE analytics_pageviews
    SET duration = change.value ->> 1, scroll_depth = change.value ->> 2
    FROM json_each($1) AS change
    WHERE analytics_pageviews.id = change.value ->> 0";

const INSERT_KEYS: &str = "
    INSERT OR REPLACE INTO batch_keys (key, answer_id, answer_created_at, stored_at)
    SELECT unhex(mark.value ->> 0), mark.value ->> 1, mark.value ->> 2, mark.value ->> 3 FROM json_each($1) AS mark";

const TABLES: [&str; 2] = ["analytics_pageviews", "analytics_sessions"];
/// How many rows a retention step deletes before it lets the writer pass.
const DELETE_ROWS: i64 = 5_000;

/// The analytics database in a SQLite file.
pub struct SqliteAnalytics {
    pub(super) file: SqliteFile,
    positions: PositionTable<Sqlite>,
    pub(super) pending: PendingBound,
    retention: Retention<Sqlite>,
}

impl SqliteAnalytics {
    /// Opens lazily: the first statement makes the file.
    ///
    /// # Errors
    /// When the URL is none, or its directory cannot be made.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let file = SqliteFile::of(url)?;
        Ok(Self {
            positions: PositionTable::new(&file.pool),
            retention: Retention::new(&file.pool),
            file,
            pending: PendingBound::default(),
        })
    }
}

#[async_trait]
impl Sink for SqliteAnalytics {
    type Record<'a> = AnalyticsRecord<&'a str>;
    type Prepared = Infallible;

    fn describe(&self) -> &'static str {
        "analytics on sqlite"
    }

    fn batch_records(&self) -> usize {
        5_000
    }

    fn min_commit_interval(&self) -> Duration {
        ANALYTICS_COMMIT_INTERVAL
    }

    async fn migrate_observed(&self, tell: MigrationObserver<'_>) -> Result<(), StoreError> {
        let mut connection = self.file.attach().await?;
        connection.close_on_drop();
        Ok(migrations::run(migrations::ANALYTICS_SQLITE, &mut *connection, tell).await?)
    }

    fn positions(&self) -> &dyn Positions {
        &self.positions
    }

    async fn apply(&self, step: &Step, records: &[AnalyticsRecord<&str>]) -> Result<Applied, StoreError> {
        let mut transaction = self.file.begin().await?;
        PositionTable::<Sqlite>::advance(&mut transaction, step).await?;
        let applied = write_rows(&mut transaction, records, &self.pending).await?;
        let unmarked = self.retention.unmarked(records.iter().filter_map(|record| record.event.answer().id));
        Retention::<Sqlite>::mark(&mut transaction, &unmarked, step.at).await?;
        self.file.commit(transaction).await?;
        self.retention.remember(&unmarked);
        Ok(applied)
    }

    async fn sift(
        &self,
        _step: &Step,
        records: &[AnalyticsRecord<&str>],
    ) -> Result<Vec<(usize, StoreError)>, StoreError> {
        let mut transaction = self.file.begin().await?;
        // Nothing of it stays, so it takes nobody's room.
        let pending = PendingBound::default();
        let found = sift!(transaction, records, |span| write_rows(&mut transaction, span, &pending));
        transaction.rollback().await?;
        Ok(found)
    }

    async fn settle(&self, _all: bool) -> Result<Settled, StoreError> {
        pending::settle(&self.file.pool, &self.pending).await
    }

    async fn clock_skew_ms(&self, clock: &Clock) -> Result<Option<i64>, StoreError> {
        // The database's clock is this machine's. What there is beside it is the time that retention believed last.
        self.retention.look(clock.now()).await.map(|verdict| Some(verdict.leap_ms))
    }

    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError> {
        let verdict = self.retention.observe(now).await?;
        let expired = UnixMillis(verdict.now.0 - BATCH_KEY_LIFETIME_MS).to_rfc3339();
        let keys =
            sqlx::query("DELETE FROM batch_keys WHERE stored_at < $1").bind(expired).execute(&self.file.pool).await?;
        let mut maintained = Maintained { rows_deleted: keys.rows_affected(), ..Maintained::default() };
        if retention_days == 0 {
            return Ok(maintained);
        }
        if verdict.is_refused {
            maintained.refused = Some((now, verdict.trusted_at));
            return Ok(maintained);
        }
        let kept_from = kept_from(verdict.now, retention_days);
        let kept = self.retention.kept_days(kept_from, &verdict).await?;
        let expired = self.expired(kept_from, &kept).await?;
        if expired.iter().any(|(_, rows)| *rows > 0) {
            let [(_, pageviews), (_, sessions)] = expired;
            let (database, kept_from) = (self.describe(), kept_from.to_rfc3339());
            tracing::info!(database, sessions, pageviews, kept_from, "retention deletes rows");
        }
        let which = expired_ids(&kept);
        for table in TABLES {
            let sql = format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {which} LIMIT $2)");
            loop {
                let delete = sqlx::query(AssertSqlSafe(sql.as_str())).bind(lowest_id(kept_from).to_string());
                let deleted = delete.bind(DELETE_ROWS).execute(&self.file.pool).await?.rows_affected();
                maintained.rows_deleted += deleted;
                if deleted == 0 {
                    break;
                }
            }
        }
        self.retention.prune(kept_from, &kept).await?;
        Ok(maintained)
    }
}

impl SqliteAnalytics {
    /// How many rows are past their retention, by table.
    async fn expired(
        &self,
        kept_from: UnixMillis,
        kept: &BTreeSet<i64>,
    ) -> Result<[(&'static str, i64); 2], StoreError> {
        let which = expired_ids(kept);
        let mut found = TABLES.map(|table| (table, 0));
        for (table, rows) in &mut found {
            let sql = format!("SELECT count(*) FROM {table} WHERE {which}");
            let count = sqlx::query_as(AssertSqlSafe(sql)).bind(lowest_id(kept_from).to_string());
            (*rows,) = count.fetch_one(&self.file.requests).await?;
        }
        Ok(found)
    }

    /// What [`Sink::maintain`] would delete now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn retention_plan(&self, now: UnixMillis, retention_days: u32) -> Result<RetentionPlan, StoreError> {
        let verdict = self.retention.look(now).await?;
        let kept_from = kept_from(now, retention_days);
        let kept = self.retention.kept_days(kept_from, &Verdict { now, ..verdict }).await?;
        let expired = match retention_days {
            0 => TABLES.map(|table| (table, 0)),
            _ => self.expired(kept_from, &kept).await?,
        };
        Ok(RetentionPlan {
            now,
            trusted_at: verdict.trusted_at,
            is_refused: verdict.is_refused,
            kept_from,
            dropped: expired
                .iter()
                .filter(|(_, rows)| *rows > 0)
                .map(|(t, rows)| format!("{rows} rows of {t}"))
                .collect(),
            kept_days: kept.len(),
        })
    }

    /// Believes the machine's clock.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn confirm_clock(&self, now: UnixMillis) -> Result<(), StoreError> {
        self.retention.confirm(now).await
    }
}

fn kept_from(now: UnixMillis, retention_days: u32) -> UnixMillis {
    UnixMillis(now.0 - i64::from(retention_days) * 86_400_000)
}

/// By id, which carries the time, below a bound, and outside of the days that are kept. Nothing but ids made of days is put
/// into the text.
fn expired_ids(kept: &BTreeSet<i64>) -> String {
    let mut sql = "id < $1".to_owned();
    let mut days = kept.iter().copied().peekable();
    while let Some(first) = days.next() {
        let mut end = first + 1;
        while days.next_if_eq(&end).is_some() {
            end += 1;
        }
        let bound = |day: i64| lowest_id(UnixMillis(day * 86_400_000));
        let _ = write!(sql, " AND NOT (id >= '{}' AND id < '{}')", bound(first), bound(end));
    }
    sql
}

#[async_trait]
impl BatchKeyTable for SqliteAnalytics {
    async fn batch_key(
        &self,
        key: BatchKey,
        since: UnixMillis,
        as_of: Option<AsOf>,
    ) -> Result<Option<StoredKey>, StoreError> {
        let mut connection = self.file.requests.acquire().await?;
        PositionTable::<Sqlite>::check(&mut connection, as_of).await?;
        let row: Option<KeyRow> = sqlx::query_as(
            "SELECT key, answer_id, answer_created_at, stored_at FROM batch_keys WHERE key = $1 AND stored_at >= $2",
        )
        .bind(key.0.to_vec())
        .bind(since.to_rfc3339())
        .fetch_optional(&mut *connection)
        .await?;
        row.map_or(Ok(None), stored_key)
    }

    async fn batch_keys(
        &self,
        since: UnixMillis,
        most: i64,
        as_of: Option<AsOf>,
    ) -> Result<Vec<StoredKey>, StoreError> {
        let mut connection = self.file.pool.acquire().await?;
        PositionTable::<Sqlite>::check(&mut connection, as_of).await?;
        let rows: Vec<KeyRow> = sqlx::query_as(
            "SELECT key, answer_id, answer_created_at, stored_at FROM batch_keys
             WHERE stored_at >= $1 ORDER BY stored_at DESC LIMIT $2",
        )
        .bind(since.to_rfc3339())
        .bind(most)
        .fetch_all(&mut *connection)
        .await?;
        rows.into_iter().filter_map(|row| stored_key(row).transpose()).collect()
    }
}

async fn write_rows(
    connection: &mut SqliteConnection,
    records: &[AnalyticsRecord<&str>],
    pending: &PendingBound,
) -> Result<Applied, StoreError> {
    let mut write_set = WriteSet::of(records);
    let waiting = pending::waiting_for(connection, records).await?;
    write_set.expect(&waiting);
    let loaded = PreImage { waiting, ..load(connection, &write_set).await? };
    let fold = Fold::of(records, &write_set, loaded);
    insert(connection, &fold.new_sessions, " ON CONFLICT (id) DO NOTHING").await?;
    insert(connection, &fold.new_views, "").await?;
    update(connection, &fold).await?;
    pending::keep(connection, pending.admit(&fold.waiting)).await?;
    pending::arrived(connection, &fold.arrived).await?;
    Ok(fold.applied())
}

/// Key, answer's id, answer's time, when it was stored.
type KeyRow = (Vec<u8>, Option<String>, Option<String>, String);

/// A key that was made by hand is none of ours.
fn stored_key((key, id, created_at, stored_at): KeyRow) -> Result<Option<StoredKey>, StoreError> {
    let Ok(key) = key.try_into() else { return Ok(None) };
    let id = id.as_deref().map(read_id).transpose()?;
    let created_at = created_at.as_deref().map(read_time).transpose()?;
    let answer = CachedResponse { id, created_at };
    Ok(Some(StoredKey { key: BatchKey(key), answer, stored_at: read_time(&stored_at)? }))
}

/// One row after the other is bound to a statement for many.
struct BoundRows<'q>(Option<Query<'q, Sqlite, SqliteArguments>>);

impl<'q> BoundRows<'q> {
    fn bind(&mut self, value: impl Encode<'q, Sqlite> + Type<Sqlite> + 'q) {
        self.0 = self.0.take().map(|query| query.bind(value));
    }
}

impl<'q> RowWriter<'q> for BoundRows<'q> {
    fn uuid(&mut self, value: Option<Uuid>) {
        self.bind(value.map(|id| id.to_string()));
    }

    fn text(&mut self, value: Option<&'q str>) {
        self.bind(value);
    }

    fn hash(&mut self, value: VisitorHash) {
        self.bind(value.to_hex());
    }

    fn integer(&mut self, value: Option<i32>) {
        self.bind(value);
    }

    fn time(&mut self, value: UnixMillis) {
        self.bind(value.to_rfc3339());
    }
}

impl<'q> StateWriter<'q> for BoundRows<'q> {
    fn boolean(&mut self, value: bool) {
        self.bind(value);
    }

    fn double(&mut self, value: Option<f64>) {
        self.bind(value);
    }
}

/// Inserts rows, so many by a statement. One that is there already (a record that is applied again) is left as it is, or is
/// an error.
async fn insert<R: NewRow>(connection: &mut SqliteConnection, rows: &[R], conflict: &str) -> Result<(), StoreError> {
    // One statement text for full chunks, so that it stays prepared; what is left over is prepared for this once.
    const ROWS: usize = 200;
    let columns = R::columns();
    debug_assert!(ROWS * columns.len() <= MAX_BINDS);
    for chunk in rows.chunks(ROWS) {
        let sql = insert_sql(R::TABLE, &columns, chunk.len()) + conflict;
        let mut bound = BoundRows(Some(sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == ROWS)));
        for row in chunk {
            row.write(&mut bound);
        }
        if let Some(query) = bound.0 {
            query.execute(&mut *connection).await?;
        }
    }
    Ok(())
}

async fn update(connection: &mut SqliteConnection, fold: &Fold<'_>) -> Result<(), StoreError> {
    let sessions = fold.changed_sessions.iter().map(|(id, state)| {
        let last_activity_at = state.last_activity_at.to_rfc3339();
        let bounced = i32::from(state.bounced);
        json!([id, state.user_id, state.page_views, bounced, state.duration_seconds, last_activity_at])
    });
    let views = fold.changed_views.iter().map(|(id, state)| json!([id, state.duration_seconds, state.scroll_depth]));
    let keys = fold.keys.iter().map(|(mark, answer)| {
        let created_at = answer.created_at.map(UnixMillis::to_rfc3339);
        json!([hex::encode(mark.key.0), answer.id, created_at, mark.stored_at.to_rfc3339()])
    });
    let statements: [(&str, Vec<serde_json::Value>); 3] =
        [(UPDATE_SESSIONS, sessions.collect()), (UPDATE_VIEWS, views.collect()), (INSERT_KEYS, keys.collect())];
    for (sql, rows) in statements {
        if !rows.is_empty() {
            sqlx::query(AssertSqlSafe(sql)).bind(json!(rows).to_string()).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

async fn load(connection: &mut SqliteConnection, write_set: &WriteSet) -> Result<PreImage, StoreError> {
    let mut loaded = PreImage::default();
    let mut views = write_set.views.clone();
    if !write_set.sessions.is_empty() {
        type Row = (String, Option<String>, i32, bool, i32, String);
        let ids = json!(write_set.sessions).to_string();
        let rows: Vec<Row> = sqlx::query_as(LOAD_SESSIONS).bind(&ids).fetch_all(&mut *connection).await?;
        let last: Vec<(String, String)> = sqlx::query_as(LAST_VIEWS).bind(&ids).fetch_all(&mut *connection).await?;
        for (session, view) in last {
            let (session, view) = (read_id(&session)?, read_id(&view)?);
            loaded.last_views.insert(session, view);
            views.insert(view);
        }
        for (id, user_id, page_views, bounced, duration_seconds, last_activity_at) in rows {
            let id = read_id(&id)?;
            let last_activity_at = read_time(&last_activity_at)?;
            let state = SessionState { user_id, page_views, bounced, duration_seconds, last_activity_at };
            loaded.sessions.insert(id, state);
        }
    }
    if !views.is_empty() {
        type Row = (String, String, Option<f64>, Option<f64>);
        let ids = json!(views).to_string();
        let rows: Vec<Row> = sqlx::query_as(LOAD_VIEWS).bind(ids).fetch_all(connection).await?;
        for (id, entered_at, duration_seconds, scroll_depth) in rows {
            let state = ViewState { entered_at: read_time(&entered_at)?, duration_seconds, scroll_depth };
            loaded.views.insert(read_id(&id)?, state);
        }
    }
    Ok(loaded)
}
