//! The key that makes a batch's item idempotent.

use serde::{Deserialize, Serialize};

use super::{UnixMillis, sha256};

/// How long a key is known after its item was stored.
pub const BATCH_KEY_LIFETIME_MS: i64 = 24 * 3_600_000;

/// The first half of SHA-256 over the item's type and the client's key: of one size, however long the key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchKey(pub [u8; 16]);

impl BatchKey {
    /// The same key of another type of item is another key.
    #[must_use]
    pub fn new(item_type: &str, key: &str) -> Self {
        let digest = sha256(&[item_type.as_bytes(), &[0], key.as_bytes()]);
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(half)
    }
}

/// A key as it is stored beside its item. Field order is the journal's format: append, never reorder (see `record`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyEntry {
    pub key: BatchKey,
    pub stored_at: UnixMillis,
}

/// What the item with a key was answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachedResponse {
    /// The id that was given, if items of this type get one.
    pub id: Option<uuid::Uuid>,
    /// A session's `createdAt`.
    pub created_at: Option<UnixMillis>,
}
