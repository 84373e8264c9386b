//! The position of a journal, in the same words for both engines.
//!
//! Invariant: a position only moves from where its writer left it (compare-and-set), inside the transaction that holds
//! the records.

use sqlx::{Database, Encode, Executor, FromRow, IntoArguments, Type};
use uuid::Uuid;

use super::{Step, StoreError};
use crate::journal::{JournalId, Position};

/// What an engine must be able to do for the statements here.
pub(super) trait Engine: Database {}
impl Engine for sqlx::Postgres {}
impl Engine for sqlx::Sqlite {}

/// How far a journal is applied, and by whom.
pub(super) async fn read<'c, DB, E>(executor: E, journal: JournalId) -> Result<Option<(Position, String)>, StoreError>
where
    DB: Engine,
    E: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'r> (i64, String): FromRow<'r, DB::Row>,
{
    let row: Option<(i64, String)> =
        sqlx::query_as("SELECT position, writer FROM journal_positions WHERE journal_id = $1")
            .bind(journal.to_string())
            .fetch_optional(executor)
            .await?;
    Ok(row.map(|(position, writer)| (Position(position.unsigned_abs()), writer)))
}

/// How many other journals have a position.
pub(super) async fn others<'c, DB, E>(executor: E, journal: JournalId) -> Result<u64, StoreError>
where
    DB: Engine,
    E: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'r> (i64,): FromRow<'r, DB::Row>,
{
    let (others,): (i64,) = sqlx::query_as("SELECT count(*) FROM journal_positions WHERE journal_id <> $1")
        .bind(journal.to_string())
        .fetch_one(executor)
        .await?;
    Ok(others.unsigned_abs())
}

/// Writes position 0 for a journal that the database does not know.
pub(super) async fn insert<'c, DB, E>(executor: E, journal: JournalId, writer: Uuid) -> Result<(), StoreError>
where
    DB: Engine,
    E: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    sqlx::query(
        "INSERT INTO journal_positions (journal_id, position, writer, updated_at) VALUES ($1, 0, $2, $3)
         ON CONFLICT (journal_id) DO NOTHING",
    )
    .bind(journal.to_string())
    .bind(writer.to_string())
    .bind(now())
    .execute(executor)
    .await?;
    Ok(())
}

/// Moves a position, or says who moved it before.
pub(super) async fn advance<DB>(connection: &mut DB::Connection, step: &Step) -> Result<(), StoreError>
where
    DB: Engine,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'r> (i64,): FromRow<'r, DB::Row>,
    for<'r> (i64, String): FromRow<'r, DB::Row>,
{
    let moved: Option<(i64,)> = sqlx::query_as(
        "UPDATE journal_positions SET position = $1, writer = $2, updated_at = $3
         WHERE journal_id = $4 AND position = $5 RETURNING position",
    )
    .bind(as_column(step.through))
    .bind(step.writer.to_string())
    .bind(now())
    .bind(step.journal.to_string())
    .bind(as_column(step.from))
    .fetch_optional(&mut *connection)
    .await?;
    if moved.is_some() {
        return Ok(());
    }
    let (found, by) = read(&mut *connection, step.journal).await?.unwrap_or_default();
    Err(StoreError::Moved { expected: step.from, found, by })
}

fn as_column(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
