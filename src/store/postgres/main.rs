//! The main database on PostgreSQL.

use async_trait::async_trait;
use sqlx::{PgPool, Postgres};

use super::super::position::{PositionTable, Positions};
use super::super::{Applied, Maintained, SettingsTable, Sink, Step, StoreError};
use super::{CopyBuffer, pool};
use crate::domain::{ConsentRecord, MainRecord, UnixMillis};

const COPY_CONSENTS: &str = "COPY consent_records (id, user_id, document_type, document_version, accepted, preferences,
    ip_address, user_agent, created_at) FROM STDIN WITH (FORMAT binary)";
const CONSENT_COLUMNS: usize = 9;

/// The main database on a PostgreSQL server.
pub struct PostgresMain {
    pool: PgPool,
    positions: PositionTable<Postgres>,
}

impl PostgresMain {
    /// Connects when it is first used.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let pool = pool(url)?;
        Ok(Self { positions: PositionTable::new(&pool), pool })
    }
}

#[async_trait]
impl Sink for PostgresMain {
    type Record = MainRecord;

    fn describe(&self) -> &'static str {
        "main on postgres"
    }

    fn batch_records(&self) -> usize {
        2_000
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(sqlx::migrate!("migrations/main/postgres").run(&self.pool).await?)
    }

    fn positions(&self) -> &dyn Positions {
        &self.positions
    }

    async fn apply(&self, step: &Step, records: &[MainRecord]) -> Result<Applied, StoreError> {
        let mut transaction = self.pool.begin().await?;
        PositionTable::<Postgres>::advance(&mut transaction, step).await?;
        if !records.is_empty() {
            let mut rows = CopyBuffer::with_rows(records.len());
            for record in records {
                let MainRecord::Consent(consent) = record;
                write_consent(&mut rows, consent);
            }
            let mut copy = transaction.copy_in_raw(COPY_CONSENTS).await?;
            copy.send(rows.finish()).await?;
            copy.finish().await?;
        }
        transaction.commit().await?;
        Ok(Applied { rows: vec![("consent_records", records.len() as u64)] })
    }

    async fn maintain(&self, _: UnixMillis, _: u32) -> Result<Maintained, StoreError> {
        Ok(Maintained::default())
    }
}

#[async_trait]
impl SettingsTable for PostgresMain {
    async fn settings(&self) -> Result<Vec<(String, String)>, StoreError> {
        Ok(sqlx::query_as("SELECT key, value FROM settings ORDER BY key").fetch_all(&self.pool).await?)
    }

    async fn set_setting(&self, key: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, now())
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        )
        .bind(key)
        .bind(value)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn write_consent(rows: &mut CopyBuffer, consent: &ConsentRecord) {
    rows.row(CONSENT_COLUMNS);
    rows.uuid(Some(consent.id));
    rows.text(consent.user_id.as_deref());
    rows.text(Some(ConsentRecord::DOCUMENT_TYPE));
    rows.text(Some(&consent.document_version));
    rows.boolean(true);
    rows.jsonb(&consent.preferences.to_json());
    rows.text(consent.ip_address.as_deref());
    rows.text(consent.user_agent.as_deref());
    rows.time(consent.created_at);
}
