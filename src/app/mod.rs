//! The only place that wires stages together: start bottom-up, stop top-down.
//!
//! `fd_limit` divides the open files, `build` makes the stages, `sinks` opens the databases, `listen` lets clients in,
//! `stop` ends it all, `waiting` tells what takes long in between. Here: the order of a run.

mod build;
mod collect;
mod error;
pub mod fd_limit;
mod listen;
mod observers;
mod paths;
mod sinks;
mod stop;
mod waiting;
mod warm_up;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::actor::{Health, Watchdog};
use crate::config::Config;
use crate::telemetry::Telemetry;
use build::Builder;
use listen::{Addresses, listen};
use stop::{Signals, stop};
use weir_domain::Clock;

pub use error::AppError;
pub use listen::Started;
pub use paths::journal_directory;
pub use sinks::{open_analytics, open_main};

/// Runs until a signal ends it. `announce` is called once, when requests are served.
///
/// It blocks, and is not generic, so that the service is compiled with this crate: a future is compiled where it is polled,
/// and the program would hold all of it a second time.
///
/// # Errors
/// When it cannot start, or a part failed for good.
pub fn serve(config: Config, announce: fn(&Config, &Started)) -> Result<(), AppError> {
    actix_web::rt::System::new().block_on(run(config, announce))
}

async fn run(config: Config, announce: fn(&Config, &Started)) -> Result<(), AppError> {
    let mut signals = Signals::install()?;
    let fd_limit = fd_limit::divide(config.network.max_connections)?;
    let addresses = Addresses::bind(&config)?;
    make_data_dir(&config.data_dir)?;
    let secrets = config.secrets.resolve(&config.data_dir)?;
    let telemetry = Telemetry::new();
    let clock = Arc::new(Clock::system());
    #[cfg(feature = "fail-points")]
    {
        let stepped = Arc::clone(&clock);
        weir_fail_points::follow_file(move |by_ms| stepped.step_wall_clock(by_ms));
    }
    let health_state = Health::new(Arc::clone(&telemetry));
    let builder = Builder { config: &config, telemetry, clock, health_state, watchdog: Watchdog::default(), fd_limit };
    let (state, journals) = tokio::select! {
        assembled = builder.build(&secrets) => assembled?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopping before requests were served");
            return Ok(());
        }
    };
    builder.watchdog.watch();

    let (servers, started) = listen(&config, addresses, &state, secrets)?;
    state.started.store(true, Ordering::Release);
    tracing::info!(
        address = %started.address,
        data_dir = %config.data_dir.display(),
        max_connections = fd_limit.connections,
        open_files = fd_limit.limit,
        "serving requests"
    );
    announce(&config, &started);

    let failed = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            None
        }
        part = state.health_state.wait_failed() => Some(part),
    };
    let time = Duration::from_secs(u64::from(config.shutdown_timeout_seconds));
    tokio::select! {
        () = stop(&state, journals, servers, time) => {}
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
    made.map_err(|source| AppError::DataDir { path: path.to_owned(), source })
}
