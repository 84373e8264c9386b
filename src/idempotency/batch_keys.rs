//! The keys under which batches' items were stored in the last 24 hours: sent again, an item gets its first answer.
//!
//! Invariants: an item with a key is stored only when it is certain that the key was not used before. Those in the journal
//! are read before the first request, those in the database as soon as it is there. When more are in use than memory
//! holds, the oldest are left to the database, and a key that memory does not know is looked up there, behind everything
//! that was acknowledged before its batch. While the answer cannot be had, the item is refused, honestly. Each instance
//! knows the keys that it used itself or found in the database.
//! Cost: one look at a table in memory, about 0.2 µs; past a million keys, one look-up by primary key an item.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::single_flight::{InFlight, SingleFlight, SingleFlightError};
use crate::read::ReadBarrier;
use weir_domain::{BATCH_KEY_LIFETIME_MS, BatchKey, CachedResponse, Clock, UnixMillis};
use weir_journal::{Ack, AppendError, Position};
use weir_store::{BatchKeyTable, StoreError, StoredKey};

/// The most keys in memory: 100 to 200 MB of them.
const CAPACITY: usize = 1_000_000;
/// How many old keys that wait for the disk are looked at to find one that can be left to the database.
const LOOKS: usize = 64;
/// Beyond this many times the keys in memory, the list of their order is cleared of those that are gone.
const STALE_SHARE: usize = 2;

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
    answers: SingleFlight<BatchKey, CachedResponse>,
    /// The keys in memory, about the oldest first, and some that are gone.
    order: Mutex<VecDeque<BatchKey>>,
    /// The keys of earlier runs were read.
    loaded: AtomicBool,
    /// Until then some keys may be in the database only.
    overflown_until_ms: AtomicU64,
    journal_read_behind: AtomicU64,
    capacity: usize,
    table: Arc<dyn BatchKeyTable>,
    read_barrier: ReadBarrier,
    clock: Arc<Clock>,
}

/// What one batch sees: everything that was acknowledged before it came. One look-up that fails is enough: the others
/// would wait as long for the same word.
pub struct KeyView<'a> {
    keys: &'a BatchKeys,
    moment: Position,
    out_of_reach: bool,
}

impl KeyView<'_> {
    /// What the item with this key was answered with, once that is durable; `None` when the key is new.
    ///
    /// # Errors
    /// When it is not certain.
    pub async fn answer(&mut self, key: BatchKey) -> Result<Option<CachedResponse>, KeyError> {
        if let Some(answer) = self.keys.in_memory(key).await {
            return Ok(Some(answer));
        }
        if self.out_of_reach {
            return Err(KeyError::Unknown);
        }
        if self.keys.is_new()? {
            return Ok(None);
        }
        let since = UnixMillis(self.keys.clock.now().0 - BATCH_KEY_LIFETIME_MS);
        let look_up = |as_of| self.keys.table.batch_key(key, since, as_of);
        let Ok(found) = self.keys.read_barrier.read_as_of(self.moment, look_up).await else {
            self.out_of_reach = true;
            return Err(KeyError::Unknown);
        };
        Ok(found.map(|stored| stored.answer))
    }
}

impl BatchKeys {
    /// No keys yet; `read_barrier` is the analytics database's.
    #[must_use]
    pub fn new(table: Arc<dyn BatchKeyTable>, read_barrier: ReadBarrier, clock: Arc<Clock>) -> Self {
        Self::with_capacity(CAPACITY, table, read_barrier, clock)
    }

    /// The same with room for so many keys in memory.
    #[must_use]
    pub fn with_capacity(
        capacity: usize,
        table: Arc<dyn BatchKeyTable>,
        read_barrier: ReadBarrier,
        clock: Arc<Clock>,
    ) -> Self {
        Self {
            answers: SingleFlight::new(capacity, BATCH_KEY_LIFETIME_MS),
            order: Mutex::default(),
            loaded: AtomicBool::new(false),
            overflown_until_ms: AtomicU64::new(0),
            journal_read_behind: AtomicU64::new(0),
            capacity,
            table,
            read_barrier,
            clock,
        }
    }

