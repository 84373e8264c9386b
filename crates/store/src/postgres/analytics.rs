//! The analytics database on PostgreSQL.
//!
//! A batch is applied twice at most: first as if none of its rows were there yet, which is all but always true and
//! costs PostgreSQL a quarter less; where one was there, again, with rows that are there left as they are.
//!
//! One connection's server process fills one core with a backlog. So new sessions and views, which are most of its work, can
//! be written before their turn, each step's in a transaction of its own, as they are guessed to end ([`Fold::speculate`]). One that
//! was there already is refused at once by its id; where speculation was wrong, the row is changed in its turn
//! ([`Fold::reconcile`]). Everything else waits for its turn, when what came before is committed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres};

use super::super::fold::{Fold, PreImage, ViewStates, WriteSet};
use super::super::migrations::{self, MigrationObserver};
use super::super::pending::PendingBound;
use super::super::position::{PositionTable, Positions};
use super::super::retention::{Retention, Verdict};
use super::super::{ANALYTICS_COMMIT_INTERVAL, Applied, Maintained, RetentionPlan, Settled, Sink, Step, StoreError};
use super::changes::{load, write_changes};
use super::flush_after;
use super::hosts::Hosts;
use super::inserts::{Copies, Repeats, insert_sessions, insert_views};
use super::key_inserts::insert_keys;
use super::pace::Pace;
use super::partitions::{self, Partitions};
use super::pending;
use super::settle::settle;
use super::writer::{self, Held, WriterConnections};
use super::{database_now, encoding, patient, pool, request_pool, unix_millis, writer_connections};
use crate::sift::sift;
use weir_domain::{AnalyticsRecord, BATCH_KEY_LIFETIME_MS, Clock, UnixMillis};

/// The analytics database on a PostgreSQL server.
pub struct PostgresAnalytics {
    hosts: Arc<Hosts>,
    writer: WriterConnections,
    pub(super) pool: PgPool,
    /// For what requests look up themselves: they do not wait in the writer's queue, nor it in theirs.
    pub(super) requests: PgPool,
    positions: PositionTable<Postgres>,
    partitions: Partitions,
    copies: Copies,
    pub(super) pending: PendingBound,
    retention: Retention<Postgres>,
}

impl PostgresAnalytics {
    /// Connects when it is first used.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let hosts = Hosts::of(url)?;
        let (pool, requests) = (pool(&hosts), request_pool(&hosts));
        Ok(Self {
            writer: writer_connections(&hosts),
            hosts,
            requests,
            positions: PositionTable::new(&pool),
            partitions: Partitions::default(),
            copies: Copies::default(),
            pending: PendingBound::default(),
            retention: Retention::new(&pool),
            pool,
        })
    }

    /// Asks whether the database can hold every text.
    ///
    /// # Errors
    /// [`StoreError::Encoding`] when it cannot; another when it does not answer.
    pub async fn check_encoding(&self) -> Result<(), StoreError> {
        encoding::check(&mut self.hosts.connect(patient).await?).await
    }

    /// Statements that an operator should run: settings of the database that Weir's own connections cannot make for it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn advice(&self) -> Result<Vec<String>, StoreError> {
        Ok(flush_after::advice(&self.pool).await?.into_iter().collect())
    }
}

#[async_trait]
impl Sink for PostgresAnalytics {
    type Record<'a> = AnalyticsRecord<&'a str>;
    type Prepared = PreparedRows;

