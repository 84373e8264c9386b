//! The keys under which batches' items were stored in the last 24 hours: sent again, an item gets its first answer.
//!
//! Invariants: an item with a key is stored only when it is certain that the key was not used before. Those in the journal
//! are read before the first request, those in the database as soon as it is there. When more are in use than memory
//! holds, the oldest are left to the database, and a key that memory does not know is looked up there, behind everything
//! that is acknowledged. While the answer cannot be had, the item is refused, honestly. Each instance knows the keys that
//! it used itself or found in the database.
//! Cost: one look at a table in memory, about 0.2 µs; past a million keys, one look-up by primary key an item.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::{BATCH_KEY_LIFETIME_MS, BatchKey, Clock, KeyedAnswer, UnixMillis};
use crate::journal::{Ack, AppendError};
use crate::limit::{Once, OnceError, Pending};
use crate::read::Freshness;
use crate::store::{BatchKeyTable, StoreError, StoredKey};

/// The most keys in memory: about 120 MB of them.
const CAPACITY: usize = 1_000_000;
/// How many old keys are looked at to find one that can be left to the database.
const LOOKS: usize = 64;

/// Why it is not certain that a key is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the keys of earlier items are out of reach")]
    Unknown,
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// The keys in use.
pub struct BatchKeys {
    answers: Once<BatchKey, KeyedAnswer>,
    /// The keys in memory, the oldest first.
    order: Mutex<VecDeque<BatchKey>>,
    /// The keys of earlier runs were read.
    loaded: AtomicBool,
    /// Some keys are in the database only.
    overflown: AtomicBool,
    capacity: usize,
    table: Arc<dyn BatchKeyTable>,
    freshness: Freshness,
    clock: Arc<Clock>,
}

impl BatchKeys {
    /// No keys yet; `freshness` is the analytics database's.
    #[must_use]
    pub fn new(table: Arc<dyn BatchKeyTable>, freshness: Freshness, clock: Arc<Clock>) -> Self {
        Self::with_capacity(CAPACITY, table, freshness, clock)
    }

    /// The same with room for so many keys in memory.
    #[must_use]
    pub fn with_capacity(
        capacity: usize,
        table: Arc<dyn BatchKeyTable>,
        freshness: Freshness,
        clock: Arc<Clock>,
    ) -> Self {
        Self {
            answers: Once::new(capacity, BATCH_KEY_LIFETIME_MS),
            order: Mutex::default(),
            loaded: AtomicBool::new(false),
            overflown: AtomicBool::new(false),
            capacity,
            table,
            freshness,
            clock,
        }
    }

    /// What the item with this key was answered with, once that is durable; `None` when the key is new.
    ///
    /// # Errors
    /// When it is not certain.
    pub async fn answer(&self, key: BatchKey) -> Result<Option<KeyedAnswer>, KeyError> {
        if let Some(answer) = self.answers.get(key, self.clock.monotonic_ms()).await {
            return Ok(Some(answer));
        }
        if !self.are_loaded() {
            return Err(KeyError::Unknown);
        }
        if !self.overflown.load(Ordering::Acquire) {
            return Ok(None);
        }
        let since = UnixMillis(self.clock.now().0 - BATCH_KEY_LIFETIME_MS);
        let found = self.freshness.read(self.table.batch_key(key, since)).await.map_err(|_| KeyError::Unknown)?;
        Ok(found.map(|stored| stored.answer))
    }

    /// Appends an item under its key, unless another one was faster: then its answer is this one's too.
    ///
    /// # Errors
    /// When it was not appended.
    pub fn begin(
        &self,
        key: BatchKey,
        mut append: impl FnMut() -> Result<(KeyedAnswer, Ack), AppendError>,
    ) -> Result<Pending<KeyedAnswer>, KeyError> {
        let now_ms = self.clock.monotonic_ms();
        let mut begun = self.answers.begin(key, now_ms, &mut append);
        if begun.as_ref().err() == Some(&OnceError::Full) && self.make_room() {
            begun = self.answers.begin(key, now_ms, append);
        }
        match begun {
            Ok(pending) => {
                if pending.is_ours() {
                    self.order().push_back(key);
                }
                Ok(pending)
            }
            Err(OnceError::Append(error)) => Err(error.into()),
            Err(OnceError::Full) => Err(KeyError::Unknown),
        }
    }

    /// Waits until the item is durable.
    ///
    /// # Errors
    /// When it will not be.
    pub async fn settle(&self, key: BatchKey, pending: Pending<KeyedAnswer>) -> Result<(), AppendError> {
        self.answers.settle(key, pending).await.map(|_| ())
    }

    /// Takes in a key of an earlier run, if it still counts.
    pub fn remember(&self, key: BatchKey, answer: KeyedAnswer, stored_at: UnixMillis) {
        let age_ms = self.clock.now().0 - stored_at.0;
        if age_ms >= BATCH_KEY_LIFETIME_MS {
            return;
        }
        if self.answers.remember(key, answer, self.clock.monotonic_ms(), age_ms) {
            self.order().push_back(key);
        } else {
            self.overflown.store(true, Ordering::Release);
        }
    }

    /// Reads the keys of earlier runs that are applied already.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn load(&self) -> Result<(), StoreError> {
        let since = UnixMillis(self.clock.now().0 - BATCH_KEY_LIFETIME_MS);
        let most = i64::try_from(self.capacity).unwrap_or(i64::MAX);
        let found = self.table.batch_keys(since, most).await?;
        if found.len() >= self.capacity {
            self.overflown.store(true, Ordering::Release);
        }
        // The newest come first; memory leaves the oldest to the database.
        for StoredKey { key, answer, stored_at } in found.into_iter().rev() {
            self.remember(key, answer, stored_at);
        }
        self.loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the keys of earlier runs were read.
    #[must_use]
    pub fn are_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Forgets what is over.
    pub fn sweep(&self) {
        let now_ms = self.clock.monotonic_ms();
        self.answers.sweep(now_ms);
        let mut order = self.order();
        while order.front().is_some_and(|oldest| !self.answers.holds(*oldest)) {
            order.pop_front();
        }
    }

    /// How many keys are in memory, and how many fit.
    #[must_use]
    pub fn entries_and_capacity(&self) -> (usize, usize) {
        (self.answers.entries(), self.capacity)
    }

    /// Leaves the oldest durable key to the database.
    fn make_room(&self) -> bool {
        let mut order = self.order();
        for _ in 0..LOOKS {
            let Some(oldest) = order.pop_front() else { return false };
            // Before it is gone from memory: whoever misses it there must know that it may be elsewhere.
            self.overflown.store(true, Ordering::Release);
            match self.answers.forget(oldest) {
                Some(true) => return true,
                Some(false) => order.push_back(oldest),
                None => {}
            }
        }
        false
    }

    fn order(&self) -> std::sync::MutexGuard<'_, VecDeque<BatchKey>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
