//! Observability: metrics (every name and help text in `catalogue`, every label in `label`) and logs.
//!
//! Invariants: labels are bounded sets (routes, outcomes, stages, database names), never an id, an address or a URL. Memory
//! is bounded whether or not anything scrapes: a histogram keeps counts and a sum, not samples.
//! Cost: the series of the hot path are looked up once. A counter is one atomic addition, a sample of a histogram four and a
//! search of at most 16 bounds: 0.1 µs a request on one thread, 0.3 µs where two share the series.

mod catalogue;
#[cfg(test)]
mod document;
mod families;
mod label;
pub mod logs;
#[cfg(target_os = "linux")]
mod process;
pub mod progress;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use catalogue::CATALOGUE;
use families::{Families, Labels};
use label::STATUSES;
use weir_domain::{BotWord, Outcome, Route};

pub use catalogue::name;
pub use label::UNKNOWN_ITEM;

/// The stages whose time is measured one by one.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// Reading and checking the body.
    Parse,
    /// Everything between the body and the record.
    Enrich,
    /// From handing the record to the journal until it is durable, and the rest of the body is read.
    Journal,
}

/// A journal's series.
#[derive(Clone)]
pub struct JournalMetrics {
    pub append_seconds: Histogram,
    pub fsync_seconds: Histogram,
    pub batch_records: Histogram,
    pub records: IntCounter,
    pub bytes: IntCounter,
    pub failures: IntCounter,
}

/// A writer's series.
#[derive(Clone)]
pub struct WriterMetrics {
    pub apply_seconds: Histogram,
    pub batch_records: Histogram,
    pub records: IntCounter,
    pub retries: IntCounter,
}

/// One application's metrics. Two applications in one process do not share them.
pub struct Telemetry {
    families: Families,
    requests: Vec<OnceLock<IntCounter>>,
    request_seconds: Vec<Histogram>,
    stage_seconds: Vec<Histogram>,
    user_agent_hits: IntCounter,
    user_agent_misses: IntCounter,
    user_agent_refusals: IntCounter,
}

impl Telemetry {
    /// Registers the catalogue and looks up the series of the hot path.
    ///
    /// # Panics
    /// Never: the catalogue's names are valid, and there is one of each.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let families =
            Families::register(CATALOGUE).expect("the catalogue's names are valid, and there is one of each");
        let request_seconds =
            Route::ALL.iter().map(|route| families.histogram(name::REQUEST_SECONDS, &[("route", route.label())]));
        let stage_seconds =
            ["parse", "enrich", "journal"].map(|stage| families.histogram(name::STAGE_SECONDS, &[("stage", stage)]));
        let lookups = |result| families.counter(name::USER_AGENT_LOOKUPS, &[("result", result)]);
        families.gauge(name::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        Arc::new(Self {
            requests: (0..Route::ALL.len() * Outcome::ALL.len() * STATUSES.len()).map(|_| OnceLock::new()).collect(),
            request_seconds: request_seconds.collect(),
            stage_seconds: stage_seconds.into(),
            user_agent_hits: lookups("hit"),
            user_agent_misses: lookups("miss"),
            user_agent_refusals: lookups("refused"),
            families,
        })
    }

    /// Counts a finished request, once.
    pub fn request_finished(&self, route: Route, outcome: Outcome, status: u16, took: Duration) {
        let status = STATUSES.iter().position(|(known, _)| *known == status).unwrap_or(STATUSES.len() - 1);
        let index = (route as usize * Outcome::ALL.len() + outcome as usize) * STATUSES.len() + status;
        let counter = self.requests[index].get_or_init(|| {
            let labels = [("route", route.label()), ("outcome", outcome.label()), ("status", STATUSES[status].1)];
            self.families.counter(name::REQUESTS, &labels)
        });
        counter.inc();
        self.request_seconds[route as usize].observe(took.as_secs_f64());
    }

    /// Adds one stage's time.
    pub fn stage(&self, stage: Stage, took: Duration) {
        self.stage_seconds[stage as usize].observe(took.as_secs_f64());
    }

    /// The counters of bots, by word.
    #[must_use]
    pub fn bots(&self) -> Vec<(&'static str, IntCounter)> {
        let counter = |word| (word, self.families.counter(name::BOTS, &[("word", word)]));
        BotWord::all().into_iter().map(counter).collect()
    }

    /// The user agent was known.
    pub fn user_agent_hit(&self) {
        self.user_agent_hits.inc();
    }

    /// The user agent had to be parsed.
    pub fn user_agent_missed(&self) {
        self.user_agent_misses.inc();
    }

    /// The user agent should have been parsed, and the pool was full.
    pub fn user_agent_refused(&self) {
        self.user_agent_refusals.inc();
    }

    /// An actor was restarted.
    pub fn actor_restarted(&self, actor: &'static str, cause: &'static str) {
        self.count(name::ACTOR_RESTARTS, &[("actor", actor), ("cause", cause)], 1);
    }

    /// The series of the journal of this name.
    #[must_use]
    pub fn journal(&self, journal: &'static str) -> JournalMetrics {
        let histogram = |name| self.families.histogram(name, &[("journal", journal)]);
        let counter = |name| self.families.counter(name, &[("journal", journal)]);
        JournalMetrics {
            append_seconds: histogram(name::JOURNAL_APPEND_SECONDS),
            fsync_seconds: histogram(name::JOURNAL_FSYNC_SECONDS),
            batch_records: histogram(name::JOURNAL_BATCH_RECORDS),
            records: counter(name::JOURNAL_RECORDS),
            bytes: counter(name::JOURNAL_BYTES),
            failures: counter(name::JOURNAL_FAILURES),
        }
    }

    /// The series of the writer of this database.
    #[must_use]
    pub fn writer(&self, database: &'static str) -> WriterMetrics {
        let histogram = |name| self.families.histogram(name, &[("database", database)]);
        let counter = |name| self.families.counter(name, &[("database", database)]);
        WriterMetrics {
            apply_seconds: histogram(name::WRITER_APPLY_SECONDS),
            batch_records: histogram(name::WRITER_BATCH_RECORDS),
            records: counter(name::WRITER_RECORDS),
            retries: counter(name::WRITER_RETRIES),
        }
    }

    /// The counter of valid access tokens that name no user.
    #[must_use]
    pub fn tokens_without_user(&self) -> IntCounter {
        self.families.counter(name::TOKENS_WITHOUT_USER, &[])
    }

    /// Adds to a counter that is off the hot path. `name` is the catalogue's, and `labels` are all that it has there.
    pub fn count(&self, name: &'static str, labels: Labels<'_>, by: u64) {
        self.families.counter(name, labels).inc_by(by);
    }

    /// Sets a gauge; done when the metrics are read. `name` is the catalogue's, and `labels` are all that it has there.
    pub fn set_gauge(&self, name: &'static str, labels: Labels<'_>, value: f64) {
        self.families.gauge(name, labels).set(value);
    }

    /// The text that Prometheus reads, the process's own figures among it.
    ///
    /// # Panics
    /// Never: every family that the registry gathers has a name and series.
    #[must_use]
    pub fn render(&self) -> String {
        self.families.render().expect("every family that is gathered has a name and series")
    }
}
