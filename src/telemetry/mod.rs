//! What Weir tells of itself: metrics (every name and help text in `catalogue`, every label in `label`) and logs.
//!
//! Invariant: labels are bounded sets (routes, outcomes, stages, database names), never an id, an address or a URL.
//! Cost: the handles of the hot path are looked up once; a counter is one atomic add, a histogram two.

mod catalogue;
#[cfg(test)]
mod document;
mod histogram;
mod label;
pub mod logs;
mod process;
pub mod progress;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use catalogue::{CATALOGUE, Kind, Metric};
use histogram::Histograms;
use label::STATUSES;
use process::ProcessMetrics;
use weir_domain::{Outcome, Route};

pub use catalogue::name;
pub use histogram::Histogram;
pub use label::UNKNOWN_ITEM;

static METADATA: Metadata<'static> = Metadata::new("weir", Level::INFO, None);

/// The stages whose time is measured one by one.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// Reading and checking the body.
    Parse,
    /// Everything between the body and the record.
    Enrich,
    /// From handing the record to the journal until it is durable, and what nobody wanted of the body is read.
    Journal,
}

/// A journal's series.
#[derive(Clone)]
pub struct JournalMetrics {
    pub append_seconds: Histogram,
    pub fsync_seconds: Histogram,
    pub batch_records: Histogram,
    pub records: Counter,
    pub bytes: Counter,
    pub failures: Counter,
}

/// A writer's series.
#[derive(Clone)]
pub struct WriterMetrics {
    pub apply_seconds: Histogram,
    pub batch_records: Histogram,
    pub records: Counter,
    pub retries: Counter,
}

/// One application's metrics. Not a process-wide recorder: two applications in one process do not mix.
pub struct Telemetry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    histograms: Histograms,
    process: ProcessMetrics,
    requests: Vec<OnceLock<Counter>>,
    request_seconds: Vec<Histogram>,
    stage_seconds: Vec<Histogram>,
    user_agent_hits: Counter,
    user_agent_misses: Counter,
    user_agent_refusals: Counter,
}

