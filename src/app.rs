//! The only place that wires stages together: start bottom-up, stop top-down.
//!
//! Start: secrets, GeoIP, journals (a torn tail is cut), databases, actors, then the listeners. Stop: not ready, no new
//! connections, answer what is in flight, sync the journals, let the writers drain until the deadline. What is left is
//! applied by the next start.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use secrecy::ExposeSecret;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};

use crate::actor::{Vitals, Watchdog};
use crate::auth::{AccessTokens, JwtError};
use crate::config::{Config, DatabaseUrl, Secrets, SecretsError};
use crate::domain::{Clock, IdSource};
use crate::enrich::Enricher;
use crate::enrich::geo::{Geo, GeoError, GeoWatch};
use crate::enrich::pool::UserAgents;
use crate::enrich::token::TrackingTokens;
use crate::enrich::user_agent::{UserAgentError, UserAgentParser};
use crate::http::{self, AppState, DatabaseState};
use crate::journal::{Journal, Keeper, OpenError, SegmentStorage};
use crate::limit::{self, Limiter, Sweeper};
use crate::settings::{Settings, SettingsRefresher};
use crate::store::postgres::{PostgresAnalytics, PostgresMain};
use crate::store::sqlite::{SqliteAnalytics, SqliteMain};
use crate::store::{SettingsTable, Sink, StoreError};
use crate::telemetry::Telemetry;
use crate::write::{Maintenance, Writer, WriterPhase, WriterState};

/// How long a start waits for a first word from the databases before it listens without them.
const DATABASE_GRACE: Duration = Duration::from_secs(3);
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How often histograms are folded; they keep every sample until then.
const FOLD_EVERY: Duration = Duration::from_secs(1);

