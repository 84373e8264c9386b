//! One suite for both engines: what a sink promises, it promises on SQLite and on PostgreSQL.

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod analytics;
mod distance;
mod early;
mod events;
mod idempotency;
mod main_database;
mod model;
mod position;
mod visitors;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::{Backend, Databases};
use uuid::Uuid;
use weir::actor::Vitals;
use weir::app::{AnalyticsSink, MainSink, open_analytics, open_main};
use weir::config::DatabaseUrl;
use weir::domain::{
    AnalyticsEvent, AnalyticsRecord, Clock, JournalRecord, MainRecord, Place, SessionRecord, UnixMillis, VisitorHash,
};
use weir::journal::{Journal, JournalId, JournalOptions, Position, SegmentStorage};
use weir::store::{
    Accounts, Applied, BatchKeyTable, MainReads, Maintained, Positions, SettingsTable, Sink, Step, StoreError,
    VisitorTable,
};
use weir::telemetry::{Histogram, Telemetry};
use weir::write::{Pump, WriterState};

/// A day in the past, for ids and times that do not change.
const DAY: UnixMillis = UnixMillis(1_777_543_200_000);
/// So many records of one kind that PostgreSQL gets them by COPY.
const MANY: usize = 600;

/// Two fresh, migrated databases and a journal they know.
struct Store {
    databases: Databases,
    analytics: Box<dyn AnySink>,
    main: Box<dyn AnySink>,
    settings: Arc<dyn SettingsTable>,
    keys: Arc<dyn BatchKeyTable>,
    accounts: Arc<dyn Accounts>,
    reads: Arc<dyn MainReads>,
    visitors: Arc<dyn VisitorTable>,
    journal: JournalId,
    writer: Uuid,
    _directory: tempfile::TempDir,
}

/// A sink of either engine, with records as a journal has them.
#[async_trait::async_trait]
trait AnySink: Send + Sync {
    async fn migrate(&self) -> Result<(), StoreError>;
    fn positions(&self) -> &dyn Positions;
    async fn apply_encoded(&self, step: &Step, records: &[Vec<u8>]) -> Result<Applied, StoreError>;
    /// Applies steps one after the other, each of them begun while the one before it is applied. How many were.
    async fn apply_early(&self, steps: &[(Step, Vec<Vec<u8>>)]) -> Result<usize, StoreError>;
    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError>;
}

fn decoded<S: Sink>(records: &[Vec<u8>]) -> Vec<S::Record<'_>> {
    records.iter().map(|bytes| S::Record::decode(bytes).unwrap()).collect()
}

#[async_trait::async_trait]
impl<S: Sink> AnySink for Arc<S> {
    async fn migrate(&self) -> Result<(), StoreError> {
        S::migrate(self).await
    }
    fn positions(&self) -> &dyn Positions {
        S::positions(self)
    }
    async fn apply_encoded(&self, step: &Step, records: &[Vec<u8>]) -> Result<Applied, StoreError> {
        S::apply(self, step, &decoded::<S>(records)).await
    }
    async fn apply_early(&self, steps: &[(Step, Vec<Vec<u8>>)]) -> Result<usize, StoreError> {
        let begin = async |number: usize| match steps.get(number) {
            Some((_, records)) => S::begin(self, &decoded::<S>(records)).await.ok().flatten(),
            None => None,
        };
        let (mut early, mut next) = (0, None);
        for (number, (step, records)) in steps.iter().enumerate() {
            let records = decoded::<S>(records);
            next = match next.take() {
                Some(begun) => {
                    early += 1;
                    let (applied, begun) = tokio::join!(S::finish(self, step, &records, begun), begin(number + 1));
                    applied?;
                    begun
                }
                // One that brings the same session as the next one would wait for it.
                None => {
                    S::apply(self, step, &records).await?;
                    begin(number + 1).await
                }
            };
        }
        Ok(early)
    }
    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError> {
        S::maintain(self, now, retention_days).await
    }
}

impl dyn AnySink {
    async fn apply<R: for<'a> JournalRecord<'a>>(&self, step: &Step, records: &[R]) -> Result<Applied, StoreError> {
        let encoded: Vec<_> = records.iter().map(JournalRecord::encode).collect();
        self.apply_encoded(step, &encoded).await
    }
}

