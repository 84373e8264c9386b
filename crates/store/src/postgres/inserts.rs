//! New rows of the analytics database: few as one array of composite values, many by COPY.
//!
//! An array was measured against one array a column (the `batch` benchmark): PostgreSQL keeps what each column's `unnest`
//! gives in a store of its own, 31 of them for a session, and Weir walks over the records once a column. COPY costs
//! PostgreSQL less still, but its end may wait for an acknowledgement (`copy`), and it stops at a row that is there already.
//!
//! Invariant: fields stand in the order of the row types (`columns`); PostgreSQL refuses any other number of them, and any
//! other type.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgBindIterExt, PgHasArrayType, PgTypeInfo};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Type};

use super::super::StoreError;
use super::super::fold::{NewSession, NewView};
use super::composite::Composite;
use super::copy::CopyRows;
use super::fields::write_fields;
use super::pace::Pace;
use crate::columns::NewRow;

/// So many rows are many.
const MANY: usize = 500;
/// What a server says of rows whose form is not that of their columns: a protocol violation, a bad binary representation.
const FORM_ERRORS: [&str; 2] = ["08P01", "22P03"];
/// For how long rows are inserted then; the operator may change the column back.
const COPY_RESTS: Duration = Duration::from_mins(10);

/// The statements of one table.
struct Statements {
    copy: String,
    insert: String,
    insert_unless_there: String,
}

impl Statements {
    /// Of a table with this row type.
    fn of<R: NewRow>(row_type: &str) -> Self {
        let into = format!("{} ({})", R::TABLE, R::columns().join(", "));
        let insert = format!("INSERT INTO {into} SELECT * FROM unnest($1::{row_type}[])");
        Self {
            copy: format!("COPY {into} FROM STDIN WITH (FORMAT binary)"),
            insert_unless_there: format!("{insert} ON CONFLICT (id) DO NOTHING"),
            insert,
        }
    }
}