/// Why Weir does not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error(transparent)]
    Jwt(#[from] JwtError),
    #[error(transparent)]
    Geo(#[from] GeoError),
    #[error("user-agent rules: {0}")]
    UserAgent(#[from] UserAgentError),
    #[error(transparent)]
    Journal(#[from] OpenError),
    #[error("{database}: {source}")]
    Database { database: String, source: StoreError },
    #[error("listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{action}: {source}")]
    System { action: &'static str, source: std::io::Error },
    #[error("{0} failed too often; see the log")]
    BeyondHelp(&'static str),
}

/// What a start tells the people who started it.
pub struct Started {
    pub address: SocketAddr,
    pub metrics_address: Option<SocketAddr>,
    pub secrets: Secrets,
}

/// The sinks of both databases, and the settings table of the main one.
pub enum AnalyticsSink {
    Sqlite(Arc<SqliteAnalytics>),
    Postgres(Arc<PostgresAnalytics>),
}

/// See [`AnalyticsSink`].
pub enum MainSink {
    Sqlite(Arc<SqliteMain>),
    Postgres(Arc<PostgresMain>),
}

/// Opens the analytics database; nothing connects yet.
pub fn open_analytics(url: &DatabaseUrl) -> Result<AnalyticsSink, AppError> {
    let opened = match url {
        DatabaseUrl::Sqlite(file) => SqliteAnalytics::open(file).map(|sink| AnalyticsSink::Sqlite(Arc::new(sink))),
        DatabaseUrl::Postgres(url) => {
            PostgresAnalytics::open(url.expose_secret()).map(|sink| AnalyticsSink::Postgres(Arc::new(sink)))
        }
    };
    opened.map_err(|source| AppError::Database { database: url.describe(), source })
}

/// Opens the main database; nothing connects yet.
pub fn open_main(url: &DatabaseUrl) -> Result<MainSink, AppError> {
    let opened = match url {
        DatabaseUrl::Sqlite(file) => SqliteMain::open(file).map(|sink| MainSink::Sqlite(Arc::new(sink))),
        DatabaseUrl::Postgres(url) => {
            PostgresMain::open(url.expose_secret()).map(|sink| MainSink::Postgres(Arc::new(sink)))
        }
    };
    opened.map_err(|source| AppError::Database { database: url.describe(), source })
}

impl MainSink {
    /// The settings table.
    #[must_use]
    pub fn settings_table(&self) -> Arc<dyn SettingsTable> {
        match self {
            Self::Sqlite(sink) => Arc::clone(sink) as Arc<dyn SettingsTable>,
            Self::Postgres(sink) => Arc::clone(sink) as Arc<dyn SettingsTable>,
        }
    }
}

/// The directory of a database's journal.
#[must_use]
pub fn journal_directory(config: &Config, database: &str) -> PathBuf {
    config.data_dir.join("journal").join(database)
}

/// Runs until a signal ends it. `announce` is called once, when requests are taken.
///
/// # Errors
/// When it cannot start, or a part failed beyond help.
pub async fn serve(config: Config, announce: impl FnOnce(&Config, &Started)) -> Result<(), AppError> {
    let mut signals = Signals::install()?;
    let secrets = config.secrets.resolve(&config.data_dir)?;
    let telemetry = Telemetry::new();
    let clock = Arc::new(Clock::system());
    let vitals = Vitals::new(Arc::clone(&telemetry));
    let parts = Parts { config: &config, telemetry, clock, vitals, watchdog: Watchdog::default() };
    let state = parts.assemble(&secrets).await?;
    parts.watchdog.watch();
    spawn_fold(Arc::clone(&parts.telemetry));

    let (servers, started) = listen(&config, &state, secrets)?;
    state.started.store(true, Ordering::Release);
    tracing::info!(address = %started.address, data_dir = %config.data_dir.display(), "taking requests");
    announce(&config, &started);

    let failed = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            None
        }
        part = state.vitals.wait_failed() => Some(part),
    };
    let deadline = Instant::now() + Duration::from_secs(config.shutdown_timeout_seconds);
    tokio::select! {
        () = stop(&state, servers, deadline) => {}
        name = signals.next() => tracing::warn!(signal = name, "stopping at once, the next start applies what is left"),
    }
    match failed {
        Some(part) => Err(AppError::BeyondHelp(part)),
        None => Ok(()),
    }
}

/// What every stage is made of.
struct Parts<'a> {
    config: &'a Config,
    telemetry: Arc<Telemetry>,
    clock: Arc<Clock>,
    vitals: Arc<Vitals>,
    watchdog: Watchdog,
}

impl Parts<'_> {
    async fn assemble(&self, secrets: &Secrets) -> Result<Data<AppState>, AppError> {
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
        let settings = Settings::default();
        let table = main_sink.settings_table();
        let main_writer = match main_sink {
            MainSink::Sqlite(sink) => self.start_embedded(sink, &main).await?,
            MainSink::Postgres(sink) => self.start_writer(sink, &main),
        };
        wait_for_databases(&[&analytics_writer, &main_writer]).await;
        // A database that is away has no settings to tell: the defaults hold until it is back.
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
        let geo = Geo::open(&path)?;
        let lifeline = self.vitals.lifeline("geoip");
        let (watched, telemetry) = (geo.clone(), Arc::clone(&self.telemetry));
        // An arbiter of its own: reading and checking a large database blocks for a second.
        self.watchdog.supervise(&Arbiter::new().handle(), lifeline.clone(), 1, move || {
            GeoWatch::new(watched.clone(), path.clone(), Arc::clone(&telemetry), lifeline.clone())
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

fn listen(config: &Config, state: &Data<AppState>, secrets: Secrets) -> Result<(Vec<ServerHandle>, Started), AppError> {
    let own_metrics = config.network.metrics_listen.is_some();
    let app_state = state.clone();
    let main = HttpServer::new(move || {
        let app = App::new().app_data(app_state.clone()).wrap(from_fn(http::edge));
        if own_metrics {
            app.configure(http::routes)
        } else {
            app.configure(http::metrics_routes).configure(http::routes)
        }
    })
    .client_request_timeout(HEAD_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    .backlog(4096)
    .shutdown_timeout(config.shutdown_timeout_seconds)
    .disable_signals();
    let address = config.network.listen;
    let main = main.bind(address).map_err(|source| AppError::Listen { address, source })?;
    let bound = main.addrs().first().copied().unwrap_or(address);
    let mut servers = Vec::new();
    let mut metrics_address = None;
    if let Some(address) = config.network.metrics_listen {
        let app_state = state.clone();
        let metrics = HttpServer::new(move || {
            App::new().app_data(app_state.clone()).wrap(from_fn(http::edge)).configure(http::metrics_routes)
        })
        .workers(1)
        .disable_signals()
        .bind(address)
        .map_err(|source| AppError::Listen { address, source })?;
        metrics_address = metrics.addrs().first().copied();
        servers.push(spawn_server(metrics.run()));
    }
    servers.insert(0, spawn_server(main.run()));
    Ok((servers, Started { address: bound, metrics_address, secrets }))
}

fn spawn_server(server: actix_web::dev::Server) -> ServerHandle {
    let handle = server.handle();
    actix::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "http server ended");
        }
    });
    handle
}

async fn stop(state: &Data<AppState>, servers: Vec<ServerHandle>, deadline: Instant) {
    state.draining.store(true, Ordering::Release);
    within(deadline, "requests in flight", async {
        for server in &servers {
            server.stop(true).await;
        }
    })
    .await;
    let journals = [state.analytics.journal.clone(), state.main.journal.clone()];
    for journal in &journals {
        let closing = journal.clone();
        within(deadline, "the journals", async {
            let _ = actix_web::rt::task::spawn_blocking(move || closing.close()).await;
        })
        .await;
    }
    within(deadline, "the writers", async {
        for journal in &journals {
            journal.wait_applied(journal.durable()).await;
        }
    })
    .await;
    for journal in &journals {
        let lag = journal.status().lag_records;
        tracing::info!(journal = journal.name(), left_for_the_next_start = lag, "stopped");
    }
}

async fn within(deadline: Instant, what: &'static str, work: impl Future<Output = ()>) {
    if timeout_at(deadline, work).await.is_err() {
        tracing::warn!(waiting_for = what, "the deadline of the stop passed");
    }
}

fn spawn_fold(telemetry: Arc<Telemetry>) {
    actix::spawn(async move {
        let mut ticks = tokio::time::interval(FOLD_EVERY);
        loop {
            ticks.tick().await;
            telemetry.fold();
        }
    });
}

/// The signals that end the process.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn install() -> Result<Self, AppError> {
        let install = |kind| signal(kind).map_err(|source| AppError::System { action: "listen for signals", source });
        Ok(Self { interrupt: install(SignalKind::interrupt())?, terminate: install(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupt",
            _ = self.terminate.recv() => "terminate",
        }
    }
}
