//! Single flight: what is to be made once under a key, however many ask for it at the same instant. Visitors by fingerprint,
//! a batch's items by their keys.
//!
//! Invariants: whoever finds an entry waits for the record behind it to be durable, as its maker does; an entry whose
//! record did not become durable is gone before anybody is told. Making happens under the entry's lock and must not wait.
//! At most `capacity` entries are kept; what is done without room is the caller's decision. Lifetimes are measured on
//! the monotonic clock: a step of the wall clock neither merges nor parts anybody.
//! Cost: one shard lock and one hash, about 0.2 µs; about 100 bytes an entry.

use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;
use futures_util::FutureExt;
use futures_util::future::Shared;

use weir_journal::{Ack, AppendError};

/// Why nothing was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SingleFlightError {
    #[error("there is no room for another entry")]
    Full,
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// A value under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landed<V> {
    pub value: V,
    /// Whether this very call made it.
    pub made: bool,
}

/// A value whose record may not be durable yet.
pub struct InFlight<V, A: Future = Ack> {
    held: Landed<V>,
    ack: Option<Shared<A>>,
}

impl<V: Copy, A: Future> InFlight<V, A> {
    /// The value, which is not to be told anybody before it is settled.
    #[must_use]
    pub fn value(&self) -> V {
        self.held.value
    }

    /// Whether this very call made it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.held.made
    }
}

struct Entry<V, A: Future> {
    value: V,
    made_at_ms: i64,
    /// Until the record is known to be durable.
    ack: Option<Shared<A>>,
}

/// Values by key, for `lifetime_ms` after they were made. `A` completes when the record behind a value is durable.
pub struct SingleFlight<K, V, A: Future = Ack> {
    entries: DashMap<K, Entry<V, A>>,
    count: AtomicUsize,
    capacity: usize,
    lifetime_ms: i64,
}

