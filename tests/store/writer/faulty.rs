//! The real sink, with faults before and after what it does.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use weir::app::AnalyticsSink;
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

/// The same call of either engine's sink.
macro_rules! on_either {
    ($faulty:expr, $($call:tt)+) => {
        match &$faulty.inner {
            AnalyticsSink::Sqlite(sink) => sink.$($call)+,
            AnalyticsSink::Postgres(sink) => sink.$($call)+,
        }
    };
}

pub struct Faulty {
    inner: AnalyticsSink,
    faults: Mutex<VecDeque<Fault>>,
    hangs: AtomicBool,
}

impl Faulty {
    pub fn new(inner: AnalyticsSink) -> Self {
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
    type Record<'a> = AnalyticsRecord<&'a str>;

    fn describe(&self) -> &'static str {
        on_either!(self, describe())
    }

    /// Few, so that a handful of records are several chunks.
    fn batch_records(&self) -> usize {
        7
    }

    async fn migrate_telling(&self, tell: Teller<'_>) -> Result<(), StoreError> {
        on_either!(self, migrate_telling(tell)).await
    }

    fn positions(&self) -> &dyn Positions {
        on_either!(self, positions())
    }

    async fn apply(&self, step: &Step, records: &[AnalyticsRecord<&str>]) -> Result<Applied, StoreError> {
        let fault = self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        let applied = match fault {
            Fault::None | Fault::After | Fault::HangAfter | Fault::PanicAfter => {
                on_either!(self, apply(step, records)).await?
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
        on_either!(self, maintain(now, retention_days)).await
    }
}
