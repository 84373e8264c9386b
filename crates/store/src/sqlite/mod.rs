//! SQLite: WAL, one writer on one connection; requests read the main database on connections of their own.
//!
//! `synchronous = FULL`: a segment of the journal is deleted once its records are applied, so applied must mean durable.
//! Checkpoints are rare (every 20,000 pages): each one stalls the commit that runs into it.

mod analytics;
mod main;
mod pending;
mod place;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Sqlite, SqlitePool, Transaction};

use uuid::Uuid;

use super::StoreError;
use weir_domain::UnixMillis;

pub use analytics::SqliteAnalytics;
pub use main::SqliteMain;
use place::Place;

/// How many bound values one statement may have (`SQLITE_MAX_VARIABLE_NUMBER` since 3.32).
const MAX_BINDS: usize = 32_766;

/// A database's file, and the connections to it; the first statement makes them.
struct SqliteFile {
    place: Arc<Place>,
    /// The writer's one.
    pool: SqlitePool,
    /// For what requests read and write themselves: readers never wait for the writer, and a sign-in waits for the end of
    /// its transaction at most.
    requests: SqlitePool,
}

impl SqliteFile {
    /// The file of a `sqlite://` URL, which the writer makes when it is not there, with its directory.
    fn of(url: &str) -> Result<Self, StoreError> {
        let writer = options(url, Duration::from_secs(10))?;
        if let Some(parent) = writer.get_filename().parent().filter(|parent| !parent.as_os_str().is_empty()) {
            make_directory(parent)?;
        }
        let place = Arc::new(Place::of(writer.get_filename()));
        let pool =
            pool_options(&place, Place::note_for_writer).max_connections(1).acquire_timeout(Duration::from_secs(10));
        let requests = pool_options(&place, Place::note).max_connections(4).acquire_timeout(Duration::from_secs(2));
        Ok(Self {
            place,
            pool: pool.connect_lazy_with(writer),
            requests: requests.connect_lazy_with(options(url, Duration::from_secs(2))?.create_if_missing(false)),
        })
    }

    /// A connection that the schema is brought up on. Where the file was exchanged, all connections to the old one are closed
    /// before the new one is opened: its last one brings what it committed into its file.
    async fn attach(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        if let Err(error) = self.place.check() {
            if !self.place.is_taken() {
                return Err(error);
            }
            for pool in [&self.pool, &self.requests] {
                while let Some(connection) = pool.try_acquire() {
                    // It cannot be helped, and the next one says what is wrong.
                    let _ = connection.close().await;
                }
            }
            if self.pool.size() + self.requests.size() > 0 {
                return Err(error);
            }
            self.place.forget();
            tracing::warn!(%error, "database file is opened anew");
        }
        let connection = self.pool.acquire().await?;
        if self.place.is_known() {
            // What is deleted from now on is not made again, empty.
            let options = SqliteConnectOptions::clone(&self.pool.connect_options());
            self.pool.set_connect_options(options.create_if_missing(false));
        }
        Ok(connection)
    }

    /// Begins the writer's transaction.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.place.check()?;
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Ends it. What was committed counts only where it can be found again.
    async fn commit(&self, transaction: Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        transaction.commit().await?;
        self.place.note_log();
        self.place.check()
    }
}

/// A connection that comes back as if it were in a transaction is closed, and another one takes its place.
///
/// SQLite ends a transaction by itself on a full disk, on an I/O error, for want of memory, and where an operator's trigger
/// says `RAISE(ROLLBACK)`. The ROLLBACK that follows fails then, and the driver counts the transaction as open for ever:
/// no other one begins on this connection.
///
/// One to a file that is not in its place is not used. A new one's place is noted.
fn pool_options(place: &Arc<Place>, note: fn(&Place) -> Result<(), StoreError>) -> SqlitePoolOptions {
    let (opened, used) = (Arc::clone(place), Arc::clone(place));
    SqlitePoolOptions::new()
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |_, _| {
            let noted = note(&opened).map_err(|error| sqlx::Error::Configuration(error.into()));
            Box::pin(async move { noted })
        })
        .before_acquire(move |_, _| {
            let is_in_place = used.check().is_ok();
            Box::pin(async move { Ok(is_in_place) })
        })
        .after_release(|connection, _| {
            Box::pin(async move {
                // A ROLLBACK may still be in the connection's queue; the answer comes after it.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
}

fn options(url: &str, busy_timeout: Duration) -> Result<SqliteConnectOptions, StoreError> {
    Ok(SqliteConnectOptions::from_str(url)
        .map_err(|error| StoreError::Url(error.to_string()))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(busy_timeout)
        .pragma("wal_autocheckpoint", "20000"))
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(path).map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
}

/// `INSERT INTO table (columns) VALUES ($1, …), (…)` for so many rows.
fn insert_sql(table: &str, columns: &[&str], rows: usize) -> String {
    let mut sql = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    sql.push_str(&vec![row; rows].join(", "));
    sql
}

/// An id as a column has it.
fn read_id(text: &str) -> Result<Uuid, StoreError> {
    Uuid::parse_str(text).map_err(|_| StoreError::Schema("an id column holds something else".to_owned()))
}

/// A time as a column has it.
pub(super) fn read_time(text: &str) -> Result<UnixMillis, StoreError> {
    let time = DateTime::parse_from_rfc3339(text);
    let time = time.map_err(|_| StoreError::Schema("a time column holds something else".to_owned()))?;
    Ok(UnixMillis(time.timestamp_millis()))
}
