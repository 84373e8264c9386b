//! PostgreSQL 14 and later.
//!
//! The writer's statements are bounded by the server too: a lock or a plan gone wrong ends in an error that is tried
//! again, never in a connection that hangs.

mod analytics;
mod batch_keys;
mod changes;
mod composite;
mod connect;
mod copy;
mod encoding;
mod fields;
mod flush_after;
mod hosts;
mod inserts;
mod key_inserts;
mod main;
mod pace;
mod partitions;
mod pending;
pub(super) mod renewal;
mod settle;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::StoreError;
use weir_domain::{Clock, UnixMillis};

pub use analytics::{PostgresAnalytics, PreparedRows};
use connect::{is_read_only, options, patient};
use hosts::Hosts;
pub use hosts::each_host;
pub use main::PostgresMain;
use writer::WriterConnections;

/// How long a connection may take to show that it is alive when it is given back.
const RELEASE: Duration = Duration::from_secs(2);

/// A pool that connects when it is first used, for maintenance, settings, and the writer's look at where it stands.
fn pool(hosts: &Hosts) -> PgPool {
    hosts.pool(pool_options().max_connections(2).acquire_timeout(Duration::from_secs(5)), patient)
}

/// The writer's own connections; made when they are first used.
fn writer_connections(hosts: &Arc<Hosts>) -> WriterConnections {
    WriterConnections::new(Arc::clone(hosts), |server| patient(server).options(flush_after::OPTIONS))
}

/// A pool for what requests read and write themselves: somebody waits for each of these statements.
fn request_pool(hosts: &Hosts) -> PgPool {
    let settings = |server| options(server, [("statement_timeout", "2s"), ("lock_timeout", "1s")]);
    hosts.pool(pool_options().max_connections(8).acquire_timeout(Duration::from_secs(1)), settings)
}

/// A connection that does not answer when it is given back is closed at once: without that it would keep its place
/// until the operating system gives up on it, a quarter of an hour later. So is one whose server has become a standby, and one
/// that knows an old schema, before it is used again.
fn pool_options() -> PgPoolOptions {
    let options = PgPoolOptions::new().max_lifetime(Duration::from_hours(1));
    let options = options.before_acquire(|_, known| Box::pin(async move { Ok(!renewal::is_due(known.age)) }));
    options.after_release(|connection, _| {
        Box::pin(async move {
            let answered = tokio::time::timeout(RELEASE, is_read_only(connection)).await;
            answered.map_err(|_| sqlx::Error::PoolTimedOut)?.map(|is_read_only| !is_read_only)
        })
    })
}

/// The database's own clock.
async fn database_now(pool: &PgPool) -> Result<UnixMillis, StoreError> {
    let (now,): (DateTime<Utc>,) = sqlx::query_as("SELECT clock_timestamp()").fetch_one(pool).await?;
    Ok(unix_millis(now))
}

/// By how much a clock is ahead of the database's, which answered between two looks at it.
async fn clock_skew_ms(pool: &PgPool, clock: &Clock) -> Result<i64, StoreError> {
    // A connection that had to be made first would count as skew.
    let mut connection = pool.acquire().await?;
    let before = clock.now();
    let (theirs,): (DateTime<Utc>,) = sqlx::query_as("SELECT clock_timestamp()").fetch_one(&mut *connection).await?;
    Ok(i64::midpoint(before.0, clock.now().0) - unix_millis(theirs).0)
}

/// One value of every record, in their order: what UNNEST turns back into a column.
fn column<'a, R, T>(records: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    records.iter().map(value).collect()
}

fn unix_millis(time: DateTime<Utc>) -> UnixMillis {
    UnixMillis(time.timestamp_millis())
}
