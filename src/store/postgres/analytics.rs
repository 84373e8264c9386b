//! The analytics database on PostgreSQL.
//!
//! Sessions are loaded with binary COPY: measured against UNNEST of arrays it costs PostgreSQL less a row (see the
//! `batch` benchmark), and with the position in the same transaction it needs no ON CONFLICT to be exactly-once.

use async_trait::async_trait;
use sqlx::{PgConnection, PgPool, Postgres};

use super::super::position::{PositionTable, Positions};
use super::super::{Applied, Maintained, Sink, Step, StoreError};
use super::partitions::Partitions;
use super::{CopyBuffer, pool};
use crate::domain::{AnalyticsRecord, SessionRecord, UnixMillis};

const COPY_SESSIONS: &str = "COPY analytics_sessions (id, visitor_id, bio_page_id, creator_id, landing_page, referrer,
    referrer_domain, utm_source, utm_medium, utm_campaign, utm_term, utm_content, device, browser, os, os_version,
    screen_width, screen_height, connection_type, timezone, language, country, city, region, continent, started_at,
    last_activity_at) FROM STDIN WITH (FORMAT binary)";
const SESSION_COLUMNS: usize = 27;

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
        Ok(sqlx::migrate!("migrations/analytics/postgres").run(&self.pool).await?)
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
        copy_sessions(&mut transaction, sessions).await?;
        transaction.commit().await?;
        Ok(Applied { rows: vec![("analytics_sessions", sessions.len() as u64)] })
    }
}

async fn copy_sessions(connection: &mut PgConnection, sessions: &[&SessionRecord]) -> Result<(), StoreError> {
    if sessions.is_empty() {
        return Ok(());
    }
    let mut rows = CopyBuffer::with_rows(sessions.len());
    for session in sessions {
        write_session(&mut rows, session);
    }
    let mut copy = connection.copy_in_raw(COPY_SESSIONS).await?;
    copy.send(rows.finish()).await?;
    copy.finish().await?;
    Ok(())
}

fn write_session(rows: &mut CopyBuffer, session: &SessionRecord) {
    rows.row(SESSION_COLUMNS);
    rows.uuid(Some(session.id));
    rows.text(Some(&session.visitor.to_hex()));
    rows.uuid(session.bio_page_id);
    rows.uuid(session.creator_id);
    rows.text(Some(&session.landing_page));
    rows.text(session.referrer.as_deref());
    rows.text(Some(&session.referrer_domain));
    rows.text(session.utm_source.as_deref());
    rows.text(session.utm_medium.as_deref());
    rows.text(session.utm_campaign.as_deref());
    rows.text(session.utm_term.as_deref());
    rows.text(session.utm_content.as_deref());
    rows.text(session.device.as_deref());
    rows.text(session.browser.as_deref());
    rows.text(session.os.as_deref());
    rows.text(session.os_version.as_deref());
    rows.integer(session.screen_width.map(i32::from));
    rows.integer(session.screen_height.map(i32::from));
    rows.text(session.connection_type.as_deref());
    rows.text(session.place.timezone.as_deref());
    rows.text(session.language.as_deref());
    rows.text(session.place.country.as_deref());
    rows.text(session.place.city.as_deref());
    rows.text(session.place.region.as_deref());
    rows.text(session.place.continent.as_deref());
    rows.time(session.started_at);
    rows.time(session.started_at);
}
