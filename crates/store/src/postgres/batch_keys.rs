//! The keys of batches' items: written with the records that they came with, read by requests and at a start.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::StoreError;
use super::super::fold::Fold;
use super::super::keys::{BatchKeyTable, StoredKey};
use super::analytics::PostgresAnalytics;
use super::{column, unix_millis};
use weir_domain::{BatchKey, KeyedAnswer, UnixMillis};

const INSERT_KEYS: &str = "
    INSERT INTO batch_keys (key, answer_id, answer_created_at, stored_at)
    SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::timestamptz[], $4::timestamptz[])
    ON CONFLICT (key) DO UPDATE SET answer_id = excluded.answer_id, answer_created_at = excluded.answer_created_at,
        stored_at = excluded.stored_at";

#[async_trait]
impl BatchKeyTable for PostgresAnalytics {
    async fn batch_key(&self, key: BatchKey, since: UnixMillis) -> Result<Option<StoredKey>, StoreError> {
        let row: Option<KeyRow> = sqlx::query_as(
            "SELECT key, answer_id, answer_created_at, stored_at FROM batch_keys WHERE key = $1 AND stored_at >= $2",
        )
        .bind(key.0.to_vec())
        .bind(since.to_datetime())
        .fetch_optional(&self.requests)
        .await?;
        Ok(row.and_then(stored_key))
    }

    async fn batch_keys(&self, since: UnixMillis, most: i64) -> Result<Vec<StoredKey>, StoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(
            "SELECT key, answer_id, answer_created_at, stored_at FROM batch_keys
             WHERE stored_at >= $1 ORDER BY stored_at DESC LIMIT $2",
        )
        .bind(since.to_datetime())
        .bind(most)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(stored_key).collect())
    }
}

/// Key, answer's id, answer's time, when it was stored.
type KeyRow = (Vec<u8>, Option<Uuid>, Option<DateTime<Utc>>, DateTime<Utc>);

/// A key that was made by hand is none of ours.
fn stored_key((key, id, created_at, stored_at): KeyRow) -> Option<StoredKey> {
    let answer = KeyedAnswer { id, created_at: created_at.map(unix_millis) };
    Some(StoredKey { key: BatchKey(key.try_into().ok()?), answer, stored_at: unix_millis(stored_at) })
}

pub(super) async fn insert_keys(connection: &mut PgConnection, fold: &Fold<'_>) -> Result<(), StoreError> {
    if fold.keys.is_empty() {
        return Ok(());
    }
    // A statement may not change a row twice; in one order, so that no two writers wait for each other in a circle.
    let by_key: BTreeMap<BatchKey, _> = fold.keys.iter().map(|(mark, answer)| (mark.key, (mark, answer))).collect();
    let keys: Vec<_> = by_key.into_values().collect();
    sqlx::query(INSERT_KEYS)
        .bind(column(&keys, |(mark, _)| mark.key.0.to_vec()))
        .bind(column(&keys, |(_, answer)| answer.id))
        .bind(column(&keys, |(_, answer)| answer.created_at.map(UnixMillis::to_datetime)))
        .bind(column(&keys, |(mark, _)| mark.stored_at.to_datetime()))
        .execute(connection)
        .await?;
    Ok(())
}
