//! What `/metrics` says, held against what `docs/metrics.md` promises.

use std::collections::{BTreeMap, BTreeSet};

/// Panics over a series that is not in the document, or has a label or a value that is not.
pub fn assert_documented(metrics: &str) {
    let document = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md"));
    let (names, values) = (names(document), values(document));
    for series in metrics.lines().filter(|line| line.starts_with("weir_")) {
        let name = series.split(['{', ' ']).next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let labels = names.get(name).or_else(|| names.get(base?));
        let labels = labels.unwrap_or_else(|| panic!("{name} is not documented"));
        let inside = series.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
        for pair in inside.split("\",").filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.trim_end_matches('"').split_once("=\"").unwrap();
            assert!(label == "le" || labels.contains(label), "{series}: no label {label} is documented");
            let known = label == "le" || label == "version" || values[label].contains(value);
            assert!(known, "{series}: no value {value} of {label} is documented");
        }
    }
}

/// The words in backquotes.
fn quoted(cell: &str) -> BTreeSet<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn rows(part: &str) -> impl Iterator<Item = Vec<&str>> {
    part.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').map(str::trim).collect())
}

/// Every metric with its labels.
fn names(document: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let (metrics, _) = document.split_once("## Labels").unwrap();
    rows(metrics).map(|cells| (cells[1].trim_matches('`'), quoted(cells[3]))).collect()
}

/// Every label with its values, whatever it is a label of.
fn values(document: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let (_, labels) = document.split_once("## Labels").unwrap();
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for cells in rows(labels) {
        values.entry(cells[1].trim_matches('`')).or_default().extend(quoted(cells[3]));
    }
    values
}
