//! The main database on PostgreSQL.

use async_trait::async_trait;
use sqlx::{PgConnection, PgPool, Postgres};

use super::super::migrations;
use super::super::position::{PositionTable, Positions};
use super::super::{Applied, Maintained, SettingsTable, Sink, Step, StoreError};
use super::{column, pool};
use crate::domain::{ConsentRecord, MainRecord, UnixMillis};

/// A stored consent is an accepted one.
const INSERT_CONSENTS: &str = "
    INSERT INTO consent_records (
        id, user_id, document_type, document_version, accepted, preferences, ip_address, user_agent, created_at
    )
    SELECT id, user_id, $3, document_version, true, preferences::jsonb, ip_address, user_agent, created_at
    FROM unnest($1::uuid[], $2::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
        AS batch (id, user_id, document_version, preferences, ip_address, user_agent, created_at)";

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
        Ok(migrations::migrator(migrations::MAIN_POSTGRES).run(&self.pool).await?)
    }

    fn positions(&self) -> &dyn Positions {
        &self.positions
    }

    async fn apply(&self, step: &Step, records: &[MainRecord]) -> Result<Applied, StoreError> {
        let mut transaction = self.pool.begin().await?;
        PositionTable::<Postgres>::advance(&mut transaction, step).await?;
        let consents: Vec<&ConsentRecord> = records
            .iter()
            .map(|record| match record {
                MainRecord::Consent(consent) => consent.as_ref(),
            })
            .collect();
        insert_consents(&mut transaction, &consents).await?;
        transaction.commit().await?;
        Ok(Applied { rows: vec![("consent_records", consents.len() as u64)] })
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

async fn insert_consents(connection: &mut PgConnection, consents: &[&ConsentRecord]) -> Result<(), StoreError> {
    if consents.is_empty() {
        return Ok(());
    }
    sqlx::query(INSERT_CONSENTS)
        .bind(column(consents, |consent| consent.id))
        .bind(column(consents, |consent| consent.user_id.as_deref()))
        .bind(ConsentRecord::DOCUMENT_TYPE)
        .bind(column(consents, |consent| consent.document_version.as_str()))
        .bind(column(consents, |consent| consent.preferences.to_json()))
        .bind(column(consents, |consent| consent.ip_address.as_deref()))
        .bind(column(consents, |consent| consent.user_agent.as_deref()))
        .bind(column(consents, |consent| consent.created_at.to_datetime()))
        .execute(connection)
        .await?;
    Ok(())
}
