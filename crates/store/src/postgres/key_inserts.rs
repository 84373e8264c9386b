//! The keys of batches' items, written with the records that they came with.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use weir_domain::{BatchKey, UnixMillis};

use super::super::StoreError;
use super::super::fold::Fold;
use super::column;

const INSERT_KEYS: &str = "
    INSERT INTO batch_keys (key, answer_id, answer_created_at, stored_at)
    SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::timestamptz[], $4::timestamptz[])
    ON CONFLICT (key) DO UPDATE SET answer_id = excluded.answer_id, answer_created_at = excluded.answer_created_at,
        stored_at = excluded.stored_at";

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
