//! The catalogue's metrics as families of series, in a registry of the application's own.

use std::collections::HashMap;

use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
    register_gauge_vec_with_registry, register_histogram_vec_with_registry, register_int_counter_vec_with_registry,
};

use super::catalogue::{Kind, Metric};

/// Label names with their values.
pub type Labels<'a> = &'a [(&'static str, &'static str)];

/// Every family by name.
pub struct Families {
    registry: Registry,
    counters: HashMap<&'static str, IntCounterVec>,
    gauges: HashMap<&'static str, GaugeVec>,
    histograms: HashMap<&'static str, HistogramVec>,
}

impl Families {
    /// A family for every metric, and the process's own.
    pub fn register(catalogue: &[Metric]) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let (mut counters, mut gauges, mut histograms) = (HashMap::new(), HashMap::new(), HashMap::new());
        for metric in catalogue {
            let labels: Vec<&str> = metric.labels.iter().map(|label| label.name).collect();
            let opts = Opts::new(metric.name, metric.help);
            match metric.kind {
                Kind::Counter | Kind::RareCounter => {
                    let family = register_int_counter_vec_with_registry!(opts, &labels, registry)?;
                    if matches!(metric.kind, Kind::RareCounter) {
                        for values in every_series(metric) {
                            family.get_metric_with_label_values(&values)?;
                        }
                    }
                    counters.insert(metric.name, family);
                }
                Kind::Gauge => {
                    gauges.insert(metric.name, register_gauge_vec_with_registry!(opts, &labels, registry)?);
                }
                Kind::Histogram(bounds) => {
                    let opts = HistogramOpts::from(opts).buckets(bounds.to_vec());
                    let family = register_histogram_vec_with_registry!(opts, &labels, registry)?;
                    histograms.insert(metric.name, family);
                }
            }
        }
        #[cfg(target_os = "linux")]
        super::process::register(&registry)?;
        Ok(Self { registry, counters, gauges, histograms })
    }

    pub fn counter(&self, name: &str, labels: Labels<'_>) -> IntCounter {
        series(&self.counters, name, labels)
    }

    pub fn gauge(&self, name: &str, labels: Labels<'_>) -> Gauge {
        series(&self.gauges, name, labels)
    }

    pub fn histogram(&self, name: &str, labels: Labels<'_>) -> Histogram {
        series(&self.histograms, name, labels)
    }

    /// Every series in Prometheus's text format, version 0.0.4.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// The series of a family with these labels, made if it is new. The caller names a metric of the catalogue and all of its
/// labels; anything else is a bug, and panics.
fn series<T: MetricVecBuilder>(families: &HashMap<&'static str, MetricVec<T>>, name: &str, labels: Labels<'_>) -> T::M {
    families[name].with(&labels.iter().copied().collect::<HashMap<_, _>>())
}

/// The label values of all series that a metric may have.
fn every_series(metric: &Metric) -> Vec<Vec<&'static str>> {
    metric.labels.iter().fold(vec![Vec::new()], |series, label| {
        let values = (label.values)();
        series.iter().flat_map(|labels| values.iter().map(|value| [labels.as_slice(), &[*value]].concat())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{CATALOGUE, name};
    use super::*;

    fn rendered(fill: impl FnOnce(&Families)) -> String {
        let families = Families::register(CATALOGUE).unwrap();
        fill(&families);
        families.render().unwrap()
    }

    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn histogram_sample_is_in_every_bucket_up_to_its_bound() {
        let text = rendered(|families| {
            let records = families.histogram(name::WRITER_BATCH_RECORDS, &[("database", "main")]);
            for number in [0.0, 1.0, 2.0, 3.0, 5000.0, 5001.0] {
                records.observe(number);
            }
            families.histogram(name::WRITER_APPLY_SECONDS, &[("database", "main")]).observe(0.000_25);
        });
        let expected = [
            "# TYPE weir_writer_batch_records histogram",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"1\"} 2",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"2\"} 3",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"5\"} 4",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"2500\"} 4",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"5000\"} 5",
            "weir_writer_batch_records_bucket{database=\"main\",le=\"+Inf\"} 6",
            "weir_writer_batch_records_sum{database=\"main\"} 10007",
            "weir_writer_batch_records_count{database=\"main\"} 6",
            "weir_writer_apply_duration_seconds_bucket{database=\"main\",le=\"0.0001\"} 0",
            "weir_writer_apply_duration_seconds_bucket{database=\"main\",le=\"0.00025\"} 1",
            "weir_writer_apply_duration_seconds_sum{database=\"main\"} 0.00025",
        ];
        assert_lines(&text, &expected);
    }

    #[test]
    fn rare_counter_has_all_its_series_from_the_start_and_others_none() {
        let text = rendered(|_| ());
        for metric in CATALOGUE {
            let expected = if matches!(metric.kind, Kind::RareCounter) { every_series(metric).len() } else { 0 };
            let found = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric.name)).count();
            assert_eq!(found, expected, "{}", metric.name);
        }
        assert_lines(
            &text,
            &[
                "weir_limiter_bypassed_total 0",
                "weir_actor_restarts_total{actor=\"warmer\",cause=\"panic\"} 0",
                "# TYPE weir_dead_letters_total counter",
            ],
        );
    }

    #[test]
    fn gauge_without_labels_is_absent_until_it_is_set() {
        let text = rendered(|families| families.gauge(name::READY, &[]).set(1.0));
        assert_lines(&text, &["# HELP weir_ready 1 while /health/ready answers 200.", "weir_ready 1"]);
        assert!(!text.contains("weir_connections"), "{text}");
    }

    // The library takes a hash of all values, one after the other, for the series: no two may have the same.
    #[test]
    fn label_values_of_two_series_never_collide() {
        for metric in CATALOGUE {
            let series = every_series(metric);
            let all: std::collections::HashSet<String> = series.iter().map(|values| values.concat()).collect();
            assert_eq!(all.len(), series.len(), "{}", metric.name);
        }
    }

    #[test]
    fn series_of_two_applications_are_separate() {
        let (one, other) = (Families::register(CATALOGUE).unwrap(), Families::register(CATALOGUE).unwrap());
        one.counter(name::LIMITER_BYPASSED, &[]).inc();
        assert_lines(&other.render().unwrap(), &["weir_limiter_bypassed_total 0"]);
        assert_lines(&one.render().unwrap(), &["weir_limiter_bypassed_total 1"]);
    }
}
