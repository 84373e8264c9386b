//! The position of a journal, in the same words for both engines.
//!
//! Invariant: a position only moves from where its writer left it (compare-and-set), inside the transaction that holds
//! the records.

use async_trait::async_trait;
use sqlx::{Database, PgConnection, Pool, Postgres, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{Step, StoreError};
use weir_domain::UnixMillis;
use weir_log::{JournalId, Position};

/// What a read must see: a journal, applied up to a position, in the very database that answers. A database may go back between
/// the last step and the read: a standby that lags is promoted, or a copy is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    pub journal: JournalId,
    pub position: Position,
}

/// Which database it is: a random id, made with it, that a copy and a standby have, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseIdentity {
    pub id: String,
    /// Whether journals had been applied to it before it had an id.
    pub was_in_use: bool,
}

/// How far journals are applied in one database.
#[async_trait]
pub trait Positions: Send + Sync {
    /// How far the journal is applied; the first call for a journal writes position 0. Waits for a step of this journal whose
    /// commit is on its way: what is decided from the position must not be overtaken by it.
    async fn register(&self, journal: JournalId, writer: Uuid, now: UnixMillis) -> Result<Position, StoreError>;

    /// How far the journal is applied, and by which writer, without writing anything.
    async fn position(&self, journal: JournalId) -> Result<Option<(Position, String)>, StoreError>;

    /// Whether the server takes writes: one that has become a standby does not, and answers all the same.
    async fn is_writable(&self) -> Result<bool, StoreError>;

    /// Forgets a journal of a single step: a letter that was applied.
    async fn forget(&self, journal: JournalId) -> Result<(), StoreError>;

    /// The same as [`Self::register`], for a database that begins where another one was left: the journal's position is at least
    /// this one afterwards.
    async fn register_at(
        &self,
        journal: JournalId,
        writer: Uuid,
        position: Position,
        now: UnixMillis,
    ) -> Result<(), StoreError>;

    /// Which database this is.
    async fn identity(&self) -> Result<DatabaseIdentity, StoreError>;

    /// How many other journals have been applied here: this data directory may have replaced one of them.
    async fn other_journals(&self, journal: JournalId) -> Result<u64, StoreError>;
}

/// The table `journal_positions` behind a pool.
pub(super) struct PositionTable<DB: Database>(Pool<DB>);

impl<DB: Database> PositionTable<DB> {
    pub(super) fn new(pool: &Pool<DB>) -> Self {
        Self(pool.clone())
    }
}

/// One text for both engines: sqlx has no bound that says "takes these types" short of a page of them.
macro_rules! on_engine {
    ($engine:ty, $connection:ty, $is_writable:literal) => {
        impl PositionTable<$engine> {
            /// Makes sure that what this connection reads from now on is not older. A server does not go back under a connection.
            pub(super) async fn check(connection: &mut $connection, as_of: Option<AsOf>) -> Result<(), StoreError> {
                let Some(AsOf { journal, position: expected }) = as_of else { return Ok(()) };
                let row: Option<(i64, String)> =
                    sqlx::query_as(READ).bind(journal.to_string()).fetch_optional(connection).await?;
                let found = from_column(row.unwrap_or_default().0);
                if found >= expected { Ok(()) } else { Err(StoreError::Behind { expected, found }) }
            }

            /// Moves a position, or says who moved it before.
            pub(super) async fn advance(connection: &mut $connection, step: &Step) -> Result<(), StoreError> {
                let moved: Option<(i64,)> = sqlx::query_as(
                    "UPDATE journal_positions SET position = $1, writer = $2, updated_at = $3
                     WHERE journal_id = $4 AND position = $5 RETURNING position",
                )
                .bind(as_column(step.through))
                .bind(step.writer.to_string())
                .bind(step.at.to_rfc3339())
                .bind(step.journal.to_string())
                .bind(as_column(step.from))
                .fetch_optional(&mut *connection)
                .await?;
                if moved.is_some() {
                    return Ok(());
                }
                let row: Option<(i64, String)> =
                    sqlx::query_as(READ).bind(step.journal.to_string()).fetch_optional(connection).await?;
                let (found, by) = row.unwrap_or_default();
                Err(StoreError::Moved { expected: step.from, found: from_column(found), by })
            }
        }

        #[async_trait]
        impl Positions for PositionTable<$engine> {
            async fn register(
                &self,
                journal: JournalId,
                writer: Uuid,
                now: UnixMillis,
            ) -> Result<Position, StoreError> {
                sqlx::query(
                    "INSERT INTO journal_positions (journal_id, position, writer, updated_at) VALUES ($1, 0, $2, $3)
                     ON CONFLICT (journal_id) DO NOTHING",
                )
                .bind(journal.to_string())
                .bind(writer.to_string())
                .bind(now.to_rfc3339())
                .execute(&self.0)
                .await?;
                Ok(self.position(journal).await?.unwrap_or_default().0)
            }

            async fn register_at(
                &self,
                journal: JournalId,
                writer: Uuid,
                position: Position,
                now: UnixMillis,
            ) -> Result<(), StoreError> {
                sqlx::query(
                    "INSERT INTO journal_positions (journal_id, position, writer, updated_at) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (journal_id) DO UPDATE
                     SET position = excluded.position, writer = excluded.writer, updated_at = excluded.updated_at
                     WHERE journal_positions.position < excluded.position",
                )
                .bind(journal.to_string())
                .bind(as_column(position))
                .bind(writer.to_string())
                .bind(now.to_rfc3339())
                .execute(&self.0)
                .await?;
                Ok(())
            }

            async fn identity(&self) -> Result<DatabaseIdentity, StoreError> {
                let row: Option<(String, bool)> =
                    sqlx::query_as("SELECT id, was_in_use FROM database_identity").fetch_optional(&self.0).await?;
                let lost = || StoreError::Schema("database_identity has no row".to_owned());
                row.map(|(id, was_in_use)| DatabaseIdentity { id, was_in_use }).ok_or_else(lost)
            }

            async fn position(&self, journal: JournalId) -> Result<Option<(Position, String)>, StoreError> {
                let row: Option<(i64, String)> =
                    sqlx::query_as(READ).bind(journal.to_string()).fetch_optional(&self.0).await?;
                Ok(row.map(|(position, writer)| (from_column(position), writer)))
            }

            async fn is_writable(&self) -> Result<bool, StoreError> {
                let (is_writable,): (bool,) = sqlx::query_as($is_writable).fetch_one(&self.0).await?;
                Ok(is_writable)
            }

            async fn forget(&self, journal: JournalId) -> Result<(), StoreError> {
                sqlx::query("DELETE FROM journal_positions WHERE journal_id = $1")
                    .bind(journal.to_string())
                    .execute(&self.0)
                    .await?;
                Ok(())
            }

            async fn other_journals(&self, journal: JournalId) -> Result<u64, StoreError> {
                let (others,): (i64,) = sqlx::query_as("SELECT count(*) FROM journal_positions WHERE journal_id <> $1")
                    .bind(journal.to_string())
                    .fetch_one(&self.0)
                    .await?;
                Ok(others.unsigned_abs())
            }
        }
    };
}

on_engine!(Postgres, PgConnection, "SELECT current_setting('transaction_read_only') = 'off'");
on_engine!(Sqlite, SqliteConnection, "SELECT 1");

const READ: &str = "SELECT position, writer FROM journal_positions WHERE journal_id = $1";

fn as_column(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

fn from_column(position: i64) -> Position {
    Position(position.unsigned_abs())
}
