//! The analytics database on SQLite.

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, SqlitePool};

use super::super::migrations;
use super::super::position::{PositionTable, Positions};
use super::super::{Applied, Maintained, Sink, Step, StoreError};
use super::{MAX_BINDS, insert_sql, pool};
use crate::domain::{AnalyticsRecord, SessionRecord, UnixMillis};

/// Columns of a new session, in the order of `bind_session`; the counters start at their defaults.
const SESSION_COLUMNS: [&str; 27] = [
    "id",
    "visitor_id",
    "bio_page_id",
    "creator_id",
    "landing_page",
    "referrer",
    "referrer_domain",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "device",
    "browser",
    "os",
    "os_version",
    "screen_width",
    "screen_height",
    "connection_type",
    "timezone",
    "language",
    "country",
    "city",
    "region",
    "continent",
    "started_at",
    "last_activity_at",
];

/// How many rows a retention step deletes before it lets the writer pass.
const DELETE_ROWS: i64 = 5_000;

/// The analytics database in a SQLite file.
pub struct SqliteAnalytics {
    pool: SqlitePool,
    positions: PositionTable<Sqlite>,
}

impl SqliteAnalytics {
    /// Opens lazily: the first statement makes the file.
    ///
    /// # Errors
    /// When the URL is none, or its directory cannot be made.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let pool = pool(url)?;
        Ok(Self { positions: PositionTable::new(&pool), pool })
    }
}

#[async_trait]
impl Sink for SqliteAnalytics {
    type Record = AnalyticsRecord;

    fn describe(&self) -> &'static str {
        "analytics on sqlite"
    }

    fn batch_records(&self) -> usize {
        5_000
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(migrations::migrator(migrations::ANALYTICS_SQLITE).run(&self.pool).await?)
    }

    fn positions(&self) -> &dyn Positions {
        &self.positions
    }

    async fn apply(&self, step: &Step, records: &[AnalyticsRecord]) -> Result<Applied, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        PositionTable::<Sqlite>::advance(&mut transaction, step).await?;
        let sessions: Vec<&SessionRecord> = records
            .iter()
            .map(|record| match record {
                AnalyticsRecord::Session(session) => session.as_ref(),
            })
            .collect();
        insert_sessions(&mut transaction, &sessions).await?;
        transaction.commit().await?;
        Ok(Applied { rows: vec![("analytics_sessions", sessions.len() as u64)] })
    }

    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError> {
        let mut maintained = Maintained::default();
        if retention_days == 0 {
            return Ok(maintained);
        }
        let before = UnixMillis(now.0 - i64::from(retention_days) * 86_400_000).to_rfc3339();
        for sql in [
            "DELETE FROM analytics_pageviews WHERE id IN (SELECT id FROM analytics_pageviews WHERE entered_at < $1 LIMIT $2)",
            "DELETE FROM analytics_sessions WHERE id IN (SELECT id FROM analytics_sessions WHERE started_at < $1 LIMIT $2)",
        ] {
            loop {
                let deleted =
                    sqlx::query(sql).bind(&before).bind(DELETE_ROWS).execute(&self.pool).await?.rows_affected();
                maintained.rows_deleted += deleted;
                if deleted == 0 {
                    break;
                }
            }
        }
        Ok(maintained)
    }
}

async fn insert_sessions(connection: &mut SqliteConnection, sessions: &[&SessionRecord]) -> Result<(), StoreError> {
    // One statement text for full chunks, so that it stays prepared; what is left over is prepared for this once.
    const ROWS: usize = 200;
    const { assert!(ROWS * SESSION_COLUMNS.len() <= MAX_BINDS) };
    for chunk in sessions.chunks(ROWS) {
        let sql = insert_sql("analytics_sessions", &SESSION_COLUMNS, chunk.len());
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == ROWS);
        for session in chunk {
            query = bind_session(query, session);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

fn bind_session<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    session: &SessionRecord,
) -> Query<'q, Sqlite, SqliteArguments> {
    let started_at = session.started_at.to_rfc3339();
    query
        .bind(session.id.to_string())
        .bind(session.visitor.to_hex())
        .bind(session.bio_page_id.map(|id| id.to_string()))
        .bind(session.creator_id.map(|id| id.to_string()))
        .bind(session.landing_page.clone())
        .bind(session.referrer.clone())
        .bind(session.referrer_domain.clone())
        .bind(session.utm_source.clone())
        .bind(session.utm_medium.clone())
        .bind(session.utm_campaign.clone())
        .bind(session.utm_term.clone())
        .bind(session.utm_content.clone())
        .bind(session.device.clone())
        .bind(session.browser.clone())
        .bind(session.os.clone())
        .bind(session.os_version.clone())
        .bind(session.screen_width)
        .bind(session.screen_height)
        .bind(session.connection_type.clone())
        .bind(session.place.timezone.clone())
        .bind(session.language.clone())
        .bind(session.place.country.clone())
        .bind(session.place.city.clone())
        .bind(session.place.region.clone())
        .bind(session.place.continent.clone())
        .bind(started_at.clone())
        .bind(started_at)
}
