//! One reading of `/metrics`: the series of Prometheus's text format, by name and labels.

use std::time::Instant;

use prometheus_parse::{LineInfo, Sample, Value};

/// Every series of a Weir at one moment.
#[derive(Debug)]
pub struct Scrape {
    pub at: Instant,
    samples: Vec<Sample>,
}

/// What labels a series must have; others are not looked at.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Scrape {
    /// Reads the text.
    ///
    /// # Errors
    /// When the text is not the metrics of a Weir, with the reason.
    pub fn parse(text: &str, at: Instant) -> Result<Self, String> {
        // The library skips lines that it cannot read.
        if let Some((number, _)) = (1..).zip(text.lines()).find(|(_, line)| !is_readable(line)) {
            return Err(format!("line {number} of its metrics is none"));
        }
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let samples = prometheus_parse::Scrape::parse(lines).map_err(|error| error.to_string())?.samples;
        if !samples.iter().any(|sample| sample.metric.starts_with("weir_")) {
            return Err("these are not the metrics of a weir".to_owned());
        }
        Ok(Self { at, samples })
    }

    fn of<'a>(&'a self, name: &'a str, labels: Labels<'a>) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.metric == name && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(value))
        })
    }

    /// The value of the one series.
    pub fn value(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        self.of(name, labels).find_map(number)
    }

    /// All series together. `None` when there is none.
    pub fn sum(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        self.of(name, labels).filter_map(number).reduce(|all, value| all + value)
    }

    /// The values that a label has, in the order in which they come.
    pub fn values_of(&self, name: &'static str, label: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for value in self.of(name, &[]).filter_map(|sample| sample.labels.get(label)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    /// A histogram's buckets: upper bound and count, the smallest first.
    pub fn buckets(&self, name: &str, labels: Labels<'_>) -> Vec<(f64, f64)> {
        let buckets = self.of(name, labels).find_map(|sample| match &sample.value {
            Value::Histogram(buckets) => Some(buckets.iter().map(|bucket| (bucket.less_than, bucket.count))),
            _ => None,
        });
        let mut buckets: Vec<(f64, f64)> = buckets.into_iter().flatten().collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        buckets
    }
}

fn is_readable(line: &str) -> bool {
    match LineInfo::parse(line) {
        LineInfo::Sample { value, .. } => value.parse::<f64>().is_ok(),
        LineInfo::Ignored => line.trim_start().starts_with('#'),
        LineInfo::Doc { .. } | LineInfo::Type { .. } | LineInfo::Empty => true,
    }
}

fn number(sample: &Sample) -> Option<f64> {
    match sample.value {
        Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => Some(value),
        Value::Histogram(_) | Value::Summary(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(text: &str) -> Result<Scrape, String> {
        Scrape::parse(text, Instant::now())
    }

    #[test]
    fn series_are_found_by_name_and_labels() {
        let text = "# HELP weir_requests_total Requests.\n# TYPE weir_requests_total counter\n\
             weir_requests_total{route=\"session\",outcome=\"accepted\",status=\"200\"} 7\n\
             weir_requests_total{route=\"session\",outcome=\"bot\",status=\"200\"} 2\n\
             weir_requests_total{route=\"leave\",outcome=\"accepted\",status=\"200\"} 1 1732590000000\n\n\
             weir_connections 3e2\n";
        let scrape = scrape(text).unwrap();
        assert_eq!(scrape.value("weir_connections", &[]), Some(300.0));
        assert_eq!(scrape.value("weir_connections_max", &[]), None);
        assert_eq!(scrape.sum("weir_requests_total", &[]), Some(10.0));
        assert_eq!(scrape.sum("weir_requests_total", &[("outcome", "accepted")]), Some(8.0));
        assert_eq!(scrape.sum("weir_requests_total", &[("outcome", "none")]), None);
        assert_eq!(scrape.values_of("weir_requests_total", "route"), ["session", "leave"]);
    }

    #[test]
    fn histogram_buckets_are_sorted_by_bound() {
        let text = "# TYPE weir_seconds histogram\nweir_seconds_bucket{le=\"+Inf\"} 3\nweir_seconds_bucket{le=\"0.5\"} 2\n\
                    weir_seconds_bucket{le=\"0.01\"} 1\nweir_seconds_count 3";
        let scrape = scrape(text).unwrap();
        assert_eq!(scrape.buckets("weir_seconds", &[]), [(0.01, 1.0), (0.5, 2.0), (f64::INFINITY, 3.0)]);
        assert_eq!((scrape.value("weir_seconds_count", &[]), scrape.value("weir_seconds", &[])), (Some(3.0), None));
    }

    #[test]
    fn text_that_is_no_metric_of_a_weir_is_refused() {
        let broken = ["weir_x", "weir_x{a=\"b\" 1", "weir_x{a=\"b\"} one", "weir_x{a=\"b", "weir_x{", "{} 1"];
        for text in broken {
            assert_eq!(scrape(text).err(), Some("line 1 of its metrics is none".to_owned()), "{text}");
        }
        for foreign in ["", "# nothing\n", "go_goroutines 12\n"] {
            assert!(scrape(foreign).unwrap_err().contains("not the metrics of a weir"), "{foreign}");
        }
    }
}
