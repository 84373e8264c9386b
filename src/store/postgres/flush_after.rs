//! Pages on their way to the disk as they change, `backend_flush_after` in PostgreSQL's words.
//!
//! Left alone, Linux writes half a minute's worth at once, and every fsync on that disk waits for it, the journal's too. The
//! writer's connections ask for it themselves. PostgreSQL's autovacuum reads and marks every page of a day once more, and has
//! the database's setting. Invariant: what an operator has set, by any means, stays.

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{AssertSqlSafe, PgPool};

const NAME: &str = "backend_flush_after";
/// How much may change in a table's files before the server has the system begin to write it.
const BYTES: &str = "256kB";

/// What a connection asks for.
pub(super) const OPTIONS: [(&str, &str); 1] = [(NAME, BYTES)];

/// One instance at a time looks and sets: PostgreSQL refuses the second of two that change a database at once.
const LOCK: i64 = 0x7765_6972_0001;

/// Whether this role may set it, and whether anybody has: this connection sees what it began with, the catalogue what
/// another instance has set since.
const LOOK: &str = "
    SELECT pg_has_role(datdba, 'USAGE'),
        EXISTS (SELECT FROM pg_settings WHERE name = $1 AND source <> 'default')
        OR EXISTS (
            SELECT FROM pg_db_role_setting, unnest(setconfig) AS setting
            WHERE setdatabase = pg_database.oid AND setrole = 0 AND starts_with(setting, $1 || '=')
        )
    FROM pg_database WHERE datname = current_database()";

/// The database's own setting, looked after once by each process.
#[derive(Default)]
pub(super) struct FlushAfter {
    is_settled: AtomicBool,
}

impl FlushAfter {
    /// Sets it where nobody has and this role may. Nothing depends on it: an error is told, and the next call tries again.
    pub async fn look_after(&self, pool: &PgPool) {
        if self.is_settled.load(Ordering::Relaxed) {
            return;
        }
        match set(pool).await {
            Ok(()) => self.is_settled.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "the database's backend_flush_after could not be looked after"),
        }
    }
}

async fn set(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    let (may_set, is_set): (bool, bool) = sqlx::query_as(LOOK).bind(NAME).fetch_one(&mut *transaction).await?;
    if is_set {
        return Ok(());
    }
    if !may_set {
        tracing::info!("this role does not own the database and leaves its backend_flush_after as it is");
        return Ok(());
    }
    // A statement of this kind takes no parameters.
    let alter = format!(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {NAME} = %L', current_database(), '{BYTES}'); END $$"
    );
    sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut *transaction).await?;
    transaction.commit().await?;
    tracing::info!("the database's backend_flush_after is set, so that its autovacuum writes early");
    Ok(())
}
