//! The stages, made bottom-up: GeoIP, journals, databases with their writers, settings, limiter, enricher.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix::Arbiter;
use actix_web::web::Data;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::sinks::{AnalyticsSink, MainSink, open_analytics, open_main};
use super::{AppError, journal_directory};
use crate::actor::{Vitals, Watchdog};
use crate::auth::AccessTokens;
use crate::config::{Config, Secrets};
use crate::domain::{Clock, IdSource};
use crate::enrich::Enricher;
use crate::enrich::geo::{FileVersion, Geo, GeoWatch};
use crate::enrich::pool::UserAgents;
use crate::enrich::token::TrackingTokens;
use crate::enrich::user_agent::UserAgentParser;
use crate::http::{AppState, DatabaseState};
use crate::journal::{Journal, Keeper, SegmentStorage};
use crate::limit::{self, Limiter, Sweeper};
use crate::settings::{Settings, SettingsRefresher};
use crate::store::Sink;
use crate::telemetry::Telemetry;
use crate::write::{Maintenance, Writer, WriterPhase, WriterState};

/// How long a start waits for a first word from the databases before it listens without them.
const DATABASE_GRACE: Duration = Duration::from_secs(3);

/// What every stage is made of.
pub(super) struct Parts<'a> {
    pub config: &'a Config,
    pub telemetry: Arc<Telemetry>,
    pub clock: Arc<Clock>,
    pub vitals: Arc<Vitals>,
    pub watchdog: Watchdog,
}

