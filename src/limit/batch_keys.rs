//! The keys under which batches' items were stored in the last 24 hours.
//!
//! Invariant: an item with a key is stored only while all keys that may have been used before are known: those in the
//! journal are read before the first request, those in the database as soon as it is there. Until then items with keys
//! are refused, honestly. Each instance knows the keys that it used itself or read at its start.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Once, OnceError, Pending};
use crate::domain::{BATCH_KEY_LIFETIME_MS, BatchKey, KeyedAnswer, UnixMillis};
use crate::journal::{Ack, AppendError};

/// The most keys that are known: about 100 MB of them.
pub const CAPACITY: usize = 1_000_000;

/// Why an item with a key was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the keys of earlier runs are not read yet")]
    NotLoaded,
    #[error(transparent)]
    Once(#[from] OnceError),
}

/// The table of keys.
pub struct BatchKeys {
    answers: Once<BatchKey, KeyedAnswer>,
    loaded: AtomicBool,
}

impl Default for BatchKeys {
    fn default() -> Self {
        Self { answers: Once::new(CAPACITY, BATCH_KEY_LIFETIME_MS), loaded: AtomicBool::new(false) }
    }
}

impl BatchKeys {
    /// What the item with this key was answered with, once that is durable.
    pub async fn answer(&self, key: BatchKey, now: UnixMillis) -> Option<KeyedAnswer> {
        self.answers.get(key, now).await
    }

    /// Appends an item under its key, unless another one was faster: then its answer is this one's too.
    ///
    /// # Errors
    /// When it was not appended.
    pub fn begin(
        &self,
        key: BatchKey,
        now: UnixMillis,
        append: impl FnOnce() -> Result<(KeyedAnswer, Ack), AppendError>,
    ) -> Result<Pending<KeyedAnswer>, KeyError> {
        if !self.are_loaded() {
            return Err(KeyError::NotLoaded);
        }
        Ok(self.answers.begin(key, now, append)?)
    }

    /// Waits until the item is durable.
    ///
    /// # Errors
    /// When it will not be.
    pub async fn settle(&self, key: BatchKey, pending: Pending<KeyedAnswer>) -> Result<(), AppendError> {
        self.answers.settle(key, pending).await.map(|_| ())
    }

    /// Takes in a key of an earlier run.
    pub fn remember(&self, key: BatchKey, answer: KeyedAnswer, stored_at: UnixMillis) {
        self.answers.remember(key, answer, stored_at);
    }

    /// All keys of earlier runs are known now.
    pub fn loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// Whether they are.
    #[must_use]
    pub fn are_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Forgets what is over.
    pub fn sweep(&self, now: UnixMillis) {
        self.answers.sweep(now);
    }

    /// How many keys are known, and how many may be.
    #[must_use]
    pub fn entries_and_capacity(&self) -> (usize, usize) {
        (self.answers.entries(), self.answers.capacity())
    }
}
