//! `docs/metrics.md`, made from the catalogue. `UPDATE_DOCUMENTS=1 cargo test --lib telemetry::document` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use super::catalogue::{CATALOGUE, Kind, Metric};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

const HEAD: &str = "\
# Metrics

Every series of `/metrics`, made from the code; a test fails when they differ. Counters count since the process began. Labels
have the values listed below and no others, so the number of series is bounded.

What adds up, whenever nothing is on its way:

- `weir_requests_total` counts every request once, so its sum over `outcome` is the number of requests, and so is
  `weir_request_duration_seconds_count`.
- `weir_journal_appended_records_total` = `weir_writer_applied_records_total` + `weir_dead_letters_total` +
  `weir_writer_lag_records`, for one journal and its database, in a process that began with nothing behind. A record that was
  damaged on disk is a dead letter too.

";

const TAIL: &str = "
On Linux also the process's own, as every exporter names them: `process_cpu_seconds_total`, `process_resident_memory_bytes`,
`process_virtual_memory_bytes`, `process_virtual_memory_max_bytes`, `process_open_fds`, `process_max_fds`, `process_threads`,
`process_start_time_seconds`.
";

fn document() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for metric in CATALOGUE {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{}`", label.name)).collect();
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", metric.name, kind(metric), labels.join(", "), metric.help);
    }
    text.push_str("\n## Labels\n\n| label | of | values |\n|---|---|---|\n");
    let mut told: Vec<(&str, Vec<&str>)> = Vec::new();
    for label in CATALOGUE.iter().flat_map(|metric| metric.labels) {
        let values = (label.values)();
        if told.contains(&(label.name, values.clone())) {
            continue;
        }
        let of: Vec<String> = CATALOGUE
            .iter()
            .filter(|metric| metric.labels.iter().any(|other| other.name == label.name && (other.values)() == values))
            .map(|metric| format!("`{}`", metric.name))
            .collect();
        let of = if of.len() > 4 { format!("{} metrics", of.len()) } else { of.join(", ") };
        // The version is another one with every release.
        let listed = if label.name == "version" { "Weir's".to_owned() } else { format!("`{}`", values.join("`, `")) };
        let _ = writeln!(text, "| `{}` | {of} | {listed} |", label.name);
        told.push((label.name, values));
    }
    text.push_str(TAIL);
    text
}

fn kind(metric: &Metric) -> String {
    match metric.kind {
        Kind::Counter => "counter".to_owned(),
        Kind::RareCounter => "counter, from 0".to_owned(),
        Kind::Gauge => "gauge".to_owned(),
        Kind::Histogram(bounds) => {
            format!("histogram, {} buckets to {}", bounds.len(), bounds.last().unwrap())
        }
    }
}

#[test]
fn metrics_document_matches_the_catalogue() {
    let expected = document();
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        std::fs::write(Path::new(PATH), &expected).unwrap();
    }
    let found = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(found == expected, "docs/metrics.md is not what the code says: UPDATE_DOCUMENTS=1 writes it anew");
}