fn database_url(backend: Backend, url: &str) -> DatabaseUrl {
    match backend {
        Backend::Sqlite => DatabaseUrl::Sqlite(url.to_owned()),
        Backend::Postgres => DatabaseUrl::Postgres(url.to_owned().into()),
    }
}

/// The analytics database with connections of its own.
fn open_analytics_of(databases: &Databases) -> (Box<dyn AnySink>, Arc<dyn BatchKeyTable>) {
    let sink = open_analytics(&database_url(databases.backend, &databases.analytics_url)).unwrap();
    let keys = sink.batch_keys();
    let sink: Box<dyn AnySink> = match sink {
        AnalyticsSink::Sqlite(sink) => Box::new(sink),
        AnalyticsSink::Postgres(sink) => Box::new(sink),
    };
    (sink, keys)
}

impl Store {
    async fn fresh(backend: Backend) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let databases = Databases::fresh(backend, directory.path()).await;
        let (analytics, keys) = open_analytics_of(&databases);
        let main_sink = open_main(&database_url(backend, &databases.main_url)).unwrap();
        let tables = main_sink.tables();
        let main: Box<dyn AnySink> = match main_sink {
            MainSink::Sqlite(sink) => Box::new(sink),
            MainSink::Postgres(sink) => Box::new(sink),
        };
        let store = Self {
            databases,
            analytics,
            main,
            keys,
            settings: tables.settings,
            accounts: tables.accounts,
            reads: tables.reads,
            visitors: tables.visitors,
            journal: JournalId(Uuid::new_v4()),
            writer: Uuid::new_v4(),
            _directory: directory,
        };
        store.analytics.migrate().await.unwrap();
        store.main.migrate().await.unwrap();
        store.analytics.positions().register(store.journal, store.writer).await.unwrap();
        store.main.positions().register(store.journal, store.writer).await.unwrap();
        store
    }

    fn step(&self, from: u64, through: u64) -> Step {
        Step {
            journal: self.journal,
            writer: self.writer,
            from: Position(from),
            through: Position(through),
            unhurried: Duration::ZERO,
        }
    }

    /// Where a fresh look finds the journal in the analytics database.
    async fn analytics_position(&self) -> u64 {
        self.analytics.positions().position(self.journal).await.unwrap().unwrap().0.0
    }
}

/// A session of a moment with nothing optional in it.
fn session_at(at: UnixMillis) -> SessionRecord {
    SessionRecord {
        id: weir::domain::IdSource::default().next(at),
        started_at: at,
        visitor: VisitorHash([0xab; 32]),
        bio_page_id: None,
        creator_id: None,
        landing_page: "https://example.org/".to_owned(),
        referrer: None,
        referrer_domain: "direct".to_owned(),
        utm_source: None,
        utm_medium: None,
        utm_campaign: None,
        utm_term: None,
        utm_content: None,
        device: None,
        browser: None,
        os: None,
        os_version: None,
        screen_width: None,
        screen_height: None,
        connection_type: None,
        language: None,
        place: Place::default(),
    }
}

/// A journal that does not wait for its disk, and what brings its records to a database.
fn journal_with_pump<S: Sink>(directory: &Path, sink: Arc<S>) -> (Journal, Pump<S>) {
    let (telemetry, options) = (Telemetry::new(), JournalOptions { fsync: false, ..JournalOptions::default() });
    let storage = SegmentStorage::open(&directory.join("journal"), options, Histogram::unread()).unwrap();
    let lifeline = Vitals::new(telemetry.clone()).lifeline("journal");
    let journal = Journal::start("analytics", storage, options, telemetry.journal("analytics"), lifeline).unwrap();
    let clock = Arc::new(Clock::system());
    let pump = Pump::new(sink, journal.clone(), Arc::<WriterState>::default(), telemetry, clock);
    (journal, pump)
}

/// Appends so many sessions, one after the other.
async fn append(journal: &Journal, records: usize) {
    for record in sessions(records) {
        journal.append(record.encode()).unwrap().await.unwrap();
    }
}

fn record(session: SessionRecord) -> AnalyticsRecord {
    AnalyticsEvent::Session(Box::new(session)).into()
}

fn sessions(count: usize) -> Vec<AnalyticsRecord> {
    (0..count).map(|_| record(session_at(DAY))).collect()
}
