//! The same, where there is no terminal: one picture as lines.

use super::model::Picture;
use super::tables::{self, Cell};

/// The lines.
pub fn lines(url: &str, picture: &Picture) -> Vec<String> {
    let version = picture.version.as_deref().unwrap_or_default();
    let mut lines = vec![format!("weir {version} at {url}: {}", tables::state(picture).text)];
    let facts = tables::process(picture).into_iter().map(|(name, cell)| format!("{name} {}", cell.text));
    lines.push(facts.collect::<Vec<_>>().join(", "));
    if let Some(per_second) = picture.requests_per_second {
        lines.push(format!("\nrequests {}/s", super::words::rate(per_second)));
    }
    lines.extend(tables::outcomes(picture).into_iter().map(|(name, cell)| format!("  {name:22}{:>8}/s", cell.text)));
    for (what, rows) in [("route", &picture.routes), ("stage", &picture.stages)] {
        lines.push(format!("\n{what:24}{:>8}{:>10}{:>10}{:>10}", "/s", "p50", "p90", "p99"));
        for [name, rate, p50, p90, p99] in tables::timed(rows).iter().map(|row| row.each_ref().map(text)) {
            lines.push(format!("  {name:22}{rate:>8}{p50:>10}{p90:>10}{p99:>10}"));
        }
    }
    for database in &picture.databases {
        lines.push(format!("\n{}", database.name));
        let cells = tables::database(database);
        lines.extend(tables::OF_DATABASE.iter().zip(&cells).map(|(what, cell)| format!("  {what:22}{}", cell.text)));
    }
    lines.push("\nin memory".to_owned());
    lines.extend(tables::queues(picture).iter().map(|[name, level]| format!("  {:22}{}", name.text, level.text)));
    lines
}

fn text(cell: &Cell) -> &str {
    &cell.text
}
