//! The keys of batches' items that were applied, as a start reads them back.

use async_trait::async_trait;

use super::{AsOf, StoreError};
use weir_domain::{BatchKey, CachedResponse, UnixMillis};

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredKey {
    pub key: BatchKey,
    pub answer: CachedResponse,
    pub stored_at: UnixMillis,
}

/// Reads keys, as of a position of the analytics journal. They are written with their items, by the sink, and deleted by maintenance.
#[async_trait]
pub trait BatchKeyTable: Send + Sync + 'static {
    /// The key, if it was stored since a time.
    async fn batch_key(
        &self,
        key: BatchKey,
        since: UnixMillis,
        as_of: Option<AsOf>,
    ) -> Result<Option<StoredKey>, StoreError>;

    /// The keys since a time, the newest first, at most this many.
    async fn batch_keys(&self, since: UnixMillis, most: i64, as_of: Option<AsOf>)
    -> Result<Vec<StoredKey>, StoreError>;
}