const SESSION_ROW: &str = "analytics_session_row_2";
const VIEW_ROW: &str = "analytics_pageview_row_2";
static SESSIONS: LazyLock<Statements> = LazyLock::new(|| Statements::of::<NewSession<'_>>(SESSION_ROW));
static VIEWS: LazyLock<Statements> = LazyLock::new(|| Statements::of::<NewView<'_>>(VIEW_ROW));

/// What becomes of a row that is there already: a record that is applied again.
#[derive(Clone, Copy)]
pub(super) enum Repeats {
    /// It is an error, [`StoreError::Repeated`]. A unique index is then the only price.
    Refused,
    /// It stays as it is: a session by PostgreSQL's own look before each row, for which it logs each row twice; of views only
    /// those are given that are not there.
    Left,
}

/// Whether many rows may come by COPY. Its binary form is that of the tables' own types: where an operator gave a column another
/// one, COPY fails on every row, and an INSERT, which converts, is what is left.
#[derive(Default)]
pub(super) struct Copies(Mutex<CopyState>);

#[derive(Default)]
struct CopyState {
    rest_until: Option<Instant>,
    /// That it failed, for whoever asks next.
    has_failed: bool,
    never: bool,
}

impl Copies {
    /// For a step of which every row is looked at.
    pub fn none() -> Self {
        Self(Mutex::new(CopyState { never: true, ..CopyState::default() }))
    }

    fn state(&self) -> MutexGuard<'_, CopyState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may(&self) -> bool {
        let state = self.state();
        !state.never && state.rest_until.is_none_or(|until| Instant::now() >= until)
    }

    /// Notes what became of a COPY.
    fn judge(&self, copied: Result<(), sqlx::Error>, repeats: Repeats) -> Result<(), StoreError> {
        let error = match copied {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let code =
            error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned();
        if !FORM_ERRORS.contains(&code.as_str()) {
            return Err(refusal(error, repeats));
        }
        tracing::warn!(code, "database takes no binary COPY: has a column another type? rows are inserted for a while");
        let mut state = self.state();
        (state.rest_until, state.has_failed) = (Some(Instant::now() + COPY_RESTS), true);
        Err(StoreError::Rejected(format!("code {code}, of the form of a COPY")))
    }

    /// Whether a COPY failed for its form since this was asked the last time.
    pub fn take_failure(&self) -> bool {
        std::mem::take(&mut self.state().has_failed)
    }
}

pub(super) async fn insert_sessions(
    connection: &mut PgConnection,
    sessions: &[NewSession<'_>],
    repeats: Repeats,
    pace: &mut Pace,
    copies: &Copies,
) -> Result<(), StoreError> {
    let rows = sessions.iter().map(SessionRow);
    let inserted = match repeats {
        Repeats::Refused if rows.len() >= MANY && copies.may() => {
            return copies.judge(copy(connection, &SESSIONS.copy, sessions, pace).await, repeats);
        }
        Repeats::Refused => insert(connection, &SESSIONS.insert, rows).await,
        Repeats::Left => insert(connection, &SESSIONS.insert_unless_there, rows).await,
    };
    inserted.map_err(|error| refusal(error, repeats))
}

pub(super) async fn insert_views(
    connection: &mut PgConnection,
    views: &[NewView<'_>],
    repeats: Repeats,
    pace: &mut Pace,
    copies: &Copies,
) -> Result<(), StoreError> {
    if views.len() >= MANY && copies.may() {
        return copies.judge(copy(connection, &VIEWS.copy, views, pace).await, repeats);
    }
    let inserted = insert(connection, &VIEWS.insert, views.iter().map(ViewRow)).await;
    inserted.map_err(|error| refusal(error, repeats))
}

async fn insert<'a, R>(
    connection: &mut PgConnection,
    statement: &'static str,
    rows: impl ExactSizeIterator<Item = R> + Clone + Send + 'a,
) -> Result<(), sqlx::Error>
where
    R: Encode<'a, Postgres> + PgHasArrayType + Type<Postgres> + Send + 'a,
{
    if rows.len() > 0 {
        sqlx::query(AssertSqlSafe(statement)).bind(rows.bind_iter()).execute(connection).await?;
    }
    Ok(())
}

async fn copy(
    connection: &mut PgConnection,
    statement: &'static str,
    rows: &[impl NewRow + Sync],
    pace: &mut Pace,
) -> Result<(), sqlx::Error> {
    let mut copied = CopyRows::begin(connection, statement).await?;
    for row in rows {
        pace.keep().await;
        match copied.add(|fields| write_fields(row, fields)).await {
            Ok(()) => {}
            Err(error @ sqlx::Error::Encode(_)) => {
                // Not aborted: sqlx 0.9.0 loses step with a server that has refused an earlier row meanwhile. What was sent is
                // taken back with the transaction.
                copied.finish().await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
    copied.finish().await
}

/// Where rows that are there already are left as they are, what is not unique is so by a rule of the operator's: it refuses
/// the record.
fn refusal(error: sqlx::Error, repeats: Repeats) -> StoreError {
    match (error.as_database_error(), repeats) {
        (Some(database), Repeats::Refused) if database.is_unique_violation() => StoreError::Repeated,
        _ => error.into(),
    }
}

/// A value of a row type.
macro_rules! row_type {
    ($wrapper:ident, $row:ident, $name:ident) => {
        struct $wrapper<'a>(&'a $row<'a>);

        impl Encode<'_, Postgres> for $wrapper<'_> {
            fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                let mut value = Composite::begin(buffer);
                write_fields(self.0, &mut value)?;
                Ok(value.end())
            }
        }

        impl Type<Postgres> for $wrapper<'_> {
            fn type_info() -> PgTypeInfo {
                PgTypeInfo::with_name($name)
            }
        }

        impl PgHasArrayType for $wrapper<'_> {
            fn array_type_info() -> PgTypeInfo {
                PgTypeInfo::array_of($name)
            }
        }
    };
}

row_type!(SessionRow, NewSession, SESSION_ROW);
row_type!(ViewRow, NewView, VIEW_ROW);
