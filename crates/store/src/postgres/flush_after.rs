//! Pages on their way to the disk as they change: `backend_flush_after` in PostgreSQL's words.
//!
//! Left alone, Linux writes half a minute's worth at once, and every fsync on that disk waits for it, the journal's too. The
//! writer's connections ask for it themselves. PostgreSQL's autovacuum reads and marks every page of a day once more, and
//! obeys the database's setting alone, which is the operator's to make: `weir check` advises it.

use sqlx::PgPool;

const NAME: &str = "backend_flush_after";
/// How much may change in a table's files before the server has the system begin to write it.
const BYTES: &str = "256kB";

/// What a connection asks for.
pub(super) const OPTIONS: [(&str, &str); 1] = [(NAME, BYTES)];

/// The statement that would make the setting, where none is made for the server, the database or the role.
const LOOK: &str = "
    SELECT format('ALTER DATABASE %I SET backend_flush_after = ''256kB''', current_database())
    WHERE NOT EXISTS (SELECT FROM pg_settings WHERE name = 'backend_flush_after' AND source <> 'default')";

/// The statement that an operator should run, unless it was decided already.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn advice(pool: &PgPool) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(LOOK).fetch_optional(pool).await
}
