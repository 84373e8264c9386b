//! Pages on their way to the disk as they change, `backend_flush_after` in PostgreSQL's words.
//!
//! Left alone, Linux writes half a minute's worth at once, and every fsync on that disk waits for it, the journal's too. The
//! writer's connections ask for it themselves. PostgreSQL's autovacuum reads and marks every page of a day once more, and has
//! the database's setting. Invariant: what an operator has set stays.

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{AssertSqlSafe, PgPool};

const NAME: &str = "backend_flush_after";
/// How much may change in a table's files before the server has the system begin to write it.
const BYTES: &str = "256kB";

/// What a connection asks for.
pub(super) const OPTIONS: [(&str, &str); 1] = [(NAME, BYTES)];

/// Whether this role may set it, and whether anybody has, for the server, the database or the role.
const LOOK: &str = "
    SELECT pg_has_role(datdba, 'USAGE'), EXISTS (SELECT FROM pg_settings WHERE name = $1 AND source <> 'default')
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
            Ok(done) => {
                tracing::info!(setting = NAME, "{done}");
                self.is_settled.store(true, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(setting = NAME, %error, "a setting of the database could not be looked after"),
        }
    }
}

async fn set(pool: &PgPool) -> Result<&'static str, sqlx::Error> {
    let (may_set, is_set): (bool, bool) = sqlx::query_as(LOOK).bind(NAME).fetch_one(pool).await?;
    if is_set {
        return Ok("a setting of the database is made already and stays");
    }
    if !may_set {
        return Ok("a setting is left to the role that owns the database");
    }
    // A statement of this kind takes no parameters.
    let alter = format!(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {NAME} = %L', current_database(), '{BYTES}'); END $$"
    );
    sqlx::raw_sql(AssertSqlSafe(alter)).execute(pool).await?;
    Ok("a setting of the database is made, so that its autovacuum writes early")
}
