//! How a server is connected to: what each connection asks of it, and whether it accepts writes.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::super::StoreError;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// What the writer, maintenance and settings may take.
const PATIENT: [(&str, &str); 2] = [("statement_timeout", "30s"), ("lock_timeout", "10s")];

/// A connection of one's own. Asks once, and says why there is none: a pool asks again and again a server that refuses, and
/// then says that its time was over.
pub(super) async fn connect_to(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connected = tokio::time::timeout(CONNECT, PgConnection::connect_with(options)).await;
    Ok(connected.map_err(|_| sqlx::Error::PoolTimedOut)??)
}

/// Whether a server refuses writes: a standby does.
pub(super) async fn is_read_only(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    use sqlx::Row as _;
    let row = sqlx::raw_sql("SHOW transaction_read_only").fetch_one(connection).await?;
    Ok(row.try_get::<String, _>(0)? == "on")
}

pub(super) fn patient(server: PgConnectOptions) -> PgConnectOptions {
    options(server, PATIENT)
}

pub(super) fn options(server: PgConnectOptions, bounds: [(&str, &str); 2]) -> PgConnectOptions {
    server
        .application_name("weir")
        // A journal segment is deleted once it is applied: applied must mean durable, whatever the server's default.
        .options([("synchronous_commit", "on"), ("idle_in_transaction_session_timeout", "30s")])
        // A server process that waits for rows minds no other bound: whoever sent them may be gone without a word, and what
        // it wrote is in everybody's way.
        .options([("tcp_keepalives_idle", "30"), ("tcp_keepalives_interval", "10"), ("tcp_keepalives_count", "3")])
        .options(bounds)
}
