//! SQLite: WAL, one connection, one writer.
//!
//! `synchronous = FULL`: a segment of the journal is deleted once its records are applied, so applied must mean durable.
//! Checkpoints are rare (every 20,000 pages): each one stalls the commit that runs into it.

mod analytics;
mod main;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::StoreError;

pub use analytics::SqliteAnalytics;
pub use main::SqliteMain;

/// How many bound values one statement may have (`SQLITE_MAX_VARIABLE_NUMBER` since 3.32).
const MAX_BINDS: usize = 32_766;

/// Opens the file of a `sqlite://` URL lazily, and makes it and its directory when they are not there.
fn pool(url: &str) -> Result<SqlitePool, StoreError> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| StoreError::Unavailable(format!("sqlite url: {error}")))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .pragma("wal_autocheckpoint", "20000");
    if let Some(parent) = options.get_filename().parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    Ok(SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(10))
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options))
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
