//! The `settings` table of the main database, behind a trait of its own: the command line and the server's cache use it,
//! the writer does not.

use async_trait::async_trait;

use super::StoreError;

/// Reads and writes settings. Which keys and values are allowed is `crate::settings`' subject.
#[async_trait]
pub trait SettingsTable: Send + Sync + 'static {
    /// All rows, in the order of their keys.
    async fn settings(&self) -> Result<Vec<(String, String)>, StoreError>;
    /// Writes one row, new or not.
    async fn set_setting(&self, key: &str, value: &str) -> Result<(), StoreError>;
}
