//! The two databases, each on SQLite or PostgreSQL, behind one trait.
//!
//! A [`Sink`] takes a batch of records and the journal position they lead to in ONE transaction. That is the whole of
//! exactly-once: whatever is killed when, either both are there or neither. One conformance suite runs on all four.

mod accounts;
mod columns;
mod error;
#[cfg(not(feature = "fold"))]
mod fold;
#[cfg(feature = "fold")]
#[allow(clippy::must_use_candidate)] // a feature for one test alone
pub mod fold;
mod keys;
mod migrations;
mod open;
mod pending;
mod position;
pub mod postgres;
mod retention;
pub mod settings;
mod sift;
pub mod sqlite;
mod visitor_fold;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use weir_domain::{AccountRecord, Clock, ConsentRecord, FunnelEventRecord, JournalRecord, MainRecord, UnixMillis};
use weir_log::{JournalId, Position};

pub use accounts::{Accounts, Made, MainReads, VisitorTable};
pub use error::StoreError;
pub use keys::{BatchKeyTable, StoredKey};
pub use migrations::{MigrationEvent, MigrationObserver};
pub use open::{AnalyticsSink, MainSink, MainTables, open_analytics, open_main};
pub use pending::{PENDING_LIFETIME_MS, PENDING_MAX};
pub use position::{AsOf, DatabaseIdentity, Positions};
pub use postgres::each_host;
pub use settings::SettingsTable;

/// One move of a journal's position.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub journal: JournalId,
    /// This process's writer; see `journal_positions.writer`.
    pub writer: Uuid,
    /// Where the database must stand; anything else rolls the step back.
    pub from: Position,
    /// Where it stands afterwards.
    pub through: Position,
    /// When it is made, by the applier's clock.
    pub at: UnixMillis,
    /// The pacing window: over how long its rows may be sent, where nothing waited behind them as it began; zero: as fast
    /// as they go.
    pub pacing_window: Duration,
    /// Whether its records had their turn before and were refused: what goes by the order of applying (consents) is put where
    /// they belonged.
    pub is_replay: bool,
}

/// What a step wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows by table.
    pub rows: Vec<(&'static str, u64)>,
}

impl Applied {
    /// Tables with the rows that were written to them, without those that got none.
    fn of(tables: impl IntoIterator<Item = (&'static str, usize)>) -> Self {
        let rows = tables.into_iter().filter(|(_, rows)| *rows > 0);
        Self { rows: rows.map(|(table, rows)| (table, rows as u64)).collect() }
    }
}

/// What maintenance did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    pub partitions_made: u64,
    pub partitions_dropped: u64,
    pub rows_deleted: u64,
    /// The time that the clock has and the last one that was believed, where they are too far from each other to delete
    /// anything until an operator confirms it.
    pub refused: Option<(UnixMillis, UnixMillis)>,
}

/// What a run of retention would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPlan {
    /// The time that it goes by: the earlier of this machine's clock and the database's.
    pub now: UnixMillis,
    /// The last time that was believed.
    pub trusted_at: UnixMillis,
    /// Whether it waits for an operator to confirm it.
    pub is_refused: bool,
    /// Rows whose ids carry an earlier time go.
    pub kept_from: UnixMillis,
    /// What goes: partitions by name, or rows by table.
    pub dropped: Vec<String>,
    /// How many days before that stay, because their rows were stored later than their ids say.
    pub kept_days: usize,
}

/// What became of effects that wait for a session or a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// How many wait.
    pub waiting: u64,
    /// What they waited for is there: they were applied.
    pub applied: u64,
    /// They waited for [`PENDING_LIFETIME_MS`].
    pub expired: u64,
    /// There was no room for them, since the last time.
    pub refused: u64,
}

