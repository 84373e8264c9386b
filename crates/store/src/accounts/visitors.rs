//! Visitors as requests and a start look them up.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Postgres, Sqlite};

use super::tables::{AccountTables, Time};
use crate::{AsOf, StoreError};
use weir_domain::{Fingerprint, RecentVisitor, UnixMillis, VisitorProfile, VisitorToken};

/// Looks visitors up, as of a position of the main journal. They are written by the sink.
#[async_trait]
pub trait VisitorTable: Send + Sync + 'static {
    /// Whether there is a visitor with this token.
    async fn visitor_exists(&self, token: VisitorToken, as_of: Option<AsOf>) -> Result<bool, StoreError>;
    /// The visitor with this token, unless it is some user's already.
    async fn visitor_profile(
        &self,
        token: VisitorToken,
        as_of: Option<AsOf>,
    ) -> Result<Option<VisitorProfile>, StoreError>;
    /// Visitors since a time that have a fingerprint, the newest first.
    async fn recent_visitors(
        &self,
        since: UnixMillis,
        most: i64,
        as_of: Option<AsOf>,
    ) -> Result<Vec<RecentVisitor>, StoreError>;
    /// The tokens of the newest visitors.
    async fn newest_tokens(&self, most: i64, as_of: Option<AsOf>) -> Result<Vec<VisitorToken>, StoreError>;
}

macro_rules! on_engine {
    ($engine:ty, $time:ty) => {
        #[async_trait]
        impl VisitorTable for AccountTables<$engine> {
            async fn visitor_exists(&self, token: VisitorToken, as_of: Option<AsOf>) -> Result<bool, StoreError> {
                let row: Option<(i32,)> = sqlx::query_as("SELECT 1 FROM visitors WHERE token = $1")
                    .bind(token.to_string())
                    .fetch_optional(&mut *self.connection(as_of).await?)
                    .await?;
                Ok(row.is_some())
            }

            async fn visitor_profile(
                &self,
                token: VisitorToken,
                as_of: Option<AsOf>,
            ) -> Result<Option<VisitorProfile>, StoreError> {
                let row: Option<(Option<String>, Option<String>)> =
                    sqlx::query_as("SELECT user_agent, country FROM visitors WHERE token = $1 AND user_id IS NULL")
                        .bind(token.to_string())
                        .fetch_optional(&mut *self.connection(as_of).await?)
                        .await?;
                Ok(row.map(|(user_agent, country)| VisitorProfile { user_agent, country }))
            }

            async fn recent_visitors(
                &self,
                since: UnixMillis,
                most: i64,
                as_of: Option<AsOf>,
            ) -> Result<Vec<RecentVisitor>, StoreError> {
                let rows: Vec<(String, String, $time, bool)> = sqlx::query_as(
                    "SELECT token, fingerprint, created_at, user_id IS NOT NULL FROM visitors
                     WHERE fingerprint IS NOT NULL AND created_at >= $1 ORDER BY created_at DESC LIMIT $2",
                )
                .bind(<$time>::of(since))
                .bind(most)
                .fetch_all(&mut *self.connection(as_of).await?)
                .await?;
                let mut recent = Vec::with_capacity(rows.len());
                for (token, fingerprint, created_at, is_linked) in rows {
                    // A row that was made by hand is no visitor of ours.
                    if let (Some(token), Some(fingerprint)) =
                        (VisitorToken::parse(&token), Fingerprint::from_hex(&fingerprint))
                    {
                        recent.push(RecentVisitor { token, fingerprint, created_at: created_at.read()?, is_linked });
                    }
                }
                Ok(recent)
            }

            async fn newest_tokens(&self, most: i64, as_of: Option<AsOf>) -> Result<Vec<VisitorToken>, StoreError> {
                let rows: Vec<(String,)> =
                    sqlx::query_as("SELECT token FROM visitors ORDER BY created_at DESC LIMIT $1")
                        .bind(most)
                        .fetch_all(&mut *self.connection(as_of).await?)
                        .await?;
                Ok(rows.iter().filter_map(|(token,)| VisitorToken::parse(token)).collect())
            }
        }
    };
}

on_engine!(Postgres, DateTime<Utc>);
on_engine!(Sqlite, String);
