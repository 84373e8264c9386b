//! The only place that wires stages together: start bottom-up, stop top-down.
//!
//! `parts` makes the stages, `sinks` opens the databases, `stop` ends it all. Here: the order of a run.

mod parts;
mod sinks;
mod stop;
mod warm;

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use tokio::time::Instant;

use crate::actor::{Vitals, Watchdog};
use crate::auth::{IdTokensError, JwtError};
use crate::config::{Config, Secrets, SecretsError};
use crate::domain::Clock;
use crate::enrich::geo::GeoError;
use crate::enrich::user_agent::UserAgentError;
use crate::http::{self, AppState};
use crate::journal::{FeedError, OpenError};
use crate::mail::MailError;
use crate::store::StoreError;
use crate::telemetry::Telemetry;
use parts::Parts;
use stop::{Signals, stop};

pub use sinks::{AnalyticsSink, MainSink, MainTables, open_analytics, open_main};

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
    #[error(transparent)]
    IdTokens(#[from] IdTokensError),
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error("read back {0}")]
    ReadBack(#[from] FeedError),
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
    make_data_dir(&config.data_dir)?;
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
    let deadline = Instant::now() + Duration::from_secs(u64::from(config.shutdown_timeout_seconds));
    tokio::select! {
        () = stop(&state, servers, deadline) => {}
        name = signals.next() => tracing::warn!(signal = name, "stopping at once, the next start applies what is left"),
    }
    match failed {
        Some(part) => Err(AppError::BeyondHelp(part)),
        None => Ok(()),
    }
}

/// Made for its owner only: consent records in journals and databases may hold addresses. One that exists stays as it is.
fn make_data_dir(path: &Path) -> Result<(), AppError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| AppError::System { action: "make data_dir", source })
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
    .shutdown_timeout(u64::from(config.shutdown_timeout_seconds))
    .disable_signals();
    let address = config.network.listen;
    let main = main.bind(address).map_err(|source| AppError::Listen { address, source })?;
    let bound = main.addrs().first().copied().unwrap_or(address);
    let mut servers = Vec::new();
    let mut metrics_address = None;
    if let Some(address) = config.network.metrics_listen {
        let app_state = state.clone();
        let metrics = HttpServer::new(move || {
            App::new()
                .app_data(app_state.clone())
                .wrap(from_fn(http::edge))
                .configure(http::metrics_routes)
                .configure(http::unknown_routes)
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

fn spawn_fold(telemetry: Arc<Telemetry>) {
    actix::spawn(async move {
        let mut ticks = tokio::time::interval(FOLD_EVERY);
        loop {
            ticks.tick().await;
            telemetry.fold();
        }
    });
}
