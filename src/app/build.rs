//! The stages, made bottom-up: GeoIP, journals and what they remember, databases with their writers, settings, limiter,
//! enricher, sign-in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use actix::Arbiter;
use actix_web::web::Data;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::collect::Collector;
use super::error::AppError;
use super::observers::{ApplierTelemetry, JournalTelemetry};
use super::paths::journal_directory;
use super::sinks::{open_analytics, open_main};
use super::waiting::waiting;
use super::warm_up::{self, Memory, Warmer};
use crate::actor::{Health, Watchdog};
use crate::auth::{AccessTokens, IdTokens, SignInParts, SignInService};
use crate::clock_watch::ClockWatch;
use crate::config::{Config, Secrets};
use crate::enrich::Enricher;
use crate::enrich::bots::Bots;
use crate::enrich::geo::{Geo, GeoWatch};
use crate::enrich::pool::UserAgents;
use crate::enrich::token::TrackingTokens;
use crate::enrich::user_agent::UserAgentParser;
use crate::file_version::FileVersion;
use crate::http::{AppState, DatabaseState};
use crate::idempotency::BatchKeys;
use crate::limit::{self, Limiter, Sweep, Sweeper};
use crate::mail::Outbox;
use crate::read::{ReadBarrier, UserReads};
use crate::settings::{Settings, SettingsRefresher};
use crate::telemetry::Telemetry;
use crate::visitors::Visitors;
use crate::writers::{Maintenance, Writer};
use weir_apply::{ApplierPhase, ApplierState, ApplyObserver};
use weir_domain::{Clock, IdSource};
use weir_http_guard::{Connections, FdLimit, Timeouts};
use weir_journal::Journal;
use weir_store::{AnalyticsSink, MainSink, MainTables, Sink, StoreError};

/// How long a start waits for a first word from the databases before it listens without them.
const DATABASE_GRACE: Duration = Duration::from_secs(3);

/// How long a start waits for what databases that have answered remember.
const MEMORY_GRACE: Duration = Duration::from_secs(30);

/// What every stage is made of.
pub(super) struct Builder<'a> {
    pub config: &'a Config,
    pub telemetry: Arc<Telemetry>,
    pub clock: Arc<Clock>,
    pub health_state: Arc<Health>,
    pub watchdog: Watchdog,
    pub fd_limit: FdLimit,
}

