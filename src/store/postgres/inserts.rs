//! New rows of the analytics database: few as one array of composite values, many by COPY.
//!
//! An array was measured against one array a column (the `batch` benchmark): PostgreSQL keeps what each column's `unnest`
//! gives in a store of its own, 31 of them for a session, and Weir walks over the records once a column. COPY costs
//! PostgreSQL less still, but its end may wait for an acknowledgement (`copy`), and it stops at a row that is there already.
//!
//! Invariant: fields stand in the order of `migrations/analytics/postgres/0003_row_types.sql`; PostgreSQL refuses any
//! other number of them, and any other type.

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgBindIterExt, PgHasArrayType, PgTypeInfo};
use sqlx::{PgConnection, Postgres, Type};

use super::super::StoreError;
use super::super::fold::{NewSession, NewView};
use super::composite::Composite;
use super::copy::CopyRows;
use super::fields::Fields;
use super::pace::Pace;

/// So many rows are many.
const MANY: usize = 500;

macro_rules! session_columns {
    () => {
        "analytics_sessions (
            id, visitor_id, user_id, bio_page_id, creator_id, landing_page, referrer, referrer_domain, utm_source,
            utm_medium, utm_campaign, utm_term, utm_content, device, browser, os, os_version, screen_width,
            screen_height, connection_type, timezone, language, country, city, region, continent, page_views,
            bounced, duration, started_at, last_activity_at
        )"
    };
}

macro_rules! view_columns {
    () => {
        "analytics_pageviews (id, session_id, url, path, title, referrer, entered_at, duration, scroll_depth)"
    };
}

macro_rules! insert {
    ($columns:ident, $row:literal, $repeats:literal) => {
        concat!("INSERT INTO ", $columns!(), " SELECT * FROM unnest($1::", $row, "[])", $repeats)
    };
}

macro_rules! copy {
    ($columns:ident) => {
        concat!("COPY ", $columns!(), " FROM STDIN WITH (FORMAT binary)")
    };
}

/// What becomes of a row that is there already: a record that is applied again.
#[derive(Clone, Copy)]
pub(super) enum Repeats {
    /// It is an error, [`StoreError::Repeated`]. A unique index is then the only price.
    Refused,
    /// It stays as it is: a session by PostgreSQL's own look before each row, for which it logs each row twice; of views only
    /// those are given that are not there.
    Left,
}

pub(super) async fn insert_sessions(
    connection: &mut PgConnection,
    sessions: &[NewSession<'_>],
    repeats: Repeats,
    pace: &mut Pace,
) -> Result<(), StoreError> {
    let rows = sessions.iter().map(SessionRow);
    let inserted = match repeats {
        Repeats::Refused if rows.len() >= MANY => copy(connection, copy!(session_columns), sessions, pace).await,
        Repeats::Refused => insert(connection, insert!(session_columns, "analytics_session_row", ""), rows).await,
        Repeats::Left => {
            let statement = insert!(session_columns, "analytics_session_row", " ON CONFLICT (id) DO NOTHING");
            insert(connection, statement, rows).await
        }
    };
    inserted.map_err(|error| refusal(error, repeats))
}

pub(super) async fn insert_views(
    connection: &mut PgConnection,
    views: &[NewView<'_>],
    repeats: Repeats,
    pace: &mut Pace,
) -> Result<(), StoreError> {
    let inserted = if views.len() >= MANY {
        copy(connection, copy!(view_columns), views, pace).await
    } else {
        insert(connection, insert!(view_columns, "analytics_pageview_row", ""), views.iter().map(ViewRow)).await
    };
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
        sqlx::query(statement).bind(rows.bind_iter()).execute(connection).await?;
    }
    Ok(())
}

async fn copy(
    connection: &mut PgConnection,
    statement: &'static str,
    rows: &[impl Row],
    pace: &mut Pace,
) -> Result<(), sqlx::Error> {
    let mut copied = CopyRows::begin(connection, statement).await?;
    for row in rows {
        pace.keep().await;
        match copied.add(|fields| row.write(fields)).await {
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

/// A row whose fields can be written one after the other.
trait Row: Sync {
    /// # Errors
    /// When PostgreSQL has no form for a value.
    fn write<F: Fields>(&self, fields: F) -> Result<F, BoxDynError>;
}

struct SessionRow<'a>(&'a NewSession<'a>);

impl Row for NewSession<'_> {
    fn write<F: Fields>(&self, fields: F) -> Result<F, BoxDynError> {
        let (session, state) = self;
        let place = &session.place;
        fields
            .uuid(Some(session.id))
            .ascii(&session.visitor.hex_digits())
            .text(state.user_id.as_deref())
            .uuid(session.bio_page_id)
            .uuid(session.creator_id)
            .text(Some(session.landing_page))
            .text(session.referrer)
            .text(Some(session.referrer_domain))
            .text(session.utm_source)
            .text(session.utm_medium)
            .text(session.utm_campaign)
            .text(session.utm_term)
            .text(session.utm_content)
            .text(session.device)
            .text(session.browser)
            .text(session.os)
            .text(session.os_version)
            .integer(session.screen_width.map(i32::from))
            .integer(session.screen_height.map(i32::from))
            .text(session.connection_type)
            .text(place.timezone)
            .text(session.language)
            .text(place.country)
            .text(place.city)
            .text(place.region)
            .text(place.continent)
            .integer(Some(state.page_views))
            .boolean(state.bounced)
            .integer(Some(state.duration_seconds))
            .time(session.started_at)?
            .time(state.last_activity_at)
    }
}

impl Encode<'_, Postgres> for SessionRow<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(self.0.write(Composite::begin(buffer))?.end())
    }
}

impl Type<Postgres> for SessionRow<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("analytics_session_row")
    }
}

impl PgHasArrayType for SessionRow<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of("analytics_session_row")
    }
}

struct ViewRow<'a>(&'a NewView<'a>);

impl Row for NewView<'_> {
    fn write<F: Fields>(&self, fields: F) -> Result<F, BoxDynError> {
        let (view, state) = self;
        Ok(fields
            .uuid(Some(view.id))
            .uuid(Some(view.session_id))
            .text(Some(view.url))
            .text(view.path)
            .text(view.title)
            .text(view.referrer)
            .time(view.entered_at)?
            .double(state.duration_seconds)
            .double(state.scroll_depth))
    }
}

impl Encode<'_, Postgres> for ViewRow<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(self.0.write(Composite::begin(buffer))?.end())
    }
}

impl Type<Postgres> for ViewRow<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("analytics_pageview_row")
    }
}

impl PgHasArrayType for ViewRow<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of("analytics_pageview_row")
    }
}