/// A database as a writer sees it.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// What the journal of this database carries, whose texts may be borrowed from its bytes.
    type Record<'a>: JournalRecord<'a>;

    /// What of a step was written before its turn, in a transaction that is not committed. Dropped, it is rolled back.
    type Prepared: Send + 'static;

    /// Which database and which engine, for logs: `analytics on sqlite`.
    fn describe(&self) -> &'static str;

    /// The most records that are worth one transaction.
    fn batch_records(&self) -> usize;

    /// The least time from one transaction to the next while records come in numbers. It is also how much later the last of
    /// them is here: the default is for a database that requests read, and wait for.
    fn min_commit_interval(&self) -> Duration {
        Duration::from_millis(50)
    }

    /// How many steps are worth preparing before their turn while a backlog is applied: the depth of the pipeline.
    fn pipeline_depth(&self) -> usize {
        0
    }

    /// How often the tables are maintained.
    fn maintenance_interval(&self) -> Duration {
        Duration::from_hours(1)
    }

    /// Brings the schema up to this version. Repeatable, and safe beside another instance.
    async fn migrate(&self) -> Result<(), StoreError> {
        let database = self.describe();
        self.migrate_observed(&|migrating| match migrating {
            MigrationEvent::WaitsForLock | MigrationEvent::LockAcquired => {}
            MigrationEvent::Begins { version, description } => {
                tracing::info!(database, version, description, "schema is being changed");
            }
            MigrationEvent::Done { version, took, .. } => {
                tracing::info!(database, version, seconds = took.as_secs_f64(), "schema is changed");
            }
        })
        .await
    }

    /// The same, and tells how far it is.
    async fn migrate_observed(&self, tell: MigrationObserver<'_>) -> Result<(), StoreError>;

    /// Finds the server that takes writes, where the database is on one of several.
    ///
    /// # Errors
    /// When there is none.
    async fn find_server(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// How far journals are applied here.
    fn positions(&self) -> &dyn Positions;

    /// Writes the records and moves the position, or does neither.
    async fn apply(&self, step: &Step, records: &[Self::Record<'_>]) -> Result<Applied, StoreError>;

    /// Which of these records the database will not take while it takes the others, by their places, with what it said of
    /// each. Nothing is written, and the position stays.
    ///
    /// # Errors
    /// When that cannot be said; it says nothing of the records.
    async fn sift(&self, step: &Step, records: &[Self::Record<'_>]) -> Result<Vec<(usize, StoreError)>, StoreError>;

    /// Writes what can be written of these records before those before them are applied, and leaves the position alone; seen
    /// by nobody until [`Self::commit_prepared`] has made it right. `None` where there is nothing of the kind.
    ///
    /// # Errors
    /// As [`Self::apply`]. It says nothing of the records: applied in their turn they are judged afresh.
    async fn prepare(&self, _records: &[Self::Record<'_>]) -> Result<Option<Self::Prepared>, StoreError> {
        Ok(None)
    }

    /// What [`Self::apply`] does, in their turn, with records that were prepared. As it stands here it is for a sink that never
    /// prepares anything.
    async fn commit_prepared(
        &self,
        step: &Step,
        records: &[Self::Record<'_>],
        prepared: Self::Prepared,
    ) -> Result<Applied, StoreError> {
        drop(prepared);
        self.apply(step, records).await
    }

    /// Looks after the effects that wait: applies those whose session or view was committed at the same instant as they, drops
    /// those that have waited too long, counts them. `all` looks at every one, and not only at those of the last minutes.
    async fn settle(&self, _all: bool) -> Result<Settled, StoreError> {
        Ok(Settled::default())
    }

    /// By how much this clock is ahead of the database's own; `None` where that is the same machine's.
    async fn clock_skew_ms(&self, _clock: &Clock) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }

    /// Makes what coming records need and drops what is past its retention (0 days: nothing).
    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError>;
}

/// Gives up on a database that does not answer: the bounds that it keeps itself are worth nothing when its machine, or
/// the way to it, is gone without a word.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let silent = |_| Err(StoreError::Unavailable(format!("no answer within {} s", limit.as_secs())));
    tokio::time::timeout(limit, work).await.unwrap_or_else(silent)
}

/// A transaction costs what hundreds of its rows do, and of all requests only a batch whose keys memory has lost waits for
/// what the writer brings to analytics.
const ANALYTICS_COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// A fingerprint is kept at most this long past its window.
const FINGERPRINTS_CLEARED_EVERY: Duration = Duration::from_secs(10);
/// How long it is remembered what an address did: past the hour in which it counts.
const CODES_KEPT_MS: i64 = 2 * 3_600_000;

/// What is written as it is; visitors are not among it.
fn by_kind(records: &[MainRecord]) -> (Vec<&ConsentRecord>, Vec<&FunnelEventRecord>, Vec<&AccountRecord>) {
    let (mut consents, mut events, mut accounts) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        match record {
            MainRecord::Consent(consent) => consents.push(consent.as_ref()),
            MainRecord::FunnelEvent(event) => events.push(event.as_ref()),
            MainRecord::Account(account) => accounts.push(account.as_ref()),
            MainRecord::Visitor(_) | MainRecord::VisitorFill(_) => {}
        }
    }
    (consents, events, accounts)
}