impl Builder<'_> {
    /// Starts every stage but the listeners.
    pub async fn build(&self, secrets: &Secrets) -> Result<(Data<AppState>, [Journal; 2]), AppError> {
        let config = self.config;
        let access_tokens = Arc::new(AccessTokens::new(&secrets.jwt)?.counting(self.telemetry.tokens_without_user()));
        let geo = self.start_geo();
        // One housekeeping arbiter for what ticks and blocks nobody.
        let housekeeping = Arbiter::new();
        let analytics = self.start_journal("analytics", &housekeeping).await?;
        let main = self.start_journal("main", &housekeeping).await?;

        let main_sink = open_main(&config.databases.main)?;
        let analytics_sink = open_analytics(&config.databases.analytics)?;
        let tables = main_sink.tables();
        let (analytics_writer, main_writer) = (Arc::<ApplierState>::default(), Arc::<ApplierState>::default());
        let (analytics_clock, main_clock) = (Arc::<ClockWatch>::default(), Arc::<ClockWatch>::default());
        let memory =
            self.warm_up_from_journals(secrets, &analytics_sink, &tables, [&analytics, &main], &main_writer).await?;
        let deadline = Instant::now() + DATABASE_GRACE;
        refuse_unfit(config, &analytics_sink, &main_sink, deadline).await?;
        match analytics_sink {
            AnalyticsSink::Sqlite(sink) => {
                self.start_embedded(sink, &analytics, &analytics_writer, &analytics_clock).await?;
            }
            AnalyticsSink::Postgres(sink) => self.start_writer(sink, &analytics, &analytics_writer, &analytics_clock),
        }
        match main_sink {
            MainSink::Sqlite(sink) => self.start_embedded(sink, &main, &main_writer, &main_clock).await?,
            MainSink::Postgres(sink) => self.start_writer(sink, &main, &main_writer, &main_clock),
        }
        wait_for_databases([&analytics_writer, &main_writer], deadline).await;
        let settings = Settings::open(&config.data_dir);
        // A database that is away has no settings to tell: those last seen hold until it is back.
        if has_answered(&main_writer) {
            let _ = settings.refresh(tables.settings.as_ref()).await;
        }
        self.start_refresher(&settings, &tables, &housekeeping);
        // A database that is there is waited for: what it remembers must hold across a restart.
        let remembered = memory.read_where(has_answered(&analytics_writer), has_answered(&main_writer));
        let unread = || memory.unread().join(", ");
        let _ = tokio::time::timeout(MEMORY_GRACE, waiting("what the databases remember", unread, remembered)).await;
        self.start_warmer(&memory, &housekeeping);
        let bots = Arc::new(Bots::new(config.bots.clone(), &self.telemetry));
        let limiter = self.start_limiter(&memory, &bots, &housekeeping);

        let agents = UserAgents::start(
            UserAgentParser::with_bots(config.bots.clone())?,
            std::thread::available_parallelism().map_or(1, usize::from),
            &self.watchdog,
            &self.health_state.restart_budget("user_agent_parser"),
            Arc::clone(&self.telemetry),
        );
        let ids = Arc::new(IdSource::default());
        let read_barrier = ReadBarrier::new(main.offsets());
        let sign_in = SignInParts {
            accounts: tables.accounts,
            visitors: tables.visitors,
            read_barrier: read_barrier.clone(),
            appender: main.appender(),
            outbox: Outbox::start(
                config.mail.as_ref(),
                &self.watchdog,
                &self.health_state.restart_budget("mailer"),
                Arc::clone(&self.telemetry),
                &housekeeping.handle(),
            )?,
            id_tokens: IdTokens::open(&config.providers)?,
            access_tokens: Arc::clone(&access_tokens),
            access_token_seconds: i64::from(config.access_token_seconds),
            ids: Arc::clone(&ids),
            clock: Arc::clone(&self.clock),
        };
        let state = AppState {
            network: config.network.clone(),
            connections: Connections::at_most(self.fd_limit.connections, Timeouts::default()),
            limiter,
            enricher: Enricher {
                agents,
                bots,
                geo,
                tokens: TrackingTokens::new(secrets.tracking_hmac_secret.expose_secret().as_bytes()),
                ids: Arc::clone(&ids),
            },
            access_tokens,
            sign_in: SignInService::new(secrets.sign_in_key.expose_secret().as_bytes(), sign_in),
            internal_key: secrets.internal_key.clone(),
            visitors: memory.visitors,
            batch_keys: memory.keys,
            reads: UserReads::new(tables.reads, read_barrier),
            settings,
            analytics: database_state(&analytics, analytics_writer, analytics_clock),
            main: database_state(&main, main_writer, main_clock),
            ids,
            clock: Arc::clone(&self.clock),
            telemetry: Arc::clone(&self.telemetry),
            health_state: Arc::clone(&self.health_state),
            draining: AtomicBool::new(false),
            started: AtomicBool::new(false),
            warned_about_proxy: AtomicBool::new(false),
            warned_about_untrusted_at: AtomicI64::new(0),
        };
        Ok((Data::new(state), [analytics, main]))
    }

    /// Reads from the journals what must be known before the first request, while no writer runs yet.
    async fn warm_up_from_journals(
        &self,
        secrets: &Secrets,
        analytics_sink: &AnalyticsSink,
        tables: &MainTables,
        [analytics, main]: [&Journal; 2],
        main_writer: &Arc<ApplierState>,
    ) -> Result<Memory, AppError> {
        let visitors = Visitors::new(
            secrets.fingerprint_key.expose_secret(),
            Arc::clone(&tables.visitors),
            main,
            Arc::clone(main_writer),
            Arc::clone(&self.clock),
            Arc::clone(&self.telemetry),
        );
        let read_barrier = ReadBarrier::new(analytics.offsets());
        let keys = BatchKeys::new(analytics_sink.batch_keys(), read_barrier, Arc::clone(&self.clock));
        warm_up::visitors_from(main, &visitors).await?;
        warm_up::keys_from(analytics, &keys).await?;
        Ok(Memory { keys: Arc::new(keys), visitors: Arc::new(visitors) })
    }

    fn start_refresher(&self, settings: &Settings, tables: &MainTables, housekeeping: &Arbiter) {
        let restart_budget = self.health_state.restart_budget("settings");
        let (refreshed, table) = (settings.clone(), Arc::clone(&tables.settings));
        self.watchdog.supervise(&housekeeping.handle(), restart_budget.clone(), 1, move || SettingsRefresher {
            settings: refreshed.clone(),
            table: Arc::clone(&table),
            restart_budget: restart_budget.clone(),
        });
    }

    /// Reads what was not read before the start was over.
    fn start_warmer(&self, memory: &Memory, housekeeping: &Arbiter) {
        let (restart_budget, memory) = (self.health_state.restart_budget("warmer"), memory.clone());
        self.watchdog.supervise(&housekeeping.handle(), restart_budget.clone(), 1, move || Warmer {
            memory: memory.clone(),
            restart_budget: restart_budget.clone(),
        });
    }

    fn start_limiter(&self, memory: &Memory, bots: &Arc<Bots>, housekeeping: &Arbiter) -> Limiter {
        let limiter = Limiter::new(self.config.throttle.clone(), limit::CAPACITY, Arc::clone(&self.clock));
        let restart_budget = self.health_state.restart_budget("sweeper");
        let (swept, telemetry) = (limiter.clone(), Arc::clone(&self.telemetry));
        let (visitors, keys) = (Arc::clone(&memory.visitors), Arc::clone(&memory.keys));
        let bots = Arc::clone(bots);
        let others: Vec<Sweep> =
            vec![Arc::new(move || visitors.sweep()), Arc::new(move || keys.sweep()), Arc::new(move || bots.report())];
        self.watchdog.supervise(&housekeeping.handle(), restart_budget.clone(), 1, move || {
            Sweeper::new(swept.clone(), others.clone(), Arc::clone(&telemetry), restart_budget.clone())
        });
        limiter
    }

    fn start_geo(&self) -> Geo {
        let geo = Geo::new(self.config.geoip_city_districts);
        let Some(path) = self.config.geoip_database.clone() else {
            tracing::info!("no geoip_database is set: places come from a trusted proxy's headers, or stay unknown");
            return geo;
        };
        let mut seen = FileVersion::of(&path);
        if let Err(error) = geo.load(&path) {
            tracing::warn!(%error, "no geoip database yet, it is loaded as soon as the file is there");
            // Whatever it was: what is refused once more is counted and said.
            seen = None;
        }
        let restart_budget = self.health_state.restart_budget("geoip");
        let (watched, telemetry) = (geo.clone(), Arc::clone(&self.telemetry));
        // An arbiter of its own: reading and checking a large database blocks for a second.
        self.watchdog.supervise(&Arbiter::new().handle(), restart_budget.clone(), 1, move || {
            GeoWatch::new(watched.clone(), path.clone(), seen, Arc::clone(&telemetry), restart_budget.clone())
        });
        geo
    }

    async fn start_journal(&self, name: &'static str, housekeeping: &Arbiter) -> Result<Journal, AppError> {
        let restart_budget =
            self.health_state.restart_budget(if name == "main" { "main_journal" } else { "analytics_journal" });
        let observer = Arc::new(JournalTelemetry { metrics: self.telemetry.journal(name), restart_budget });
        let (directory, options) = (journal_directory(self.config, name), self.config.journal);
        // Off this thread: what is found there is read, and a disk may take its time.
        let opening = tokio::task::spawn_blocking(move || Journal::open(name, &directory, options, observer));
        let journal = waiting("a journal to open", || name.to_owned(), opening)
            .await
            .map_err(|panic| AppError::System { action: "open a journal", source: std::io::Error::other(panic) })??;
        let restart_budget = self.health_state.restart_budget(if name == "main" {
            "main_segment_collector"
        } else {
            "analytics_segment_collector"
        });
        let segments = journal.collector();
        self.watchdog.supervise(&housekeeping.handle(), restart_budget.clone(), 1, move || Collector {
            segments: segments.clone(),
            restart_budget: restart_budget.clone(),
        });
        Ok(journal)
    }

    /// An embedded database that cannot be opened is no outage: it is refused by name.
    async fn start_embedded<S: Sink>(
        &self,
        sink: Arc<S>,
        journal: &Journal,
        state: &Arc<ApplierState>,
        clock_watch: &Arc<ClockWatch>,
    ) -> Result<(), AppError> {
        let migrated = waiting("the schema of a database", || sink.describe().to_owned(), sink.migrate()).await;
        let databases = &self.config.databases;
        let url = if journal.name() == "main" { &databases.main } else { &databases.analytics };
        migrated.map_err(|source| AppError::Database { database: url.describe(), source })?;
        self.start_writer(sink, journal, state, clock_watch);
        Ok(())
    }

    fn start_writer<S: Sink>(
        &self,
        sink: Arc<S>,
        journal: &Journal,
        state: &Arc<ApplierState>,
        clock_watch: &Arc<ClockWatch>,
    ) {
        let is_main = journal.name() == "main";
        // The writer and its table maintenance have an arbiter of their own: batches are encoded there.
        let arbiter = Arbiter::new().handle();
        let restart_budget =
            self.health_state.restart_budget(if is_main { "main_maintenance" } else { "analytics_maintenance" });
        let (maintained, seen, clock) = (Arc::clone(&sink), Arc::clone(state), Arc::clone(&self.clock));
        let (retention_days, clock_watch) = (self.config.retention_days, Arc::clone(clock_watch));
        let observer: Arc<dyn ApplyObserver> =
            Arc::new(ApplierTelemetry::new(journal.name(), Arc::clone(&self.telemetry)));
        let settled = Arc::clone(&observer);
        self.watchdog.supervise(&arbiter, restart_budget.clone(), 1, move || Maintenance {
            sink: Arc::clone(&maintained),
            state: Arc::clone(&seen),
            clock: Arc::clone(&clock),
            clock_watch: Arc::clone(&clock_watch),
            retention_days,
            observer: Arc::clone(&settled),
            restart_budget: restart_budget.clone(),
        });
        let restart_budget = self.health_state.restart_budget(if is_main { "main_writer" } else { "analytics_writer" });
        let (journal, told, clock) = (journal.clone(), Arc::clone(state), Arc::clone(&self.clock));
        self.watchdog.supervise(&arbiter, restart_budget.clone(), 1, move || Writer {
            sink: Arc::clone(&sink),
            journal: journal.clone(),
            state: Arc::clone(&told),
            observer: Arc::clone(&observer),
            clock: Arc::clone(&clock),
            restart_budget: restart_budget.clone(),
        });
    }
}