    fn describe(&self) -> &'static str {
        "analytics on postgres"
    }

    fn batch_records(&self) -> usize {
        // Each transaction costs a dozen milliseconds by itself, which many rows share while the writer catches up.
        8_000
    }

    fn min_commit_interval(&self) -> Duration {
        ANALYTICS_COMMIT_INTERVAL
    }

    fn pipeline_depth(&self) -> usize {
        // While one ends, the server works on two. With three the same backlog took a tenth longer on two cores.
        2
    }

    async fn migrate_observed(&self, tell: MigrationObserver<'_>) -> Result<(), StoreError> {
        let mut connection = self.hosts.connect(patient).await?;
        encoding::check(&mut connection).await?;
        Ok(migrations::run(migrations::ANALYTICS_POSTGRES, &mut connection, tell).await?)
    }

    async fn find_server(&self) -> Result<(), StoreError> {
        self.hosts.find().await
    }

    fn positions(&self) -> &dyn Positions {
        &self.positions
    }

    async fn apply(&self, step: &Step, records: &[AnalyticsRecord<&str>]) -> Result<Applied, StoreError> {
        self.make_partitions(records).await?;
        let mut applied = self.apply_in_transaction(step, records, Repeats::Refused).await;
        if matches!(applied, Err(StoreError::Repeated)) {
            applied = self.apply_in_transaction(step, records, Repeats::Left).await;
        }
        if matches!(applied, Err(StoreError::Rejected(_))) && self.copies.take_failure() {
            applied = self.apply_in_transaction(step, records, Repeats::Left).await;
        }
        if applied.is_err() {
            // A partition may have been dropped under us: look again next time.
            self.forget_days();
        }
        applied
    }

    async fn sift(
        &self,
        _step: &Step,
        records: &[AnalyticsRecord<&str>],
    ) -> Result<Vec<(usize, StoreError)>, StoreError> {
        self.make_partitions(records).await?;
        let mut held = self.writer.begin().await?;
        let found = sift_on(&mut held.connection, records).await;
        self.writer.keep(held, &found);
        found
    }

    async fn prepare(&self, records: &[AnalyticsRecord<&str>]) -> Result<Option<PreparedRows>, StoreError> {
        let write_set = WriteSet::of(records);
        let speculate = Fold::speculate(records, &write_set);
        if speculate.new_sessions.is_empty() && speculate.new_views.is_empty() {
            return Ok(None);
        }
        self.make_partitions(records).await?;
        let mut held = self.writer.begin().await?;
        let inserted =
            insert_rows(&mut held.connection, &speculate, Repeats::Refused, Duration::ZERO, &self.copies).await;
        if inserted.is_err() {
            let ended = writer::end(&mut held.connection, inserted).await;
            self.writer.keep(held, &ended);
            self.forget_days();
            return ended.map(|()| None);
        }
        Ok(Some(PreparedRows { held, views: speculate.view_states() }))
    }

    async fn commit_prepared(
        &self,
        step: &Step,
        records: &[AnalyticsRecord<&str>],
        prepared: PreparedRows,
    ) -> Result<Applied, StoreError> {
        self.make_partitions(records).await?;
        let PreparedRows { mut held, views } = prepared;
        let written = self.write(&mut held.connection, step, records, NewRows::Prepared(&views)).await;
        let ended = writer::end(&mut held.connection, written).await;
        self.writer.keep(held, &ended);
        ended.inspect_err(|_| self.forget_days())
    }

    async fn clock_skew_ms(&self, clock: &Clock) -> Result<Option<i64>, StoreError> {
        super::clock_skew_ms(&self.pool, clock).await.map(Some)
    }

    async fn settle(&self, all: bool) -> Result<Settled, StoreError> {
        settle(&self.pool, &self.pending, all).await
    }

    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError> {
        let verdict = self.retention.observe(self.earlier(now).await?).await?;
        let expired = UnixMillis(verdict.now.0 - BATCH_KEY_LIFETIME_MS).to_datetime();
        let keys = sqlx::query("DELETE FROM batch_keys WHERE stored_at < $1").bind(expired).execute(&self.pool).await?;
        let partitions_made = self.partitions.make_ahead(&self.pool, now).await?;
        let mut maintained =
            Maintained { partitions_made, rows_deleted: keys.rows_affected(), ..Maintained::default() };
        if retention_days == 0 {
            return Ok(maintained);
        }
        if verdict.is_refused {
            maintained.refused = Some((now, verdict.trusted_at));
            return Ok(maintained);
        }
        let kept_from = partitions::kept_from(verdict.now, retention_days);
        let kept = self.retention.kept_days(kept_from, &verdict).await?;
        maintained.partitions_dropped = self.partitions.drop_expired(&self.pool, kept_from, &kept).await?;
        self.retention.prune(kept_from, &kept).await?;
        Ok(maintained)
    }
}

/// New rows of a step that are written, in a transaction that is open.
pub struct PreparedRows {
    held: Held,
    views: ViewStates,
}

/// What is done with a step's new rows.
#[derive(Clone, Copy)]
enum NewRows<'a> {
    Written(Repeats),
    /// They were written before, in this very transaction, the views among them like this.
    Prepared(&'a ViewStates),
}

impl PostgresAnalytics {
    async fn make_partitions(&self, records: &[AnalyticsRecord<&str>]) -> Result<(), StoreError> {
        let ids = || records.iter().filter_map(|record| record.event.answer().id);
        self.partitions.make_for(&self.pool, ids()).await?;
        let unmarked = self.retention.unmarked(ids());
        if !unmarked.is_empty() {
            let mut connection = self.pool.acquire().await?;
            let (now,): (DateTime<Utc>,) =
                sqlx::query_as("SELECT clock_timestamp()").fetch_one(&mut *connection).await?;
            Retention::<Postgres>::mark(&mut connection, &unmarked, unix_millis(now)).await?;
            self.retention.remember(&unmarked);
        }
        Ok(())
    }

