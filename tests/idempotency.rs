//! More keys in use than memory holds: the oldest are left to the database, and found there.

use std::sync::Arc;

use uuid::Uuid;
use weir::idempotency::{BatchKeys, KeyError};
use weir::read::ReadBarrier;
use weir_domain::{
    AnalyticsEvent, AnalyticsRecord, BatchKey, CachedResponse, Clock, HeartbeatRecord, IdempotencyEntry, JournalRecord,
};
use weir_journal::{Journal, JournalOptions};
use weir_log::{LogReader as _, Offsets as _, ReadLimits};
use weir_testkit::store::Store;
use weir_testkit::{Backend, on_both_databases};

/// Keys with room for four, over a journal of their own and the store's table.
struct Scene {
    store: Store,
    journal: Journal,
    keys: BatchKeys,
    clock: Arc<Clock>,
    _directory: tempfile::TempDir,
}

impl Scene {
    async fn new(backend: Backend) -> Self {
        let (mut store, directory) = (Store::fresh(backend).await, tempfile::tempdir().unwrap());
        let options = JournalOptions::default();
        let journal = Journal::open("analytics", directory.path(), options, Arc::new(())).unwrap();
        let clock = Arc::new(Clock::system());
        // The database must know the very journal that a look-up names.
        store.journal = journal.reader().id();
        store.analytics.positions().register(store.journal, store.writer, clock.now()).await.unwrap();
        let keys = keys(&store, &journal, &clock);
        keys.load().await.unwrap();
        Self { store, journal, keys, clock, _directory: directory }
    }

    /// Stores an item under a key as a request does, or gets what was stored.
    async fn send(&self, number: u32) -> Result<CachedResponse, KeyError> {
        let key = key(number);
        if let Some(answer) = self.keys.view().answer(key).await? {
            return Ok(answer);
        }
        let answer = CachedResponse { id: Some(Uuid::from_u128(u128::from(number) + 1)), created_at: None };
        let record = self.record(key).encode();
        let pending = self.keys.begin(key, || Ok((answer, self.journal.appender().append(record.clone())?)))?;
        let told = pending.value();
        self.keys.settle(key, pending).await?;
        Ok(told)
    }

    fn record(&self, key: BatchKey) -> AnalyticsRecord {
        let event = AnalyticsEvent::Heartbeat(HeartbeatRecord { session_id: Uuid::from_u128(1), at: self.clock.now() });
        AnalyticsRecord { key: Some(IdempotencyEntry { key, stored_at: self.clock.now() }), event }
    }

    /// What the writer does, one step for all that waits.
    async fn apply(&self) {
        let (from, through) = (self.journal.offsets().applied(), self.journal.offsets().durable());
        let limits = ReadLimits { records: 1000, bytes: 1 << 20 };
        let batch = self.journal.reader().read(from, through, limits).unwrap();
        let records: Vec<_> =
            batch.records.iter().map(|record| <AnalyticsRecord>::decode(&record.payload).unwrap()).collect();
        self.store.analytics.apply(&self.store.step(from.0, through.0), &records).await.unwrap();
        self.journal.offsets().commit(through);
    }
}

fn keys(store: &Store, journal: &Journal, clock: &Arc<Clock>) -> BatchKeys {
    BatchKeys::with_capacity(4, Arc::clone(&store.keys), ReadBarrier::new(journal.offsets()), Arc::clone(clock))
}

fn key(number: u32) -> BatchKey {
    BatchKey::new("heartbeat", &number.to_string())
}

on_both_databases! {
    async fn idempotency_key_evicted_from_memory_is_found_in_database(backend) {
        let scene = Scene::new(backend).await;
        for number in 0..10 {
            scene.send(number).await.unwrap();
            scene.apply().await;
        }
        assert_eq!(scene.keys.entries_and_capacity(), (4, 4));
        let at = scene.journal.offsets().durable();
        for number in 0..10 {
            // Found in the database the answer has no id: it was a heartbeat's.
            let answer = scene.send(number).await.unwrap();
            assert!(answer.id.is_none() == (number < 6), "{number}: {answer:?}");
        }
        assert_eq!(scene.journal.offsets().durable(), at, "something was stored twice");
        scene.send(10).await.unwrap();
        assert!(scene.journal.offsets().durable() > at, "new keys are taken all the same");
    }

    async fn idempotency_key_uncertain_until_applied_is_refused(backend) {
        let scene = Scene::new(backend).await;
        for number in 0..5 {
            scene.send(number).await.unwrap();
        }
        // A key was left to a database that does not have it yet: whoever is not in memory may be that one.
        assert_eq!(scene.send(0).await, Err(KeyError::Unknown));
        assert_eq!(scene.send(99).await, Err(KeyError::Unknown));
        assert!(scene.send(4).await.is_ok(), "what memory has needs nobody else");
        scene.apply().await;
        let at = scene.journal.offsets().durable();
        scene.send(0).await.unwrap();
        assert_eq!(scene.journal.offsets().durable(), at);
        scene.send(99).await.unwrap();
        assert!(scene.journal.offsets().durable() > at);
    }

    async fn idempotency_keys_beyond_capacity_at_start_are_looked_up(backend) {
        let scene = Scene::new(backend).await;
        for number in 0..10 {
            scene.send(number).await.unwrap();
            scene.apply().await;
        }
        let again = keys(&scene.store, &scene.journal, &scene.clock);
        assert_eq!(again.view().answer(key(1)).await, Err(KeyError::Unknown), "nothing was read yet");
        again.load().await.unwrap();
        assert_eq!(again.entries_and_capacity(), (4, 4));
        for number in 0..10 {
            assert!(again.view().answer(key(number)).await.unwrap().is_some(), "{number}");
        }
        assert_eq!(again.view().answer(key(10)).await, Ok(None));
    }
}
