//! Histograms of fixed buckets: whoever measures adds to them, and they are summed up when the metrics are read.
//!
//! Invariant: nothing is kept of a sample but its bucket and its part of the sum, so that memory is bounded whether or not
//! anybody ever reads.
//! Cost: two additions to memory that few other threads write to; a histogram takes 2 KiB. The exporter's own histograms read
//! the clock for every sample and keep it until somebody asks (`docs/performance.md`).

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::catalogue::{Buckets, CATALOGUE, Kind, Metric, Unit};

/// So many threads add without getting into each other's way.
const SHARDS: usize = 8;
/// The most buckets, the one without a bound among them.
const BUCKETS_MAX: usize = 17;

static THREADS: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    static SHARD: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// A handle on one series; clones share it.
#[derive(Clone)]
pub struct Histogram(Arc<Series>);

struct Series {
    buckets: Buckets,
    /// The buckets' upper bounds in whole units, each of them in its bucket.
    limits: Vec<u64>,
    shards: [Shard; SHARDS],
}

/// Pairs of cache lines of its own, because processors fetch pairs.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    counts: [AtomicU64; BUCKETS_MAX],
    sum: AtomicU64,
}

impl Histogram {
    fn new(buckets: Buckets) -> Self {
        assert!(buckets.bounds.len() < BUCKETS_MAX, "a histogram has at most {BUCKETS_MAX} buckets");
        let limits = buckets.bounds.iter().map(|bound| buckets.unit.whole(*bound)).collect();
        Self(Arc::new(Series { buckets, limits, shards: Default::default() }))
    }

    /// One that nobody reads.
    #[must_use]
    pub fn unread() -> Self {
        Self::new(Buckets::SECONDS)
    }

