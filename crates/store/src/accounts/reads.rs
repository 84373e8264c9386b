//! A user's consents and attribution.
//!
//! The newest consent is the one that was applied last (`stored_order`): ids and times are as good as the clock of the instance
//! that took it. Rows from before there was an order share one number on PostgreSQL, and go by their time.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Postgres, Sqlite};

use super::tables::{AccountTables, Time};
use crate::{AsOf, StoreError};
use weir_domain::{Attribution, ConsentRecord, StoredConsent};

/// Reads of what was acknowledged, as of a position of the main journal.
#[async_trait]
pub trait MainReads: Send + Sync + 'static {
    /// The version on the user's newest cookie consent.
    async fn consent_version(&self, user_id: &str, as_of: Option<AsOf>) -> Result<Option<String>, StoreError>;
    /// The user's consents, the newest first.
    async fn consents(&self, user_id: &str, most: i64, as_of: Option<AsOf>) -> Result<Vec<StoredConsent>, StoreError>;
    /// The user's attribution; `None` when there is no such user.
    async fn attribution(&self, user_id: &str, as_of: Option<AsOf>) -> Result<Option<Attribution>, StoreError>;
}

macro_rules! on_engine {
    ($engine:ty, $time:ty) => {
        #[async_trait]
        impl MainReads for AccountTables<$engine> {
            async fn consent_version(&self, user_id: &str, as_of: Option<AsOf>) -> Result<Option<String>, StoreError> {
                let row: Option<(String,)> = sqlx::query_as(
                    "SELECT document_version FROM consent_records WHERE user_id = $1 AND document_type = $2
                     ORDER BY stored_order DESC, created_at DESC, id DESC LIMIT 1",
                )
                .bind(user_id)
                .bind(ConsentRecord::DOCUMENT_TYPE)
                .fetch_optional(&mut *self.connection(as_of).await?)
                .await?;
                Ok(row.map(|(version,)| version))
            }

            async fn consents(&self, user_id: &str, most: i64, as_of: Option<AsOf>) -> Result<Vec<StoredConsent>, StoreError> {
                let rows: Vec<(String, String, bool, $time)> = sqlx::query_as(
                    "SELECT document_type, document_version, accepted, created_at FROM consent_records
                     WHERE user_id = $1 ORDER BY stored_order DESC, created_at DESC, id DESC LIMIT $2",
                )
                .bind(user_id)
                .bind(most)
                .fetch_all(&mut *self.connection(as_of).await?)
                .await?;
                rows.into_iter()
                    .map(|(document_type, document_version, accepted, created_at)| {
                        let created_at = Time::read(created_at)?;
                        Ok(StoredConsent { document_type, document_version, accepted, created_at })
                    })
                    .collect()
            }

            async fn attribution(&self, user_id: &str, as_of: Option<AsOf>) -> Result<Option<Attribution>, StoreError> {
                let row = sqlx::query(
                    "SELECT invited_by_id, signup_referral_code, first_referrer_url, first_landing_page,
                            acquired_via_creator_id, utm_source, utm_medium, utm_campaign, utm_term, utm_content,
                            registration_device, registration_country, created_at
                     FROM users WHERE id = $1",
                )
                .bind(user_id)
                .fetch_optional(&mut *self.connection(as_of).await?)
                .await?;
                let Some(row) = row else { return Ok(None) };
                let text = |index: usize| -> Result<Option<String>, StoreError> { Ok(sqlx::Row::try_get(&row, index)?) };
                let created_at: $time = sqlx::Row::try_get(&row, 12)?;
                Ok(Some(Attribution {
                    referred_by: text(0)?,
                    referral_code: text(1)?,
                    first_referrer_url: text(2)?,
                    first_landing_page: text(3)?,
                    acquired_via_creator_id: text(4)?,
                    utm: [text(5)?, text(6)?, text(7)?, text(8)?, text(9)?],
                    registration_device: text(10)?,
                    registration_country: text(11)?,
                    created_at: Time::read(created_at)?,
                }))
            }
        }
    };
}

on_engine!(Postgres, DateTime<Utc>);
on_engine!(Sqlite, String);
