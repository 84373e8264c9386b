//! What an applier tells whoever measures it.

use std::time::Duration;

use weir_log::DeadLetterReason;
use weir_store::{Applied, Settled, StoreError};

/// Told by the applier's own task, a few times a batch: it must return at once.
pub trait ApplyObserver: Send + Sync + 'static {
    /// A transaction of so many records was committed. `took` begins with its turn.
    fn applied(&self, _records: usize, _rows: &Applied, _took: Duration) {}
    /// An attempt failed and is repeated.
    fn retried(&self) {}
    /// The database said no.
    fn failed(&self, _error: &StoreError) {}
    /// A batch that was to be written in part before its turn was (committed), or was not.
    fn pipelined(&self, _committed: bool) {}
    /// The database went back by so many records, which are applied again.
    fn rewound(&self, _records: u64) {}
    /// Effects that wait for a session or a view were looked after.
    fn settled(&self, _settled: &Settled) {}
    /// So many records were set aside.
    fn dead_letter(&self, _reason: DeadLetterReason, _records: u64) {}
}

/// Nobody measures.
impl ApplyObserver for () {}
