//! One reading of `/metrics`: the series of Prometheus' text format, by name and labels.

use std::time::Instant;

/// Everything that a Weir told at one moment.
#[derive(Debug)]
pub struct Scrape {
    pub at: Instant,
    samples: Vec<Sample>,
}

#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// What labels a series must have; others are not looked at.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Scrape {
    /// Reads the text.
    ///
    /// # Errors
    /// Says why it is not what a Weir tells.
    pub fn parse(text: &str, at: Instant) -> Result<Self, String> {
        let mut samples = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if !line.is_empty() && !line.starts_with('#') {
                let sample = Sample::parse(line).ok_or_else(|| format!("line {number} of its metrics is none"))?;
                samples.push(sample);
            }
        }
        if !samples.iter().any(|sample| sample.name.starts_with("weir_")) {
            return Err("these are not the metrics of a weir".to_owned());
        }
        Ok(Self { at, samples })
    }

    fn of<'a>(&'a self, name: &'a str, labels: Labels<'a>) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name && labels.iter().all(|(label, value)| sample.label(label) == Some(value))
        })
    }

    /// The value of the one series.
    pub fn value(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        self.of(name, labels).next().map(|sample| sample.value)
    }

    /// All series together. `None` when there is none.
    pub fn sum(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        self.of(name, labels).map(|sample| sample.value).reduce(|all, value| all + value)
    }

    /// The values that a label has, in the order in which they come.
    pub fn values_of(&self, name: &'static str, label: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for value in self.of(name, &[]).filter_map(|sample| sample.label(label)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    /// A histogram's buckets: upper bound and count, the smallest first.
    pub fn buckets(&self, name: &str, labels: Labels<'_>) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let bound = |sample: &Sample| number(sample.label("le")?);
        let found = self.of(&name, labels).filter_map(|sample| Some((bound(sample)?, sample.value)));
        let mut buckets: Vec<(f64, f64)> = found.collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        buckets
    }
}

impl Sample {
    /// `name{label="value",…} number`, and perhaps a time, which is passed over.
    fn parse(line: &str) -> Option<Self> {
        let name_ends = line.find(|character: char| character == '{' || character.is_whitespace())?;
        let (name, mut rest) = line.split_at(name_ends);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside.trim_start();
            while !rest.starts_with('}') {
                let (label, after) = rest.split_once('=')?;
                let (value, after) = quoted(after.trim_start())?;
                labels.push((label.trim().to_owned(), value));
                rest = after.trim_start();
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            }
            rest = &rest[1..];
        }
        let value = number(rest.split_whitespace().next()?)?;
        (!name.is_empty()).then(|| Self { name: name.to_owned(), labels, value })
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

/// A text in quotes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.strip_prefix('"')?.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                escaped => escaped,
            }),
            other => value.push(other),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
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
    fn buckets_come_in_order() {
        let text = "weir_seconds_bucket{le=\"+Inf\"} 3\nweir_seconds_bucket{le=\"0.5\"} 2\nweir_seconds_bucket{le=\"0.01\"} 1\n\
                    weir_seconds_count 3";
        assert_eq!(scrape(text).unwrap().buckets("weir_seconds", &[]), [(0.01, 1.0), (0.5, 2.0), (f64::INFINITY, 3.0)]);
    }

    #[test]
    fn a_label_may_hold_anything() {
        let sample = Sample::parse(r#"weir_x{ a = "b\"c\\d\ne}," , z="" } -1.5"#).unwrap();
        assert_eq!(sample.labels, [("a".into(), "b\"c\\d\ne},".into()), ("z".into(), String::new())]);
        assert!((sample.value + 1.5).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_no_metric_of_a_weir_is_refused() {
        let broken =
            ["weir_x", "weir_x{a=\"b\" 1", "weir_x{a=b} 1", "weir_x{a=\"b\"} one", "weir_x{a=\"b", "weir_x{", "{} 1"];
        for text in broken {
            assert_eq!(scrape(text).err(), Some("line 1 of its metrics is none".to_owned()), "{text}");
        }
        for foreign in ["", "# nothing\n", "go_goroutines 12\n"] {
            assert!(scrape(foreign).unwrap_err().contains("not the metrics of a weir"), "{foreign}");
        }
    }
}
