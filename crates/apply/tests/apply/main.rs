//! The applier on a real journal and real databases: pacing, pipelined apply, and faults of every kind.

mod faults;
mod pacing;
mod pipeline;

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;
use weir_apply::{Applier, ApplierParts, ApplierState};
use weir_domain::{AnalyticsEvent, AnalyticsRecord, Clock, JournalRecord, SessionRecord, UnixMillis};
use weir_journal::{Journal, JournalOptions};
use weir_store::{AnalyticsSink, Sink, Step, StoreError, open_analytics};
use weir_testkit::store::{DAY, MANY, Store, record, session_at, sessions};
use weir_testkit::{Backend, Databases};

/// A journal that does not wait for its disk, and what brings its records to a database.
fn journal_with_applier<S: Sink>(directory: &Path, sink: Arc<S>) -> (Journal, Applier<S>) {
    let options = JournalOptions { fsync: false, ..JournalOptions::default() };
    let journal = Journal::open("analytics", &directory.join("journal"), options, Arc::new(())).unwrap();
    let applier = applier(sink, &journal, Arc::default());
    (journal, applier)
}

fn applier<S: Sink>(sink: Arc<S>, journal: &Journal, state: Arc<ApplierState>) -> Applier<S> {
    Applier::new(ApplierParts {
        database: "analytics",
        sink,
        log: Box::new(journal.reader()),
        offsets: Arc::new(journal.offsets()),
        dead_letters: Arc::new(journal.dead_letters()),
        state,
        observer: Arc::new(()),
        clock: Arc::new(Clock::system()),
    })
}

/// Appends so many sessions, one after the other.
async fn append(journal: &Journal, records: usize) {
    for record in sessions(records) {
        journal.appender().append(record.encode()).unwrap().await.unwrap();
    }
}