impl<K, V, A> SingleFlight<K, V, A>
where
    K: Copy + Eq + Hash,
    V: Copy,
    A: Future<Output = Result<(), AppendError>>,
{
    /// An empty table.
    #[must_use]
    pub fn new(capacity: usize, lifetime_ms: i64) -> Self {
        Self { entries: DashMap::new(), count: AtomicUsize::new(0), capacity, lifetime_ms }
    }

    /// The value under the key, made by `make` when there is none; returns when its record is durable.
    ///
    /// # Errors
    /// When there is no room, or the record could not be made durable.
    pub async fn get_or_make(
        &self,
        key: K,
        now_ms: u64,
        mut make: impl FnMut() -> Result<(V, A), AppendError>,
    ) -> Result<Landed<V>, SingleFlightError> {
        loop {
            let pending = self.begin(key, now_ms, &mut make)?;
            let is_ours = pending.held.made;
            match self.settle(key, pending).await {
                Ok(held) => return Ok(held),
                Err(error) if is_ours => return Err(error.into()),
                // Whoever made it has failed; now it is this call's turn.
                Err(_) => {}
            }
        }
    }

    /// The first half of `get_or_make`: what is under the key now, durable or not yet.
    ///
    /// # Errors
    /// When there is no room, or the record was refused at once.
    pub fn begin(
        &self,
        key: K,
        now_ms: u64,
        make: impl FnOnce() -> Result<(V, A), AppendError>,
    ) -> Result<InFlight<V, A>, SingleFlightError> {
        let make = || make().map(|(value, ack)| Entry { value, made_at_ms: signed(now_ms), ack: Some(ack.shared()) });
        let (entry, is_new) = match self.entries.entry(key) {
            MapEntry::Occupied(mut occupied) => {
                let is_over = !self.is_fresh(occupied.get(), now_ms);
                if is_over {
                    occupied.insert(make()?);
                }
                (occupied.into_ref(), is_over)
            }
            MapEntry::Vacant(vacant) => {
                if !self.take_room() {
                    return Err(SingleFlightError::Full);
                }
                let entry = make().inspect_err(|_| _ = self.count.fetch_sub(1, Ordering::Relaxed))?;
                (vacant.insert(entry), true)
            }
        };
        Ok(InFlight { held: Landed { value: entry.value, made: is_new }, ack: entry.ack.clone() })
    }

    /// The second half: waits until the record is durable.
    ///
    /// # Errors
    /// When it will not be; then nothing is under the key any more.
    pub async fn settle(&self, key: K, pending: InFlight<V, A>) -> Result<Landed<V>, AppendError> {
        let InFlight { held, ack } = pending;
        let Some(ack) = ack else { return Ok(held) };
        // Not the value tells an entry from one that was made in its place since, but what it waits for.
        let of_this_record = |entry: &Entry<V, A>| entry.ack.as_ref().is_some_and(|awaited| awaited.ptr_eq(&ack));
        match ack.clone().await {
            Ok(()) => {
                if let Some(mut entry) = self.entries.get_mut(&key).filter(|entry| of_this_record(entry)) {
                    entry.ack = None;
                }
                Ok(held)
            }
            Err(error) => {
                if self.entries.remove_if(&key, |_, entry| of_this_record(entry)).is_some() {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    /// The value under the key, once its record is durable.
    pub async fn get(&self, key: K, now_ms: u64) -> Option<V> {
        let pending = {
            let entry = self.entries.get(&key).filter(|entry| self.is_fresh(entry, now_ms))?;
            InFlight { held: Landed { value: entry.value, made: false }, ack: entry.ack.clone() }
        };
        self.settle(key, pending).await.ok().map(|held| held.value)
    }

    /// Takes in what was made `age_ms` ago, by an earlier run. What is there stays. False when there is no place.
    pub fn remember(&self, key: K, value: V, now_ms: u64, age_ms: i64) -> bool {
        match self.entries.entry(key) {
            MapEntry::Occupied(_) => true,
            MapEntry::Vacant(vacant) => {
                let free = self.take_room();
                if free {
                    // A record of a clock that ran ahead is as old as one of this moment.
                    vacant.insert(Entry { value, made_at_ms: signed(now_ms) - age_ms.max(0), ack: None });
                }
                free
            }
        }
    }

    /// Whether there is anything under the key.
    #[must_use]
    pub fn holds(&self, key: K) -> bool {
        self.entries.contains_key(&key)
    }

    /// Takes out what is under the key, if it is durable; whether it was. `None` when there is nothing.
    #[must_use]
    pub fn forget(&self, key: K) -> Option<bool> {
        // An ack that nobody waited for (its client hung up) may be complete all the same.
        let durable = |entry: &Entry<V, A>| match &entry.ack {
            None => true,
            Some(ack) => ack.clone().now_or_never() == Some(Ok(())),
        };
        if self.entries.remove_if(&key, |_, entry| durable(entry)).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Some(true);
        }
        self.holds(key).then_some(false)
    }

    /// Takes out what is under the key, if it is this value. What is made next takes its place.
    pub fn forget_value(&self, key: K, value: V)
    where
        V: PartialEq,
    {
        if self.entries.remove_if(&key, |_, entry| entry.value == value).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What is under the key now, durable or not.
    #[must_use]
    pub fn peek(&self, key: K) -> Option<V> {
        self.entries.get(&key).map(|entry| entry.value)
    }

    /// Forgets what is over.
    pub fn sweep(&self, now_ms: u64) {
        let mut swept = 0;
        self.entries.retain(|_, entry| {
            let fresh = self.is_fresh(entry, now_ms);
            swept += usize::from(!fresh);
            fresh
        });
        self.count.fetch_sub(swept, Ordering::Relaxed);
    }

    /// How many entries there are.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The most entries that are kept.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn take_room(&self) -> bool {
        let free = self.count.fetch_add(1, Ordering::Relaxed) < self.capacity;
        if !free {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        free
    }

    fn is_fresh(&self, entry: &Entry<V, A>, now_ms: u64) -> bool {
        signed(now_ms) - entry.made_at_ms < self.lifetime_ms
    }
}

fn signed(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use tokio::sync::oneshot;

    use super::*;

    const NOW: u64 = 1_000_000;

    type AckResult = Result<(), AppendError>;
    type TestAck = Pin<Box<dyn Future<Output = AckResult>>>;

    fn table(capacity: usize) -> SingleFlight<u8, u32, TestAck> {
        SingleFlight::new(capacity, 1000)
    }

    fn durable(value: u32) -> (u32, TestAck) {
        (value, Box::pin(std::future::ready(Ok(()))))
    }

    fn pending() -> (oneshot::Sender<AckResult>, TestAck) {
        let (finish, told) = oneshot::channel();
        (finish, Box::pin(async { told.await.unwrap() }))
    }

    #[tokio::test]
    async fn single_flight_shares_one_result_among_waiters() {
        let table = table(10);
        let (finish, ack) = pending();
        let first = table.begin(1, NOW, || Ok((7, ack))).unwrap();
        let others: Vec<_> = (0..5).map(|_| table.begin(1, NOW, || unreachable!("it is made")).unwrap()).collect();
        finish.send(Ok(())).unwrap();
        assert_eq!(table.settle(1, first).await, Ok(Landed { value: 7, made: true }));
        for other in others {
            assert_eq!(table.settle(1, other).await, Ok(Landed { value: 7, made: false }));
        }
        assert_eq!((table.get(1, NOW).await, table.get(2, NOW).await), (Some(7), None));
    }

    #[tokio::test]
    async fn single_flight_not_durable_is_retried_by_waiter() {
        let table = table(10);
        let (finish, ack) = pending();
        let first = table.begin(1, NOW, || Ok((7, ack))).unwrap();
        let waiting = table.get_or_make(1, NOW, || Ok(durable(8)));
        let (failed, made) = tokio::join!(
            async {
                finish.send(Err(AppendError::Failed)).unwrap();
                table.settle(1, first).await
            },
            waiting
        );
        assert_eq!(failed, Err(AppendError::Failed));
        assert_eq!(made, Ok(Landed { value: 8, made: true }));
        assert_eq!(table.entries(), 1);
    }

    #[tokio::test]
    async fn single_flight_late_failure_leaves_newer_entry() {
        let table = table(10);
        let (fail, ack) = pending();
        let first = table.begin(1, NOW, || Ok((7, ack))).unwrap();
        let waiting = table.begin(1, NOW, || unreachable!("it is made")).unwrap();
        fail.send(Err(AppendError::Failed)).unwrap();
        assert_eq!(table.settle(1, first).await, Err(AppendError::Failed));
        // The same value again, as items without an id of their own have: it is another record all the same.
        let (finish, ack) = pending();
        let second = table.begin(1, NOW, || Ok((7, ack))).unwrap();
        assert_eq!(table.settle(1, waiting).await, Err(AppendError::Failed));
        let third = table.begin(1, NOW, || unreachable!("the second one is there")).unwrap();
        finish.send(Ok(())).unwrap();
        assert_eq!(table.settle(1, second).await, Ok(Landed { value: 7, made: true }));
        assert_eq!(table.settle(1, third).await, Ok(Landed { value: 7, made: false }));
        assert_eq!((table.get(1, NOW).await, table.entries()), (Some(7), 1));
    }

    #[tokio::test]
    async fn single_flight_entry_expires_after_lifetime() {
        let table = table(10);
        assert!(table.remember(1, 7, NOW, 999));
        assert_eq!(table.get(1, NOW).await, Some(7));
        let later = NOW + 1;
        assert_eq!(table.get(1, later).await, None);
        assert_eq!(table.get_or_make(1, later, || Ok(durable(8))).await, Ok(Landed { value: 8, made: true }));
        table.sweep(later + 1000);
        assert_eq!(table.entries(), 0);
    }

    #[tokio::test]
    async fn single_flight_table_full_refuses_new_keys_only() {
        let table = table(1);
        table.get_or_make(1, NOW, || Ok(durable(7))).await.unwrap();
        assert_eq!(table.get_or_make(2, NOW, || Ok(durable(8))).await, Err(SingleFlightError::Full));
        assert_eq!(table.get_or_make(1, NOW, || Ok(durable(9))).await, Ok(Landed { value: 7, made: false }));
        let refused = table.get_or_make(1, NOW + 1000, || Err(AppendError::QueueFull)).await;
        assert_eq!(refused, Err(SingleFlightError::Append(AppendError::QueueFull)));
        assert_eq!(table.entries(), 1);
        assert!(!table.remember(2, 8, NOW, 0) && table.remember(1, 9, NOW, 0));
        assert_eq!((table.forget(1), table.forget(1)), (Some(true), None));
        assert!(table.remember(2, 8, NOW, 0));
    }
}
