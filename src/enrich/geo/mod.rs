//! Where an address is: a MaxMind-format database, held in memory, exchanged when its file changes.
//!
//! Which values of its rows count is in `row`.
//!
//! Invariants: a file that is no such database never replaces one that is, and never keeps Weir from starting; a failing
//! look-up means no place, never an error for the visitor, and never a log line with the address.
//! Cost: about 1 µs a look-up with five fields; the file's size in memory, twice while it is exchanged.

mod row;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix::{Actor, AsyncContext, Context, Supervised};
use arc_swap::ArcSwapOption;
use maxminddb::Reader;

use crate::actor::RestartBudget;
use crate::file_version::FileVersion;
use crate::telemetry::{Telemetry, name};
use row::{Layout, Rows, without_district};
use weir_domain::ClientIp;

pub use row::Place;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(2);
/// How often a file that was refused is tried again though it did not change: its directory may have.
const RETRY_REFUSED: Duration = Duration::from_mins(1);

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
    Row(Place),
    /// It has none, or there is no database: the proxy's headers may speak.
    Nothing,
    /// The look-up failed: the place stays unknown.
    Failed,
}

/// A file that was read and checked.
struct Database {
    rows: Rows,
    layout: Layout,
    /// Whether its cities come with their districts, as DB-IP's do.
    has_districts: bool,
}

impl Database {
    fn read(path: &Path) -> Result<Self, GeoError> {
        let bytes = std::fs::read(path).map_err(|source| GeoError::Read { path: path.to_owned(), source })?;
        let not_a_database = |reason: String| GeoError::NotADatabase { path: path.to_owned(), reason };
        let rows = Reader::from_source(bytes).map_err(|error| not_a_database(error.to_string()))?;
        let layout = Layout::of(&rows).map_err(not_a_database)?;
        // A file that was cut off in copying opens, and fails at the first look-up into what is missing.
        rows.verify().map_err(|error| not_a_database(error.to_string()))?;
        let has_districts = rows.metadata().database_type.contains("DBIP");
        Ok(Self { rows, layout, has_districts })
    }

    fn look_up(&self, client: ClientIp) -> Found {
        let Ok(row) = self.rows.lookup(client.address()) else { return Found::Failed };
        match self.layout.read(&row) {
            Ok(Some(place)) if place != Place::default() => Found::Row(place),
            Ok(_) => Found::Nothing,
            Err(_) => Found::Failed,
        }
    }

    fn built_at(&self) -> Option<SystemTime> {
        self.rows.metadata().build_time().ok()
    }
}

/// The database in use, if any. Clones share it.
#[derive(Clone, Default)]
pub struct Geo {
    database: Arc<ArcSwapOption<Database>>,
    keeps_districts: bool,
}

impl Geo {
    /// No database yet. `keeps_districts`: whether `Seoul (Toegye-ro)` stays what it is.
    #[must_use]
    pub fn new(keeps_districts: bool) -> Self {
        Self { database: Arc::default(), keeps_districts }
    }

    /// Exchanges the database for what is in the file now.
    ///
    /// # Errors
    /// When the file cannot be read or is none; the one in use stays.
    pub fn load(&self, path: &Path) -> Result<(), GeoError> {
        let database = Database::read(path)?;
        let metadata = database.rows.metadata();
        let age = database.built_at().and_then(|built_at| built_at.elapsed().ok());
        tracing::info!(
            path = %path.display(),
            kind = metadata.database_type,
            age_days = age.map(|age| age.as_secs() / 86_400),
            "geoip database loaded"
        );
        self.database.store(Some(Arc::new(database)));
        Ok(())
    }

    /// Whether there is a database.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.database.load().is_some()
    }

    /// When the database in use was built, in seconds since 1970.
    #[must_use]
    pub fn built_at_seconds(&self) -> Option<u64> {
        let built_at = self.database.load().as_deref()?.built_at()?;
        built_at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
    }

    /// Where the address is.
    #[must_use]
    pub fn look_up(&self, client: ClientIp) -> Found {
        let database = self.database.load();
        let Some(database) = database.as_deref() else { return Found::Nothing };
        let mut found = database.look_up(client);
        if let Found::Row(place) = &mut found
            && database.has_districts
            && !self.keeps_districts
            && let Some(city) = &mut place.location.city
        {
            city.truncate(without_district(city).len());
        }
        found
    }
}

/// Looks whether a file is a database that Weir can use.
///
/// # Errors
/// When it cannot be read or is none.
pub fn check(path: &Path) -> Result<(), GeoError> {
    Database::read(path).map(|_| ())
}

/// The supervised actor that loads the database, and exchanges it when its file changes.
pub struct GeoWatch {
    geo: Geo,
    path: PathBuf,
    /// The file that was read last, and when it is read again without a change.
    seen: Option<FileVersion>,
    retry_at: Option<Instant>,
    telemetry: Arc<Telemetry>,
    restart_budget: RestartBudget,
}

impl GeoWatch {
    /// A watch over a file of which this version was loaded, if any.
    #[must_use]
    pub fn new(
        geo: Geo,
        path: PathBuf,
        seen: Option<FileVersion>,
        telemetry: Arc<Telemetry>,
        restart_budget: RestartBudget,
    ) -> Self {
        Self { geo, path, seen, retry_at: None, telemetry, restart_budget }
    }

    fn look(&mut self) {
        let now = FileVersion::of(&self.path);
        let is_retry = now == self.seen;
        // A file that is away for a moment is being replaced: what is in memory stays.
        if now.is_none() || is_retry && self.retry_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.seen = now;
        self.retry_at = None;
        let result = match self.geo.load(&self.path) {
            Ok(()) => "loaded",
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY_REFUSED);
                if is_retry {
                    return;
                }
                if self.geo.is_loaded() {
                    tracing::error!(%error, "changed geoip database refused, the one in memory stays in use");
                } else {
                    tracing::error!(%error, "geoip database refused, places come from a proxy's headers or stay unknown");
                }
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
