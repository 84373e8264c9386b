//! The keys of batches' items, read by requests and at a start.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Postgres;
use uuid::Uuid;

use super::super::StoreError;
use super::super::keys::{BatchKeyTable, StoredKey};
use super::super::position::{AsOf, PositionTable};
use super::analytics::PostgresAnalytics;
use super::unix_millis;
use weir_domain::{BatchKey, CachedResponse, UnixMillis};

#[async_trait]
impl BatchKeyTable for PostgresAnalytics {
    async fn batch_key(
        &self,
        key: BatchKey,
        since: UnixMillis,
        as_of: Option<AsOf>,
    ) -> Result<Option<StoredKey>, StoreError> {
        let mut connection = self.requests.acquire().await?;
        PositionTable::<Postgres>::check(&mut connection, as_of).await?;
        let row: Option<KeyRow> = sqlx::query_as(
            "SELECT key, answer_id, answer_created_at, stored_at FROM batch_keys WHERE key = $1 AND stored_at >= $2",
        )
        .bind(key.0.to_vec())
        .bind(since.to_datetime())
        .fetch_optional(&mut *connection)
        .await?;
        Ok(row.and_then(stored_key))
    }

    async fn batch_keys(
        &self,
        since: UnixMillis,
        most: i64,
        as_of: Option<AsOf>,
    ) -> Result<Vec<StoredKey>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        PositionTable::<Postgres>::check(&mut connection, as_of).await?;
        let rows: Vec<KeyRow> = sqlx::query_as(
            "SELECT key, answer_id, answer_created_at, stored_at FROM batch_keys
             WHERE stored_at >= $1 ORDER BY stored_at DESC LIMIT $2",
        )
        .bind(since.to_datetime())
        .bind(most)
        .fetch_all(&mut *connection)
        .await?;
        Ok(rows.into_iter().filter_map(stored_key).collect())
    }
}

/// Key, answer's id, answer's time, when it was stored.
type KeyRow = (Vec<u8>, Option<Uuid>, Option<DateTime<Utc>>, DateTime<Utc>);

/// A key that was made by hand is none of ours.
fn stored_key((key, id, created_at, stored_at): KeyRow) -> Option<StoredKey> {
    let answer = CachedResponse { id, created_at: created_at.map(unix_millis) };
    Some(StoredKey { key: BatchKey(key.try_into().ok()?), answer, stored_at: unix_millis(stored_at) })
}
