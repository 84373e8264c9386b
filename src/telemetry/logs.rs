//! Logs: one line an event, values as fields.
//!
//! Invariant: libraries never speak below `warn`, whatever level is asked for. Their debug and trace lines show request
//! heads and peer addresses, and no log line of Weir may hold an address; their info lines tell an operator nothing. What
//! actix-http makes of malformed requests is not logged at all: it would be an error a request, with which any client could
//! fill a disk.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::config::LogFormat;

/// Sends Weir's logs to the standard error in the given format. The first call of a process counts.
pub fn install(level: tracing::level_filters::LevelFilter, format: LogFormat) {
    let others = level.min(tracing::level_filters::LevelFilter::WARN);
    let filter = EnvFilter::new(format!("{others},actix_http::h1::dispatcher=off,weir={level}"));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    // A second call (two applications in one process) keeps the first one's choice.
    let _ = match format {
        LogFormat::Text => {
            registry.with(layer.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).try_init()
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
}
