//! Fresh, migrated databases of either engine behind their sinks, and records to apply to them.

#![allow(missing_docs)] // what these do is in their names

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use weir_domain::{
    AnalyticsEvent, AnalyticsRecord, GeoLocation, JournalRecord, SessionRecord, UnixMillis, VisitorHash,
};
use weir_log::{JournalId, Position};
use weir_store::{
    Accounts, AnalyticsSink, Applied, BatchKeyTable, MainReads, MainSink, Maintained, Positions, SettingsTable,
    Settled, Sink, Step, StoreError, VisitorTable, open_analytics, open_main,
};

use crate::{Backend, Databases};

/// A day in the past, for ids and times that do not change.
pub const DAY: UnixMillis = UnixMillis(1_777_543_200_000);
/// So many records of one kind that PostgreSQL gets them by COPY.
pub const MANY: usize = 600;

/// Two fresh, migrated databases and a journal they know.
pub struct Store {
    pub databases: Databases,
    pub analytics: Box<dyn AnySink>,
    pub main: Box<dyn AnySink>,
    pub settings: Arc<dyn SettingsTable>,
    pub keys: Arc<dyn BatchKeyTable>,
    pub accounts: Arc<dyn Accounts>,
    pub reads: Arc<dyn MainReads>,
    pub visitors: Arc<dyn VisitorTable>,
    pub journal: JournalId,
    pub writer: Uuid,
    _directory: tempfile::TempDir,
}

/// A sink of either engine, with records as a journal has them.
#[async_trait::async_trait]
pub trait AnySink: Send + Sync {
    async fn migrate(&self) -> Result<(), StoreError>;
    fn positions(&self) -> &dyn Positions;
    async fn apply_encoded(&self, step: &Step, records: &[Vec<u8>]) -> Result<Applied, StoreError>;
    /// Applies steps one after the other, each of them prepared while the one before it is applied. How many were.
    async fn apply_pipelined(&self, steps: &[(Step, Vec<Vec<u8>>)]) -> Result<usize, StoreError>;
    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError>;
    async fn settle(&self, all: bool) -> Result<Settled, StoreError>;
}

pub fn decoded<S: Sink>(records: &[Vec<u8>]) -> Vec<S::Record<'_>> {
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
    async fn apply_pipelined(&self, steps: &[(Step, Vec<Vec<u8>>)]) -> Result<usize, StoreError> {
        let prepare = async |number: usize| {
            let (_, records) = steps.get(number)?;
            S::prepare(self, &decoded::<S>(records)).await.ok().flatten()
        };
        let (mut pipelined, mut next) = (0, None);
        for (number, (step, records)) in steps.iter().enumerate() {
            let records = decoded::<S>(records);
            next = if let Some(prepared) = next.take() {
                pipelined += 1;
                let (applied, prepared) =
                    tokio::join!(S::commit_prepared(self, step, &records, prepared), prepare(number + 1));
                applied?;
                prepared
            } else {
                // One that brings the same session as the next one would wait for it.
                S::apply(self, step, &records).await?;
                prepare(number + 1).await
            };
        }
        Ok(pipelined)
    }
    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError> {
        S::maintain(self, now, retention_days).await
    }
    async fn settle(&self, all: bool) -> Result<Settled, StoreError> {
        S::settle(self, all).await
    }
}

impl dyn AnySink {
    pub async fn apply<R: for<'a> JournalRecord<'a>>(&self, step: &Step, records: &[R]) -> Result<Applied, StoreError> {
        let encoded: Vec<_> = records.iter().map(JournalRecord::encode).collect();
        self.apply_encoded(step, &encoded).await
    }
}

/// The analytics database with connections of its own.
pub fn open_analytics_of(databases: &Databases) -> (Box<dyn AnySink>, Arc<dyn BatchKeyTable>) {
    let sink = open_analytics(&databases.analytics_url).unwrap();
    let keys = sink.batch_keys();
    let sink: Box<dyn AnySink> = match sink {
        AnalyticsSink::Sqlite(sink) => Box::new(sink),
        AnalyticsSink::Postgres(sink) => Box::new(sink),
    };
    (sink, keys)
}

impl Store {
    pub async fn fresh(backend: Backend) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let databases = Databases::fresh(backend, directory.path()).await;
        let (analytics, keys) = open_analytics_of(&databases);
        let main_sink = open_main(&databases.main_url).unwrap();
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
        store.analytics.positions().register(store.journal, store.writer, DAY).await.unwrap();
        store.main.positions().register(store.journal, store.writer, DAY).await.unwrap();
        store
    }

    pub fn step(&self, from: u64, through: u64) -> Step {
        Step {
            journal: self.journal,
            writer: self.writer,
            from: Position(from),
            through: Position(through),
            at: DAY,
            pacing_window: Duration::ZERO,
            is_replay: false,
        }
    }

    /// Where a fresh look finds the journal in the analytics database.
    pub async fn analytics_position(&self) -> u64 {
        self.analytics.positions().position(self.journal).await.unwrap().unwrap().0.0
    }
}

/// A session of a moment with nothing optional in it.
pub fn session_at(at: UnixMillis) -> SessionRecord {
    SessionRecord {
        id: weir_domain::IdSource::default().next(at),
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
        place: GeoLocation::default(),
    }
}

pub fn record(session: SessionRecord) -> AnalyticsRecord {
    AnalyticsEvent::Session(Box::new(session)).into()
}

pub fn sessions(count: usize) -> Vec<AnalyticsRecord> {
    (0..count).map(|_| record(session_at(DAY))).collect()
}