impl Parts<'_> {
    /// Starts every stage but the listeners.
    pub async fn assemble(&self, secrets: &Secrets) -> Result<Data<AppState>, AppError> {
        let config = self.config;
        let access_tokens = AccessTokens::new(&secrets.jwt)?;
        let geo = self.start_geo()?;
        // One housekeeping arbiter for what ticks and blocks nobody.
        let housekeeping = Arbiter::new();
        let analytics = self.start_journal("analytics", &housekeeping)?;
        let main = self.start_journal("main", &housekeeping)?;

        let main_sink = open_main(&config.databases.main)?;
        let analytics_sink = open_analytics(&config.databases.analytics)?;
        let analytics_writer = match analytics_sink {
            AnalyticsSink::Sqlite(sink) => self.start_embedded(sink, &analytics).await?,
            AnalyticsSink::Postgres(sink) => self.start_writer(sink, &analytics),
        };
        let settings = Settings::open(&config.data_dir);
        let table = main_sink.settings_table();
        let main_writer = match main_sink {
            MainSink::Sqlite(sink) => self.start_embedded(sink, &main).await?,
            MainSink::Postgres(sink) => self.start_writer(sink, &main),
        };
        wait_for_databases(&[&analytics_writer, &main_writer]).await;
        // A database that is away has no settings to tell: those last seen hold until it is back.
        let _ = settings.refresh(table.as_ref()).await;
        let lifeline = self.vitals.lifeline("settings");
        let refreshed = settings.clone();
        self.watchdog.supervise(&housekeeping.handle(), lifeline.clone(), 1, move || SettingsRefresher {
            settings: refreshed.clone(),
            table: Arc::clone(&table),
            lifeline: lifeline.clone(),
        });

        let limiter = Limiter::new(config.throttle.clone(), limit::CAPACITY, Arc::clone(&self.clock));
        let lifeline = self.vitals.lifeline("sweeper");
        let (swept, telemetry) = (limiter.clone(), Arc::clone(&self.telemetry));
        self.watchdog.supervise(&housekeeping.handle(), lifeline.clone(), 1, move || {
            Sweeper::new(swept.clone(), Arc::clone(&telemetry), lifeline.clone())
        });

        let agents = UserAgents::start(
            UserAgentParser::new()?,
            std::thread::available_parallelism().map_or(1, usize::from),
            &self.watchdog,
            &self.vitals.lifeline("user_agent_parser"),
            Arc::clone(&self.telemetry),
        );
        Ok(Data::new(AppState {
            network: config.network.clone(),
            limiter,
            enricher: Enricher {
                agents,
                geo,
                tokens: TrackingTokens::new(secrets.tracking_hmac_secret.expose_secret().as_bytes()),
                ids: IdSource::default(),
                clock: Arc::clone(&self.clock),
            },
            access_tokens,
            settings,
            analytics: DatabaseState { journal: analytics, writer: analytics_writer },
            main: DatabaseState { journal: main, writer: main_writer },
            ids: IdSource::default(),
            clock: Arc::clone(&self.clock),
            telemetry: Arc::clone(&self.telemetry),
            vitals: Arc::clone(&self.vitals),
            draining: AtomicBool::new(false),
            started: AtomicBool::new(false),
            warned_about_proxy: AtomicBool::new(false),
        }))
    }

    fn start_geo(&self) -> Result<Geo, AppError> {
        let Some(path) = self.config.geoip_database.clone() else {
            tracing::info!("no geoip_database is set: places come from a trusted proxy's headers, or stay unknown");
            return Ok(Geo::none());
        };
        let seen = FileVersion::of(&path);
        let geo = Geo::open(&path)?;
        let lifeline = self.vitals.lifeline("geoip");
        let (watched, telemetry) = (geo.clone(), Arc::clone(&self.telemetry));
        // An arbiter of its own: reading and checking a large database blocks for a second.
        self.watchdog.supervise(&Arbiter::new().handle(), lifeline.clone(), 1, move || {
            GeoWatch::new(watched.clone(), path.clone(), seen, Arc::clone(&telemetry), lifeline.clone())
        });
        Ok(geo)
    }

    fn start_journal(&self, name: &'static str, housekeeping: &Arbiter) -> Result<Journal, AppError> {
        let metrics = self.telemetry.journal(name);
        let directory = journal_directory(self.config, name);
        let storage = SegmentStorage::open(&directory, self.config.journal, metrics.fsync_seconds.clone())?;
        let lifeline = self.vitals.lifeline(if name == "main" { "main_journal" } else { "analytics_journal" });
        let journal = Journal::start(name, storage, self.config.journal, metrics, lifeline)
            .map_err(|source| AppError::System { action: "start a journal's thread", source })?;
        let lifeline = self.vitals.lifeline(if name == "main" { "main_keeper" } else { "analytics_keeper" });
        let kept = journal.clone();
        self.watchdog.supervise(&housekeeping.handle(), lifeline.clone(), 1, move || {
            Keeper::new(kept.clone(), lifeline.clone())
        });
        Ok(journal)
    }

    /// An embedded database that cannot be opened is no outage: it is refused by name.
    async fn start_embedded<S: Sink>(&self, sink: Arc<S>, journal: &Journal) -> Result<Arc<WriterState>, AppError> {
        let migrated = sink.migrate().await;
        migrated.map_err(|source| AppError::Database { database: sink.describe().to_owned(), source })?;
        Ok(self.start_writer(sink, journal))
    }

    fn start_writer<S: Sink>(&self, sink: Arc<S>, journal: &Journal) -> Arc<WriterState> {
        let state = Arc::new(WriterState::default());
        let is_main = journal.name() == "main";
        // The writer and its table maintenance have an arbiter of their own: batches are encoded there.
        let arbiter = Arbiter::new().handle();
        let lifeline = self.vitals.lifeline(if is_main { "main_maintenance" } else { "analytics_maintenance" });
        let (maintained, seen, clock) = (Arc::clone(&sink), Arc::clone(&state), Arc::clone(&self.clock));
        let retention_days = self.config.retention_days;
        self.watchdog.supervise(&arbiter, lifeline.clone(), 1, move || Maintenance {
            sink: Arc::clone(&maintained),
            state: Arc::clone(&seen),
            clock: Arc::clone(&clock),
            retention_days,
            lifeline: lifeline.clone(),
        });
        let lifeline = self.vitals.lifeline(if is_main { "main_writer" } else { "analytics_writer" });
        let (journal, told) = (journal.clone(), Arc::clone(&state));
        let (telemetry, clock) = (Arc::clone(&self.telemetry), Arc::clone(&self.clock));
        self.watchdog.supervise(&arbiter, lifeline.clone(), 1, move || Writer {
            sink: Arc::clone(&sink),
            journal: journal.clone(),
            state: Arc::clone(&told),
            telemetry: Arc::clone(&telemetry),
            clock: Arc::clone(&clock),
            lifeline: lifeline.clone(),
        });
        state
    }
}

async fn wait_for_databases(writers: &[&Arc<WriterState>]) {
    let deadline = Instant::now() + DATABASE_GRACE;
    while Instant::now() < deadline && writers.iter().any(|writer| writer.phase() == WriterPhase::Starting) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if writers.iter().any(|writer| writer.phase() != WriterPhase::Up) {
        tracing::warn!("starting without a database: records are kept in the journal until it is there");
    }
}
