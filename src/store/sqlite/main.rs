//! The main database on SQLite.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool};

use super::super::migrations;
use super::super::position::{PositionTable, Positions};
use super::super::{Applied, Maintained, SettingsTable, Sink, Step, StoreError};
use super::{insert_sql, pool};
use crate::domain::{ConsentRecord, MainRecord, UnixMillis};

const CONSENT_COLUMNS: [&str; 9] = [
    "id",
    "user_id",
    "document_type",
    "document_version",
    "accepted",
    "preferences",
    "ip_address",
    "user_agent",
    "created_at",
];

/// The main database in a SQLite file.
pub struct SqliteMain {
    pool: SqlitePool,
    positions: PositionTable<Sqlite>,
}

impl SqliteMain {
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
impl Sink for SqliteMain {
    type Record = MainRecord;

    fn describe(&self) -> &'static str {
        "main on sqlite"
    }

    fn batch_records(&self) -> usize {
        2_000
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(migrations::migrator(migrations::MAIN_SQLITE).run(&self.pool).await?)
    }

    fn positions(&self) -> &dyn Positions {
        &self.positions
    }

    async fn apply(&self, step: &Step, records: &[MainRecord]) -> Result<Applied, StoreError> {
        const ROWS: usize = 200;
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        PositionTable::<Sqlite>::advance(&mut transaction, step).await?;
        for chunk in records.chunks(ROWS) {
            let sql = insert_sql("consent_records", &CONSENT_COLUMNS, chunk.len());
            let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == ROWS);
            for record in chunk {
                let MainRecord::Consent(consent) = record;
                query = query
                    .bind(consent.id.to_string())
                    .bind(consent.user_id.clone())
                    .bind(ConsentRecord::DOCUMENT_TYPE)
                    .bind(consent.document_version.clone())
                    .bind(true)
                    .bind(consent.preferences.to_json())
                    .bind(consent.ip_address.clone())
                    .bind(consent.user_agent.clone())
                    .bind(consent.created_at.to_rfc3339());
            }
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(Applied { rows: vec![("consent_records", records.len() as u64)] })
    }

    async fn maintain(&self, _: UnixMillis, _: u32) -> Result<Maintained, StoreError> {
        Ok(Maintained::default())
    }
}

#[async_trait]
impl SettingsTable for SqliteMain {
    async fn settings(&self) -> Result<Vec<(String, String)>, StoreError> {
        Ok(sqlx::query_as("SELECT key, value FROM settings ORDER BY key").fetch_all(&self.pool).await?)
    }

    async fn set_setting(&self, key: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        )
        .bind(key)
        .bind(value)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
