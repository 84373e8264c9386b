//! The real sink, with faults before and after what it does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use weir::domain::{AnalyticsRecord, UnixMillis};
use weir::store::{Applied, Maintained, Positions, Sink, Step, StoreError, Teller};

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

pub struct Faulty {
    inner: Arc<dyn Sink<Record = AnalyticsRecord>>,
    faults: Mutex<VecDeque<Fault>>,
    hangs: AtomicBool,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Sink<Record = AnalyticsRecord>>) -> Self {
        Self { inner, faults: Mutex::default(), hangs: AtomicBool::new(false) }
    }

    /// What goes wrong with the next calls.
    pub fn expect(&self, faults: Vec<Fault>) {
        *self.faults.lock().unwrap() = faults.into();
    }

    /// Whether a call has begun to hang since the last time somebody asked.
    pub fn has_hung(&self) -> bool {
        self.hangs.swap(false, Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl Sink for Faulty {
    type Record = AnalyticsRecord;

    fn describe(&self) -> &'static str {
        self.inner.describe()
    }

    /// Few, so that a handful of records are several chunks.
    fn batch_records(&self) -> usize {
        7
    }

    async fn migrate_telling(&self, tell: Teller<'_>) -> Result<(), StoreError> {
        self.inner.migrate_telling(tell).await
    }

    fn positions(&self) -> &dyn Positions {
        self.inner.positions()
    }

    async fn apply(&self, step: &Step, records: &[AnalyticsRecord]) -> Result<Applied, StoreError> {
        let fault = self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        let applied = match fault {
            Fault::None | Fault::After | Fault::HangAfter | Fault::PanicAfter => {
                self.inner.apply(step, records).await?
            }
            Fault::Before | Fault::Hang | Fault::Panic => Applied::default(),
        };
        match fault {
            Fault::None => Ok(applied),
            Fault::Before | Fault::After => Err(StoreError::Unavailable("a fault made for a test".to_owned())),
            Fault::Panic | Fault::PanicAfter => panic!("a fault made for a test"),
            Fault::Hang | Fault::HangAfter => {
                self.hangs.store(true, Ordering::Relaxed);
                std::future::pending().await
            }
        }
    }

    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError> {
        self.inner.maintain(now, retention_days).await
    }
}
