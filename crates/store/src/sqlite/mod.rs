//! SQLite: WAL, one writer on one connection; requests read the main database on connections of their own.
//!
//! `synchronous = FULL`: a segment of the journal is deleted once its records are applied, so applied must mean durable.
//! Checkpoints are rare (every 20,000 pages): each one stalls the commit that runs into it.

mod analytics;
mod main;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use chrono::DateTime;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlitePool};

use uuid::Uuid;

use super::StoreError;
use weir_domain::UnixMillis;

pub use analytics::SqliteAnalytics;
pub use main::SqliteMain;

/// How many bound values one statement may have (`SQLITE_MAX_VARIABLE_NUMBER` since 3.32).
const MAX_BINDS: usize = 32_766;

/// Opens the file of a `sqlite://` URL lazily, and makes it and its directory when they are not there.
fn pool(url: &str) -> Result<SqlitePool, StoreError> {
    let options = options(url, Duration::from_secs(10))?;
    if let Some(parent) = options.get_filename().parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    Ok(pool_options().max_connections(1).acquire_timeout(Duration::from_secs(10)).connect_lazy_with(options))
}

/// Connections for what requests read and write themselves: readers never wait for the writer, and a sign-in waits for
/// the end of its transaction at most.
fn request_pool(url: &str) -> Result<SqlitePool, StoreError> {
    Ok(pool_options()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(2))
        .connect_lazy_with(options(url, Duration::from_secs(2))?))
}

/// A connection that comes back as if it were in a transaction is closed, and another one takes its place.
///
/// SQLite ends a transaction by itself on a full disk, on an I/O error, for want of memory, and where an operator's trigger
/// says `RAISE(ROLLBACK)`. The ROLLBACK that follows fails then, and the driver counts the transaction as open for ever:
/// no other one begins on this connection.
fn pool_options() -> SqlitePoolOptions {
    SqlitePoolOptions::new().idle_timeout(None).max_lifetime(None).after_release(|connection, _| {
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