    fn forget_days(&self) {
        self.partitions.forget();
        self.retention.forget();
    }

    /// What [`Sink::maintain`] would drop now.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn retention_plan(&self, now: UnixMillis, retention_days: u32) -> Result<RetentionPlan, StoreError> {
        let now = self.earlier(now).await?;
        let verdict = self.retention.look(now).await?;
        let kept_from = partitions::kept_from(now, retention_days);
        let kept = self.retention.kept_days(kept_from, &Verdict { now, ..verdict }).await?;
        let expired = match retention_days {
            0 => Vec::new(),
            _ => partitions::expired(&self.pool, kept_from, &kept).await?,
        };
        Ok(RetentionPlan {
            now,
            trusted_at: verdict.trusted_at,
            is_refused: verdict.is_refused,
            kept_from,
            dropped: expired.into_iter().map(|expired| expired.partition).collect(),
            kept_days: kept.len(),
        })
    }

    /// Believes this machine's clock, or the database's where that one is earlier.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn confirm_clock(&self, now: UnixMillis) -> Result<(), StoreError> {
        self.retention.confirm(self.earlier(now).await?).await
    }

    /// The earlier of two clocks drops less.
    async fn earlier(&self, now: UnixMillis) -> Result<UnixMillis, StoreError> {
        Ok(database_now(&self.pool).await?.min(now))
    }

    async fn apply_in_transaction(
        &self,
        step: &Step,
        records: &[AnalyticsRecord<&str>],
        repeats: Repeats,
    ) -> Result<Applied, StoreError> {
        let mut held = self.writer.begin().await?;
        let applied = self.apply_on(&mut held.connection, step, records, repeats).await;
        self.writer.keep(held, &applied);
        applied
    }

    async fn apply_on(
        &self,
        connection: &mut PgConnection,
        step: &Step,
        records: &[AnalyticsRecord<&str>],
        repeats: Repeats,
    ) -> Result<Applied, StoreError> {
        let written = self.write(connection, step, records, NewRows::Written(repeats)).await;
        writer::end(connection, written).await
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        step: &Step,
        records: &[AnalyticsRecord<&str>],
        new_rows: NewRows<'_>,
    ) -> Result<Applied, StoreError> {
        PositionTable::<Postgres>::advance(connection, step).await?;
        write_rows(connection, records, new_rows, step.pacing_window, &self.copies, &self.pending).await
    }
}

async fn sift_on(
    connection: &mut PgConnection,
    records: &[AnalyticsRecord<&str>],
) -> Result<Vec<(usize, StoreError)>, StoreError> {
    writer::check_at_once(connection).await?;
    // Nothing of it stays, so it takes nobody's room.
    let (new_rows, copies, pending) = (NewRows::Written(Repeats::Left), Copies::none(), PendingBound::default());
    let found =
        sift!(connection, records, |span| write_rows(connection, span, new_rows, Duration::ZERO, &copies, &pending));
    sqlx::raw_sql("ROLLBACK").execute(connection).await?;
    Ok(found)
}

async fn write_rows(
    connection: &mut PgConnection,
    records: &[AnalyticsRecord<&str>],
    new_rows: NewRows<'_>,
    pacing_window: Duration,
    copies: &Copies,
    pending: &PendingBound,
) -> Result<Applied, StoreError> {
    let mut write_set = WriteSet::of(records);
    let waiting = pending::waiting_for(connection, records).await?;
    write_set.expect(&waiting);
    let prepared = match new_rows {
        NewRows::Written(_) => None,
        NewRows::Prepared(views) => Some(views),
    };
    let loaded = PreImage { waiting, ..load(connection, &write_set, prepared).await? };
    let mut fold = Fold::of(records, &write_set, loaded);
    match new_rows {
        NewRows::Written(repeats) => insert_rows(connection, &fold, repeats, pacing_window, copies).await?,
        NewRows::Prepared(views) => fold.reconcile(views),
    }
    write_changes(connection, &fold, pending).await?;
    insert_keys(connection, &fold).await?;
    Ok(fold.applied())
}

async fn insert_rows(
    connection: &mut PgConnection,
    fold: &Fold<'_>,
    repeats: Repeats,
    pacing_window: Duration,
    copies: &Copies,
) -> Result<(), StoreError> {
    let mut pace = Pace::of(fold.new_sessions.len() + fold.new_views.len(), pacing_window);
    insert_sessions(connection, &fold.new_sessions, repeats, &mut pace, copies).await?;
    insert_views(connection, &fold.new_views, repeats, &mut pace, copies).await
}