fn database_state(journal: &Journal, applier: Arc<ApplierState>, clock_watch: Arc<ClockWatch>) -> DatabaseState {
    DatabaseState { appender: journal.appender(), journal: journal.status(), applier, clock_watch }
}

/// A database that can never take every record is no outage: it is refused by name. One that does not answer by the deadline
/// is asked by its writer.
async fn refuse_unfit(
    config: &Config,
    analytics: &AnalyticsSink,
    main: &MainSink,
    deadline: Instant,
) -> Result<(), AppError> {
    let analytics = async { tokio::time::timeout_at(deadline, analytics.check_encoding()).await };
    let main = async { tokio::time::timeout_at(deadline, main.check_encoding()).await };
    let both = Box::pin(async { tokio::join!(analytics, main) });
    let unknown = || "analytics starting, main starting".to_owned();
    let (analytics, main) = waiting("the databases", unknown, both).await;
    for (url, checked) in [(&config.databases.analytics, analytics), (&config.databases.main, main)] {
        if let Ok(Err(source @ StoreError::Encoding(_))) = checked {
            return Err(AppError::Database { database: url.describe(), source });
        }
    }
    Ok(())
}

async fn wait_for_databases(writers: [&Arc<ApplierState>; 2], deadline: Instant) {
    let phases = || format!("analytics {}, main {}", writers[0].phase().label(), writers[1].phase().label());
    waiting("the databases", phases, async {
        while Instant::now() < deadline && writers.iter().any(|writer| writer.phase() == ApplierPhase::Starting) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    if !writers.iter().all(|writer| writer.phase() == ApplierPhase::Up) {
        tracing::warn!("starting without a database: records are kept in the journal until it is there");
    }
}

/// Whether the database has said anything. One that has not is not waited for a second time.
fn has_answered(writer: &ApplierState) -> bool {
    !matches!(writer.phase(), ApplierPhase::Starting | ApplierPhase::Away)
}