impl Telemetry {
    /// Describes every series of the catalogue and registers those of the hot path.
    ///
    /// # Panics
    /// Never: the histograms that it names are in the catalogue.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in CATALOGUE {
            let name = KeyName::from_const_str(metric.name);
            match metric.kind {
                Kind::Counter | Kind::RareCounter => recorder.describe_counter(name, None, metric.help.into()),
                Kind::Gauge => recorder.describe_gauge(name, None, metric.help.into()),
                Kind::Histogram(_) => {}
            }
            if matches!(metric.kind, Kind::RareCounter) {
                for key in every_series(metric) {
                    drop(recorder.register_counter(&key, &METADATA));
                }
            }
        }
        let handle = recorder.handle();
        let histograms = Histograms::default();
        let counter = |name, label: Label| recorder.register_counter(&Key::from_parts(name, vec![label]), &METADATA);
        let request_seconds =
            Route::ALL.iter().map(|route| histograms.of(name::REQUEST_SECONDS, ("route", route.label()))).collect();
        let stage_seconds = ["parse", "enrich", "journal"]
            .into_iter()
            .map(|stage| histograms.of(name::STAGE_SECONDS, ("stage", stage)))
            .collect();
        let lookups = |result| counter(name::USER_AGENT_LOOKUPS, Label::from_static_parts("result", result));
        let telemetry = Self {
            requests: (0..Route::ALL.len() * Outcome::ALL.len() * STATUSES.len()).map(|_| OnceLock::new()).collect(),
            request_seconds,
            stage_seconds,
            user_agent_hits: lookups("hit"),
            user_agent_misses: lookups("miss"),
            user_agent_refusals: lookups("refused"),
            process: ProcessMetrics::described_to(&recorder),
            recorder,
            handle,
            histograms,
        };
        telemetry.set_gauge(name::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        Arc::new(telemetry)
    }

    /// Counts a finished request, once.
    pub fn request_finished(&self, route: Route, outcome: Outcome, status: u16, took: Duration) {
        let status = STATUSES.iter().position(|(known, _)| *known == status).unwrap_or(STATUSES.len() - 1);
        let index = (route as usize * Outcome::ALL.len() + outcome as usize) * STATUSES.len() + status;
        let counter = self.requests[index].get_or_init(|| {
            let labels = vec![
                Label::from_static_parts("route", route.label()),
                Label::from_static_parts("outcome", outcome.label()),
                Label::from_static_parts("status", STATUSES[status].1),
            ];
            self.recorder.register_counter(&Key::from_parts(name::REQUESTS, labels), &METADATA)
        });
        counter.increment(1);
        self.request_seconds[route as usize].record(took);
    }

    /// Adds one stage's time.
    pub fn stage(&self, stage: Stage, took: Duration) {
        self.stage_seconds[stage as usize].record(took);
    }

    /// The user agent was known.
    pub fn user_agent_hit(&self) {
        self.user_agent_hits.increment(1);
    }

    /// The user agent had to be parsed.
    pub fn user_agent_missed(&self) {
        self.user_agent_misses.increment(1);
    }

    /// The user agent should have been parsed, and the pool was full.
    pub fn user_agent_refused(&self) {
        self.user_agent_refusals.increment(1);
    }

    /// An actor was restarted.
    pub fn actor_restarted(&self, actor: &'static str, cause: &'static str) {
        self.count(name::ACTOR_RESTARTS, &[("actor", actor), ("cause", cause)], 1);
    }

    /// The series of the journal of this name.
    #[must_use]
    pub fn journal(&self, journal: &'static str) -> JournalMetrics {
        let key = |name| Key::from_parts(name, vec![Label::from_static_parts("journal", journal)]);
        let histogram = |name| self.histograms.of(name, ("journal", journal));
        let counter = |name| self.recorder.register_counter(&key(name), &METADATA);
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
        let key = |name| Key::from_parts(name, vec![Label::from_static_parts("database", database)]);
        WriterMetrics {
            apply_seconds: self.histograms.of(name::WRITER_APPLY_SECONDS, ("database", database)),
            batch_records: self.histograms.of(name::WRITER_BATCH_RECORDS, ("database", database)),
            records: self.recorder.register_counter(&key(name::WRITER_RECORDS), &METADATA),
            retries: self.recorder.register_counter(&key(name::WRITER_RETRIES), &METADATA),
        }
    }

    /// Adds to a counter that is off the hot path.
    pub fn count(&self, name: &'static str, labels: &[(&'static str, &'static str)], by: u64) {
        self.recorder.register_counter(&key(name, labels), &METADATA).increment(by);
    }

    /// Sets a gauge; done when the metrics are read.
    pub fn set_gauge(&self, name: &'static str, labels: &[(&'static str, &'static str)], value: f64) {
        self.gauge(name, labels).set(value);
    }

    /// The text that Prometheus reads, the process's own figures among it.
    #[must_use]
    pub fn render(&self) -> String {
        self.process.collect_into(&self.recorder);
        let mut text = self.handle.render();
        self.histograms.write(&mut text);
        text
    }

    fn gauge(&self, name: &'static str, labels: &[(&'static str, &'static str)]) -> Gauge {
        self.recorder.register_gauge(&key(name, labels), &METADATA)
    }
}

/// The keys of all series that a metric may have.
fn every_series(metric: &Metric) -> Vec<Key> {
    let mut series = vec![Vec::new()];
    for label in metric.labels {
        let values = (label.values)();
        series = series
            .iter()
            .flat_map(|labels: &Vec<Label>| {
                values.iter().map(|value| {
                    let mut labels = labels.clone();
                    labels.push(Label::from_static_parts(label.name, value));
                    labels
                })
            })
            .collect();
    }
    series.into_iter().map(|labels| Key::from_parts(metric.name, labels)).collect()
}

fn key(name: &'static str, labels: &[(&'static str, &'static str)]) -> Key {
    Key::from_parts(name, labels.iter().map(|(name, value)| Label::from_static_parts(name, value)).collect::<Vec<_>>())
}