    /// Adds a time to a histogram of seconds.
    pub fn record(&self, took: Duration) {
        debug_assert!(matches!(self.0.buckets.unit, Unit::Seconds), "times go to histograms of seconds");
        self.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds a number to a histogram of records.
    pub fn record_number(&self, number: usize) {
        debug_assert!(matches!(self.0.buckets.unit, Unit::Records), "numbers go to histograms of records");
        self.add(number as u64);
    }

    fn add(&self, value: u64) {
        let bucket = self.0.limits.partition_point(|limit| *limit < value);
        let shard = &self.0.shards[SHARD.with(|shard| *shard)];
        shard.counts[bucket].fetch_add(1, Ordering::Relaxed);
        shard.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Its lines, with `label` as it stands in braces.
    fn write(&self, name: &str, label: &str, text: &mut String) -> fmt::Result {
        let series = &*self.0;
        let total = |of: &dyn Fn(&Shard) -> u64| series.shards.iter().map(of).fold(0_u64, u64::wrapping_add);
        // The sum first: a sample that comes meanwhile is counted and not yet in it, like one that has just come.
        let sum = series.buckets.unit.part(total(&|shard| shard.sum.load(Ordering::Relaxed)));
        let mut below = 0;
        for at in 0..=series.limits.len() {
            below += total(&|shard| shard.counts[at].load(Ordering::Relaxed));
            match series.buckets.bounds.get(at) {
                Some(bound) => writeln!(text, "{name}_bucket{{{label},le=\"{bound}\"}} {below}")?,
                None => writeln!(text, "{name}_bucket{{{label},le=\"+Inf\"}} {below}")?,
            }
        }
        writeln!(text, "{name}_sum{{{label}}} {sum}\n{name}_count{{{label}}} {below}")
    }
}

/// Every histogram of an application.
#[derive(Default)]
pub(super) struct Histograms(Mutex<Vec<Registered>>);

struct Registered {
    metric: &'static Metric,
    /// `name="value"`
    label: String,
    histogram: Histogram,
}

impl Histograms {
    /// The series of a metric of the catalogue with this label, which need not be new.
    ///
    /// # Panics
    /// When the catalogue has no such histogram.
    pub fn of(&self, name: &str, label: (&str, &str)) -> Histogram {
        let metric = CATALOGUE.iter().find(|metric| metric.name == name).expect("names are the catalogue's");
        let Kind::Histogram(buckets) = metric.kind else { panic!("{name} is no histogram") };
        let label = format!("{}=\"{}\"", label.0, label.1);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().find(|known| known.metric.name == metric.name && known.label == label);
        if let Some(known) = known {
            return known.histogram.clone();
        }
        let histogram = Histogram::new(buckets);
        all.push(Registered { metric, label, histogram: histogram.clone() });
        // The lines of a metric stand together.
        all.sort_by_key(|registered| registered.metric.name);
        histogram
    }

    /// Adds their text in Prometheus's format (version 0.0.4).
    pub fn write(&self, text: &mut String) {
        let mut told = "";
        for Registered { metric, label, histogram } in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            if told != metric.name {
                told = metric.name;
                let _ = writeln!(text, "# HELP {told} {}\n# TYPE {told} histogram", metric.help);
            }
            // A string takes everything.
            let _ = histogram.write(told, label, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::name;
    use super::*;

    fn text(metric_name: &str, fill: impl FnOnce(&Histogram)) -> String {
        let histograms = Histograms::default();
        fill(&histograms.of(metric_name, ("database", "main")));
        let mut text = String::new();
        histograms.write(&mut text);
        text
    }

    #[test]
    fn a_sample_is_in_every_bucket_whose_bound_it_does_not_pass() {
        let text = text(name::WRITER_BATCH_RECORDS, |histogram| {
            for number in [0, 1, 2, 3, 5000, 5001] {
                histogram.record_number(number);
            }
        });
        for line in [
            "# TYPE weir_writer_batch_records histogram",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"1\"} 2",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"2\"} 3",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"5\"} 4",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"2500\"} 4",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"5000\"} 5",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"+Inf\"} 6",
            "weir_writer_batch_records_sum{database=\"main\"} 10007",
            "weir_writer_batch_records_count{database=\"main\"} 6",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn times_are_told_in_seconds() {
        let text = text(name::WRITER_APPLY_SECONDS, |histogram| {
            histogram.record(Duration::from_micros(250));
            histogram.record(Duration::from_nanos(250_001));
            histogram.record(Duration::from_secs(11));
        });
        for line in [
            "weir_writer_apply_duration_seconds_bucket{database=\"main\",le=\"0.0001\"} 0",
            "weir_writer_apply_duration_seconds_bucket{database=\"main\",le=\"0.00025\"} 1",
            "weir_writer_apply_duration_seconds_bucket{database=\"main\",le=\"0.0005\"} 2",
            "weir_writer_apply_duration_seconds_bucket{database=\"main\",le=\"10\"} 2",
            "weir_writer_apply_duration_seconds_bucket{database=\"main\",le=\"+Inf\"} 3",
            "weir_writer_apply_duration_seconds_sum{database=\"main\"} 11.000500001",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn what_many_threads_add_is_all_there() {
        let text = text(name::WRITER_BATCH_RECORDS, |histogram| {
            std::thread::scope(|scope| {
                for _ in 0..2 * SHARDS {
                    scope.spawn(|| (0..1000).for_each(|number| histogram.record_number(number)));
                }
            });
        });
        assert!(text.contains("_count{database=\"main\"} 16000\n"), "{text}");
        assert!(text.contains(&format!("_sum{{database=\"main\"}} {}\n", 16 * 499_500)), "{text}");
    }

    #[test]
    fn one_label_is_one_series() {
        let histograms = Histograms::default();
        for label in ["main", "analytics", "main"] {
            histograms.of(name::WRITER_BATCH_RECORDS, ("database", label)).record_number(1);
        }
        let mut text = String::new();
        histograms.write(&mut text);
        assert_eq!(text.matches("# HELP").count(), 1, "{text}");
        assert!(
            text.contains("_count{database=\"main\"} 2\n") && text.contains("_count{database=\"analytics\"} 1\n"),
            "{text}"
        );
    }
}
