//! The real sink, with faults before and after what it does.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use weir_domain::{AnalyticsRecord, UnixMillis};
use weir_store::AnalyticsSink;
use weir_store::postgres::PreparedRows;
use weir_store::{Applied, Maintained, MigrationObserver, Positions, Sink, Step, StoreError};

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The database is away.
    Before,
    /// The commit arrives, and its answer does not.
    After,
    Hang,
    HangAfter,
    Panic,
    PanicAfter,
}

/// The same call of either engine's sink.
macro_rules! on_either {
    ($faulty:expr, $($call:tt)+) => {
        match &$faulty.inner {
            AnalyticsSink::Sqlite(sink) => sink.$($call)+,
            AnalyticsSink::Postgres(sink) => sink.$($call)+,
        }
    };
}

/// What goes wrong with the next calls.
type Faults = Mutex<VecDeque<Fault>>;

pub struct Faulty {
    inner: AnalyticsSink,
    faults: Faults,
    prepare_faults: Faults,
    hangs: AtomicBool,
    early: Arc<AtomicUsize>,
    /// Whoever waits for the writer: what tasks of its own do is to be seen as well.
    onlooker: AtomicWaker,
}

impl Faulty {
    /// Counts in `early` how many steps it applies that had been begun before their turn.
    pub fn new(inner: AnalyticsSink, early: Arc<AtomicUsize>) -> Self {
        Self {
            inner,
            faults: Faults::default(),
            prepare_faults: Faults::default(),
            hangs: AtomicBool::new(false),
            early,
            onlooker: AtomicWaker::new(),
        }
    }

    /// What goes wrong with the next calls: those that apply, and those that begin a step before its turn.
    pub fn expect(&self, faults: Vec<Fault>) {
        *self.prepare_faults.lock().unwrap() = faults.clone().into();
        *self.faults.lock().unwrap() = faults.into();
    }

    /// From now on this one is woken at every pause of a step that is prepared or finished.
    pub fn look(&self, waker: &Waker) {
        self.onlooker.register(waker);
    }

    /// What another task does, seen by the onlooker.
    async fn seen<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            if polled.is_pending() {
                self.onlooker.wake();
            }
            polled
        })
        .await
    }

    /// Does what is asked, with the next fault before or after it; nothing is done where it comes before.
    async fn with_fault<T>(
        &self,
        faults: &Faults,
        done: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let fault = faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        let done = match fault {
            Fault::None | Fault::After | Fault::HangAfter | Fault::PanicAfter => Some(done.await?),
            Fault::Before | Fault::Hang | Fault::Panic => None,
        };
        match (fault, done) {
            (Fault::None, Some(done)) => Ok(done),
            (Fault::Panic | Fault::PanicAfter, _) => panic!("a fault made for a test"),
            (Fault::Hang | Fault::HangAfter, _) => {
                self.hangs.store(true, Ordering::Relaxed);
                self.onlooker.wake();
                std::future::pending().await
            }
            _ => Err(StoreError::Unavailable("a fault made for a test".to_owned())),
        }
    }

    /// Whether a call has begun to hang since the last time somebody asked.
    pub fn has_hung(&self) -> bool {
        self.hangs.swap(false, Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl Sink for Faulty {
    type Record<'a> = AnalyticsRecord<&'a str>;
    type Prepared = PreparedRows;

    fn describe(&self) -> &'static str {
        on_either!(self, describe())
    }

    /// Few, so that a handful of records are several chunks.
    fn batch_records(&self) -> usize {
        7
    }

    fn pipeline_depth(&self) -> usize {
        on_either!(self, pipeline_depth())
    }

    async fn migrate_observed(&self, tell: MigrationObserver<'_>) -> Result<(), StoreError> {
        on_either!(self, migrate_observed(tell)).await
    }

    fn positions(&self) -> &dyn Positions {
        on_either!(self, positions())
    }

    async fn apply(&self, step: &Step, records: &[AnalyticsRecord<&str>]) -> Result<Applied, StoreError> {
        self.with_fault(&self.faults, async { on_either!(self, apply(step, records)).await }).await
    }

    async fn sift(
        &self,
        step: &Step,
        records: &[AnalyticsRecord<&str>],
    ) -> Result<Vec<(usize, StoreError)>, StoreError> {
        on_either!(self, sift(step, records).await)
    }

    async fn prepare(&self, records: &[AnalyticsRecord<&str>]) -> Result<Option<PreparedRows>, StoreError> {
        let begun = async {
            match &self.inner {
                AnalyticsSink::Sqlite(_) => Ok(None),
                AnalyticsSink::Postgres(sink) => sink.prepare(records).await,
            }
        };
        self.seen(self.with_fault(&self.prepare_faults, begun)).await
    }

    async fn commit_prepared(
        &self,
        step: &Step,
        records: &[AnalyticsRecord<&str>],
        begun: PreparedRows,
    ) -> Result<Applied, StoreError> {
        let AnalyticsSink::Postgres(sink) = &self.inner else { panic!("SQLite begins nothing") };
        let applied = self.seen(self.with_fault(&self.faults, sink.commit_prepared(step, records, begun))).await?;
        self.early.fetch_add(1, Ordering::Relaxed);
        Ok(applied)
    }

    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError> {
        on_either!(self, maintain(now, retention_days)).await
    }
}
