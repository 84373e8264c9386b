//! The analytics database on PostgreSQL.
//!
//! Sessions are loaded with UNNEST of one array a column. Binary COPY costs 3 µs a row less (see the `batch`
//! benchmark), but its end is a small write after a large one, and sqlx 0.9.0 leaves Nagle's algorithm on: over TCP a
//! batch can wait 40 ms for the server's delayed acknowledgement. A statement with its arrays is one write.

use async_trait::async_trait;
use sqlx::{PgConnection, PgPool, Postgres};

use super::super::migrations;
use super::super::position::{PositionTable, Positions};
use super::super::{Applied, Maintained, Sink, Step, StoreError};
use super::partitions::Partitions;
use super::{column, pool};
use crate::domain::{AnalyticsRecord, SessionRecord, UnixMillis};

/// `last_activity_at` begins as `started_at`; the counters start at their defaults.
const INSERT_SESSIONS: &str = "
    INSERT INTO analytics_sessions (
        id, visitor_id, bio_page_id, creator_id, landing_page, referrer, referrer_domain, utm_source, utm_medium,
        utm_campaign, utm_term, utm_content, device, browser, os, os_version, screen_width, screen_height,
        connection_type, timezone, language, country, city, region, continent, started_at,
        last_activity_at
    )
    SELECT *, started_at
    FROM unnest(
        $1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::int4[],
        $18::int4[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[], $24::text[], $25::text[],
        $26::timestamptz[]
    ) AS batch (
        id, visitor_id, bio_page_id, creator_id, landing_page, referrer, referrer_domain, utm_source, utm_medium,
        utm_campaign, utm_term, utm_content, device, browser, os, os_version, screen_width, screen_height,
        connection_type, timezone, language, country, city, region, continent, started_at
    )";

/// The analytics database on a PostgreSQL server.
pub struct PostgresAnalytics {
    pool: PgPool,
    positions: PositionTable<Postgres>,
    partitions: Partitions,
}

impl PostgresAnalytics {
    /// Connects when it is first used.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let pool = pool(url)?;
        Ok(Self { positions: PositionTable::new(&pool), partitions: Partitions::default(), pool })
    }
}

#[async_trait]
impl Sink for PostgresAnalytics {
    type Record = AnalyticsRecord;

    fn describe(&self) -> &'static str {
        "analytics on postgres"
    }

    fn batch_records(&self) -> usize {
        2_000
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(migrations::migrator(migrations::ANALYTICS_POSTGRES).run(&self.pool).await?)
    }

    fn positions(&self) -> &dyn Positions {
        &self.positions
    }

    async fn apply(&self, step: &Step, records: &[AnalyticsRecord]) -> Result<Applied, StoreError> {
        let sessions: Vec<&SessionRecord> = records
            .iter()
            .map(|record| match record {
                AnalyticsRecord::Session(session) => session.as_ref(),
            })
            .collect();
        self.partitions.make_for(&self.pool, sessions.iter().map(|session| session.id)).await?;
        let applied = self.apply_in_transaction(step, &sessions).await;
        if applied.is_err() {
            // A partition may have been dropped under us: look again next time.
            self.partitions.forget();
        }
        applied
    }

    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError> {
        self.partitions.maintain(&self.pool, now, retention_days).await
    }
}

impl PostgresAnalytics {
    async fn apply_in_transaction(&self, step: &Step, sessions: &[&SessionRecord]) -> Result<Applied, StoreError> {
        let mut transaction = self.pool.begin().await?;
        PositionTable::<Postgres>::advance(&mut transaction, step).await?;
        insert_sessions(&mut transaction, sessions).await?;
        transaction.commit().await?;
        Ok(Applied { rows: vec![("analytics_sessions", sessions.len() as u64)] })
    }
}

async fn insert_sessions(connection: &mut PgConnection, sessions: &[&SessionRecord]) -> Result<(), StoreError> {
    if sessions.is_empty() {
        return Ok(());
    }
    sqlx::query(INSERT_SESSIONS)
        .bind(column(sessions, |session| session.id))
        .bind(column(sessions, |session| session.visitor.to_hex()))
        .bind(column(sessions, |session| session.bio_page_id))
        .bind(column(sessions, |session| session.creator_id))
        .bind(column(sessions, |session| session.landing_page.as_str()))
        .bind(column(sessions, |session| session.referrer.as_deref()))
        .bind(column(sessions, |session| session.referrer_domain.as_str()))
        .bind(column(sessions, |session| session.utm_source.as_deref()))
        .bind(column(sessions, |session| session.utm_medium.as_deref()))
        .bind(column(sessions, |session| session.utm_campaign.as_deref()))
        .bind(column(sessions, |session| session.utm_term.as_deref()))
        .bind(column(sessions, |session| session.utm_content.as_deref()))
        .bind(column(sessions, |session| session.device.as_deref()))
        .bind(column(sessions, |session| session.browser.as_deref()))
        .bind(column(sessions, |session| session.os.as_deref()))
        .bind(column(sessions, |session| session.os_version.as_deref()))
        .bind(column(sessions, |session| session.screen_width.map(i32::from)))
        .bind(column(sessions, |session| session.screen_height.map(i32::from)))
        .bind(column(sessions, |session| session.connection_type.as_deref()))
        .bind(column(sessions, |session| session.place.timezone.as_deref()))
        .bind(column(sessions, |session| session.language.as_deref()))
        .bind(column(sessions, |session| session.place.country.as_deref()))
        .bind(column(sessions, |session| session.place.city.as_deref()))
        .bind(column(sessions, |session| session.place.region.as_deref()))
        .bind(column(sessions, |session| session.place.continent.as_deref()))
        .bind(column(sessions, |session| session.started_at.to_datetime()))
        .execute(connection)
        .await?;
    Ok(())
}
