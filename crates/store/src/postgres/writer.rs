//! The writer's own connections, outside of the pools.
//!
//! A pool asks a connection whether it is alive before it is used and twice after, which costs a transaction three round
//! trips; and the last of these questions has no bound: a network that falls silent just then would keep the writer's
//! place until the operating system gives up, a quarter of an hour later.
//!
//! Invariant: only a connection whose last transaction has ended is kept; on any other nobody knows what it is about to
//! say. Whoever is cancelled drops it, and the server takes back what its transaction wrote.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use super::super::StoreError;
use super::hosts::Hosts;

/// How long a connection may take to show that it is alive, after it was idle.
const ANSWER: Duration = Duration::from_secs(2);
/// Idle for longer, it may have been forgotten by something on the way.
const IDLE: Duration = Duration::from_secs(1);
/// Connections are made anew after this long: a server that a name no longer leads to is left.
const LIFETIME: Duration = Duration::from_hours(1);
/// A connection that was not needed for so long, while others were, is closed.
const UNNEEDED: Duration = Duration::from_secs(10);

/// Where the writer keeps its connections between two transactions: one, or a few where steps are prepared before their turn.
pub(super) struct WriterConnections {
    hosts: Arc<Hosts>,
    settings: fn(PgConnectOptions) -> PgConnectOptions,
    idle: Mutex<Vec<Held>>,
}

/// A connection, and for how long it has been one.
pub(super) struct Held {
    pub connection: PgConnection,
    made: Instant,
    used: Instant,
}

impl WriterConnections {
    pub fn new(hosts: Arc<Hosts>, settings: fn(PgConnectOptions) -> PgConnectOptions) -> Self {
        Self { hosts, settings, idle: Mutex::default() }
    }

    /// A transaction that has just begun, on the connection of the last one that ended, or on a new one where that is too old,
    /// says nothing or was ended while it was idle: a server may do that after any time (`idle_session_timeout`), and it is no
    /// outage. Nothing was written yet, so nothing can have been lost.
    ///
    /// # Errors
    /// When the server cannot be reached in time.
    pub async fn begin(&self) -> Result<Held, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut held) = idle.filter(|held| held.made.elapsed() < LIFETIME) {
            let is_fresh = held.used.elapsed() < IDLE;
            let is_there = is_fresh || matches!(timeout(ANSWER, held.connection.ping()).await, Ok(Ok(())));
            if is_there && begin(&mut held.connection).await.is_ok() {
                return Ok(held);
            }
            // What was idle for as long is not there either.
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        let mut connection = self.hosts.connect(self.settings).await?;
        begin(&mut connection).await?;
        Ok(Held { connection, made: Instant::now(), used: Instant::now() })
    }

    /// Keeps the connection for the next transaction, if this one ended so that it can be used again.
    pub fn keep<T>(&self, held: Held, ended: &Result<T, StoreError>) {
        if matches!(ended, Ok(_) | Err(StoreError::Refused(_) | StoreError::Repeated)) {
            let held = Held { used: Instant::now(), ..held };
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|other| other.used.elapsed() < UNNEEDED);
            idle.push(held);
        }
    }
}

/// Begins a transaction. Not one of sqlx's, which borrow their connection: some are kept until it is their turn. Then each
/// statement must see what was committed meanwhile, whatever the server's default.
async fn begin(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::raw_sql("BEGIN ISOLATION LEVEL READ COMMITTED").execute(connection).await?;
    Ok(())
}

/// Has what is checked at a commit checked at once, in a transaction that has begun and is to be rolled back.
pub(super) async fn check_at_once(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::raw_sql("SET CONSTRAINTS ALL IMMEDIATE").execute(connection).await?;
    Ok(())
}

/// Commits what went well. Takes back what the database refused; what failed otherwise ends with its connection.
pub(super) async fn end<T>(connection: &mut PgConnection, written: Result<T, StoreError>) -> Result<T, StoreError> {
    let how = match &written {
        Ok(_) => "COMMIT",
        Err(StoreError::Refused(_) | StoreError::Repeated) => "ROLLBACK",
        Err(_) => return written,
    };
    sqlx::raw_sql(how).execute(connection).await?;
    written
}
