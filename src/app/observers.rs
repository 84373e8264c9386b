//! The events of journals and appliers, as metrics: the one place that knows both sides.

use std::sync::Arc;
use std::time::Duration;

use weir_apply::ApplyObserver;
use weir_domain::approximate;
use weir_journal::{CommittedBatch, JournalObserver};
use weir_log::DeadLetterReason;
use weir_store::{Applied, Settled, StoreError};

use crate::actor::RestartBudget;
use crate::telemetry::{JournalMetrics, Telemetry, WriterMetrics, name};

/// Of one journal. A panic of its thread counts against its restart budget.
pub(super) struct JournalTelemetry {
    pub metrics: JournalMetrics,
    pub restart_budget: RestartBudget,
}

impl JournalObserver for JournalTelemetry {
    fn batch_committed(&self, batch: CommittedBatch) {
        self.metrics.append_seconds.observe(batch.took.as_secs_f64());
        self.metrics.batch_records.observe(approximate(batch.records as u64));
        self.metrics.records.inc_by(batch.records as u64);
        self.metrics.bytes.inc_by(batch.bytes);
    }

    fn synced(&self, took: Duration) {
        self.metrics.fsync_seconds.observe(took.as_secs_f64());
    }

    fn batch_failed(&self) {
        self.metrics.failures.inc();
    }

    fn panicked(&self) {
        self.restart_budget.restarted("panic");
    }
}

/// Of one database's applier.
pub(super) struct ApplierTelemetry {
    database: &'static str,
    metrics: WriterMetrics,
    telemetry: Arc<Telemetry>,
}

impl ApplierTelemetry {
    pub fn new(database: &'static str, telemetry: Arc<Telemetry>) -> Self {
        Self { database, metrics: telemetry.writer(database), telemetry }
    }

    fn count(&self, metric: &'static str, label: (&'static str, &'static str), by: u64) {
        self.telemetry.count(metric, &[("database", self.database), label], by);
    }
}

impl ApplyObserver for ApplierTelemetry {
    fn applied(&self, records: usize, rows: &Applied, took: Duration) {
        self.metrics.apply_seconds.observe(took.as_secs_f64());
        self.metrics.batch_records.observe(approximate(records as u64));
        self.metrics.records.inc_by(records as u64);
        for (table, rows) in &rows.rows {
            self.count(name::WRITER_ROWS, ("table", table), *rows);
        }
    }

    fn retried(&self) {
        self.metrics.retries.inc();
    }

    fn failed(&self, error: &StoreError) {
        self.count(name::WRITER_ERRORS, ("kind", error.kind()), 1);
    }

    fn pipelined(&self, committed: bool) {
        self.count(name::WRITER_PIPELINED_BATCHES, ("result", if committed { "committed" } else { "failed" }), 1);
    }

    fn rewound(&self, records: u64) {
        let database = [("database", self.database)];
        self.telemetry.count(name::WRITER_REWINDS, &database, 1);
        self.telemetry.count(name::WRITER_REWOUND_RECORDS, &database, records);
    }

    fn settled(&self, settled: &Settled) {
        let database = [("database", self.database)];
        self.telemetry.set_gauge(name::PENDING_EFFECTS, &database, approximate(settled.waiting));
        for (result, effects) in
            [("applied", settled.applied), ("expired", settled.expired), ("refused", settled.refused)]
        {
            self.count(name::PENDING_EFFECTS_ENDED, ("result", result), effects);
        }
    }

    fn dead_letter(&self, reason: DeadLetterReason, records: u64) {
        self.count(name::DEAD_LETTERS, ("reason", reason.label()), records);
    }
}