    /// The keys as one batch asks for them.
    #[must_use]
    pub fn view(&self) -> KeyView<'_> {
        KeyView { keys: self, moment: self.read_barrier.moment(), out_of_reach: false }
    }

    async fn in_memory(&self, key: BatchKey) -> Option<CachedResponse> {
        self.answers.get(key, self.clock.monotonic_ms()).await
    }

    /// Whether a key that memory does not have is certainly new; an error while nobody knows.
    fn is_new(&self) -> Result<bool, KeyError> {
        if !self.are_loaded() {
            return Err(KeyError::Unknown);
        }
        Ok(self.clock.monotonic_ms() >= self.overflown_until_ms.load(Ordering::Acquire))
    }

    /// Appends an item under its key, unless another one was faster: then its answer is this one's too.
    ///
    /// # Errors
    /// When it was not appended.
    pub fn begin(
        &self,
        key: BatchKey,
        mut append: impl FnMut() -> Result<(CachedResponse, Ack), AppendError>,
    ) -> Result<InFlight<CachedResponse>, KeyError> {
        let now_ms = self.clock.monotonic_ms();
        let mut begun = self.answers.begin(key, now_ms, &mut append);
        if begun.as_ref().err() == Some(&SingleFlightError::Full) && self.make_room() {
            begun = self.answers.begin(key, now_ms, append);
        }
        match begun {
            Ok(pending) => {
                if pending.is_ours() {
                    self.order().push_back(key);
                }
                Ok(pending)
            }
            Err(SingleFlightError::Append(error)) => Err(error.into()),
            Err(SingleFlightError::Full) => Err(KeyError::Unknown),
        }
    }

    /// Waits until the item is durable.
    ///
    /// # Errors
    /// When it will not be.
    pub async fn settle(&self, key: BatchKey, pending: InFlight<CachedResponse>) -> Result<(), AppendError> {
        self.answers.settle(key, pending).await.map(|_| ())
    }

    /// Takes in a key of an earlier run, if it still counts.
    pub fn remember(&self, key: BatchKey, answer: CachedResponse, stored_at: UnixMillis) {
        let age_ms = self.clock.now().0 - stored_at.0;
        if age_ms >= BATCH_KEY_LIFETIME_MS {
            return;
        }
        if self.answers.remember(key, answer, self.clock.monotonic_ms(), age_ms) {
            self.order().push_back(key);
        } else {
            self.overflow();
        }
    }

    /// What lies behind this position was read from the journal: a database that lacks more than that has gone back, and does
    /// not know all keys of earlier runs until its writer has brought it up again.
    pub fn read_from_journal_behind(&self, position: Position) {
        self.journal_read_behind.store(position.0, Ordering::Release);
    }

    /// Reads the keys of earlier runs that are applied already.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn load(&self) -> Result<(), StoreError> {
        let since = UnixMillis(self.clock.now().0 - BATCH_KEY_LIFETIME_MS);
        let most = i64::try_from(self.capacity).unwrap_or(i64::MAX);
        let as_of = self.read_barrier.as_of(Position(self.journal_read_behind.load(Ordering::Acquire)));
        let found = self.table.batch_keys(since, most, Some(as_of)).await?;
        if found.len() >= self.capacity {
            self.overflow();
        }
        // The newest come first.
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
        // Keys whose records failed are gone from memory, and may stand behind one that lives for a day.
        if order.len() > STALE_SHARE * self.answers.entries() + LOOKS {
            order.retain(|key| self.answers.holds(*key));
        }
    }

    /// How many keys are in memory, and how many fit.
    #[must_use]
    pub fn entries_and_capacity(&self) -> (usize, usize) {
        (self.answers.entries(), self.capacity)
    }

    /// Leaves the oldest durable key to the database.
    fn make_room(&self) -> bool {
        // Before a key is gone from memory: whoever misses it there must know that it may be elsewhere.
        self.overflow();
        let mut order = self.order();
        let mut waiting = 0;
        while waiting < LOOKS {
            let Some(oldest) = order.pop_front() else { return false };
            match self.answers.forget(oldest) {
                Some(true) => return true,
                Some(false) => {
                    waiting += 1;
                    order.push_back(oldest);
                }
                None => {}
            }
        }
        false
    }

    fn overflow(&self) {
        let until_ms = self.clock.monotonic_ms() + BATCH_KEY_LIFETIME_MS.unsigned_abs();
        self.overflown_until_ms.fetch_max(until_ms, Ordering::AcqRel);
    }

    fn order(&self) -> std::sync::MutexGuard<'_, VecDeque<BatchKey>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
