//! What the commit thread needs of a log. Plain segment files implement it (`segments`); the `journal` benchmark
//! implements it on SQLite, to show what the choice is worth.

use std::io;

use super::Position;

/// Why a batch is not on disk.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {source}")]
pub struct StorageError {
    /// What was tried, e.g. "sync segment".
    pub action: &'static str,
    #[source]
    pub source: io::Error,
}

impl StorageError {
    pub fn while_trying(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self { action, source }
    }
}

/// An append-only log with all-or-nothing batches.
pub trait Storage: Send + 'static {
    /// The last position that is durable.
    fn last(&self) -> Position;

    /// Appends the payloads and makes them durable before it returns the last one's position.
    ///
    /// # Errors
    /// When any of it failed: then no payload of the batch will ever be read, and a later call starts afresh.
    fn append(&mut self, payloads: &[Vec<u8>]) -> Result<Position, StorageError>;

    /// Gives up what is open after a failure or a panic; the next append starts on fresh ground.
    fn abandon(&mut self);

    /// Tries, while nothing is to be appended, whether appending would work again.
    ///
    /// # Errors
    /// When it would not.
    fn probe(&mut self) -> Result<(), StorageError>;

    /// Whether what was appended can be found again by whoever opens the log next.
    ///
    /// # Errors
    /// When somebody deleted or moved it.
    fn check_in_place(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// The bytes that a payload of this length takes on disk.
    fn cost(&self, payload_bytes: usize) -> u64;

    /// The bytes that all files take now.
    fn disk_bytes(&self) -> u64;

    /// Closes the current unit of deletion, so that it can be deleted once it is applied.
    ///
    /// # Errors
    /// When the next unit cannot be begun.
    fn seal(&mut self) -> Result<(), StorageError>;

    /// Called once after the last append: everything is durable and the stop was orderly.
    fn close(&mut self);
}
