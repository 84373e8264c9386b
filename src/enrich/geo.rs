//! Where an address is: a MaxMind-format database, held in memory, exchanged when its file changes.
//!
//! Invariants: a file that is no such database never replaces one that is; a failing look-up means no place, never an
//! error for the visitor, and never a log line with the address.
//! Cost: about 1 µs a look-up with five fields; the file's size in memory, twice while it is exchanged.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Supervised};
use arc_swap::ArcSwapOption;
use maxminddb::{Reader, geoip2};

use crate::actor::RestartBudget;
use crate::file_version::FileVersion;
use crate::telemetry::{Telemetry, name};
use weir_domain::{ClientIp, GeoLocation};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    #[error("geoip_database {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("geoip_database {path} is not a usable MaxMind database: {reason}")]
    NotADatabase { path: PathBuf, reason: String },
}

/// What a look-up found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The database has a row.
    Row(GeoLocation),
    /// It has none, or there is no database: the proxy's headers may speak.
    Nothing,
    /// The look-up failed: the place stays unknown.
    Failed,
}

/// The database in use, if any. Clones share it.
#[derive(Clone, Default)]
pub struct Geo {
    reader: Arc<ArcSwapOption<Reader<Vec<u8>>>>,
}

impl Geo {
    /// No database.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a database.
    ///
    /// # Errors
    /// When the file cannot be read or is none.
    pub fn open(path: &Path) -> Result<Self, GeoError> {
        let geo = Self::default();
        geo.load(path)?;
        Ok(geo)
    }

    /// Exchanges the database for what is in the file now.
    ///
    /// # Errors
    /// When the file cannot be read or is none; the one in use stays.
    pub fn load(&self, path: &Path) -> Result<(), GeoError> {
        let bytes = std::fs::read(path).map_err(|source| GeoError::Read { path: path.to_owned(), source })?;
        let not_a_database = |reason: String| GeoError::NotADatabase { path: path.to_owned(), reason };
        let reader = Reader::from_source(bytes).map_err(|error| not_a_database(error.to_string()))?;
        if !reader.metadata().database_type.contains("City") && !reader.metadata().database_type.contains("Country") {
            let kind = reader.metadata().database_type.clone();
            return Err(not_a_database(format!("its type is {kind}, not one with cities or countries")));
        }
        // A file that was cut off in copying opens, and fails at the first look-up into what is missing.
        reader.verify().map_err(|error| not_a_database(error.to_string()))?;
        self.reader.store(Some(Arc::new(reader)));
        Ok(())
    }

    /// Whether there is a database.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.reader.load().is_some()
    }

    /// Where the address is.
    #[must_use]
    pub fn look_up(&self, client: ClientIp) -> Found {
        match self.reader.load().as_deref() {
            Some(reader) => look_up(reader, client.address()),
            None => Found::Nothing,
        }
    }
}

fn look_up(reader: &Reader<Vec<u8>>, address: IpAddr) -> Found {
    let Ok(found) = reader.lookup(address) else { return Found::Failed };
    match found.decode::<geoip2::City<'_>>() {
        Ok(Some(row)) => {
            let place = GeoLocation {
                country: text(row.country.iso_code),
                city: text(row.city.names.english),
                region: text(row.subdivisions.first().and_then(|subdivision| subdivision.names.english)),
                continent: text(row.continent.code),
                timezone: text(row.location.time_zone),
            };
            if place == GeoLocation::default() { Found::Nothing } else { Found::Row(place) }
        }
        Ok(None) => Found::Nothing,
        Err(_) => Found::Failed,
    }
}

/// A database file is foreign data too: no column may ever see a NUL.
fn text(value: Option<&str>) -> Option<String> {
    value.filter(|value| !value.is_empty() && !value.contains('\0')).map(str::to_owned)
}

/// The supervised actor that exchanges the database when its file changes.
pub struct GeoWatch {
    geo: Geo,
    path: PathBuf,
    seen: Option<FileVersion>,
    telemetry: Arc<Telemetry>,
    restart_budget: RestartBudget,
}

impl GeoWatch {
    #[must_use]
    pub fn new(
        geo: Geo,
        path: PathBuf,
        seen: Option<FileVersion>,
        telemetry: Arc<Telemetry>,
        restart_budget: RestartBudget,
    ) -> Self {
        Self { geo, path, seen, telemetry, restart_budget }
    }

    fn look(&mut self) {
        let now = FileVersion::of(&self.path);
        // A file that is away for a moment is being replaced: what is in memory stays.
        if now.is_none() || now == self.seen {
            return;
        }
        self.seen = now;
        let result = match self.geo.load(&self.path) {
            Ok(()) => {
                tracing::info!(path = %self.path.display(), "geoip database reloaded");
                "loaded"
            }
            Err(error) => {
                tracing::error!(%error, "changed geoip database refused, the one in memory stays in use");
                "refused"
            }
        };
        self.telemetry.count(name::GEOIP_RELOADS, &[("result", result)], 1);
    }
}

impl Actor for GeoWatch {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(EVERY, |watch, context| {
            let restart_budget = watch.restart_budget.clone();
            restart_budget.guard(context, || watch.look());
        });
    }
}

impl Supervised for GeoWatch {}
