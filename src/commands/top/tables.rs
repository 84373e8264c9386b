//! A picture in words: the rows that are drawn on a terminal, or printed.

use super::model::{Database, Level, Picture, Quantiles, Timed};
use crate::commands::words::{UNKNOWN, bytes, count, duration, rate, short, time};

/// One place of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub text: String,
    /// An operator should look.
    pub alarms: bool,
}

impl Cell {
    fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), alarms: false }
    }

    fn alarming(text: impl Into<String>, alarms: bool) -> Self {
        Self { text: text.into(), alarms }
    }
}

/// From this share of its bound on, something is about to be full.
const NEARLY_FULL: f64 = 0.8;
/// A record that waits longer waits for more than the writer's pace.
const LATE_SECONDS: f64 = 10.0;
/// Outcomes that are no client's doing.
const OWN_FAULTS: [&str; 2] = ["unavailable", "failed"];

/// Whether it is ready, and for how long it runs.
pub fn state(picture: &Picture) -> Cell {
    let up = picture.process.uptime.map_or(String::new(), |uptime| format!(", up {}", duration(uptime)));
    match picture.ready {
        Some(true) => Cell::plain(format!("ready{up}")),
        Some(false) => Cell::alarming(format!("not ready{up}"), true),
        None => Cell::plain(up.trim_start_matches(", ")),
    }
}

/// What the process takes.
pub fn process(picture: &Picture) -> Vec<(&'static str, Cell)> {
    let process = &picture.process;
    let percent = |cores: f64| format!("{:.0} %", cores * 100.0);
    let average = || process.average_cpu.map_or(UNKNOWN.to_owned(), |cores| format!("{} avg", percent(cores)));
    let cpu = process.cpu.map_or_else(average, percent);
    vec![
        ("cpu", Cell::plain(cpu)),
        ("memory", Cell::plain(process.memory_bytes.map_or(UNKNOWN.to_owned(), bytes))),
        ("restarts", Cell::alarming(count(picture.restarts), picture.restarts > 0.0)),
        ("connections", level(picture.connections, short)),
        ("files", level(process.open_files, short)),
    ]
}

/// Every outcome with its rate.
pub fn outcomes(picture: &Picture) -> Vec<(String, Cell)> {
    let own_fault = |name: &str| OWN_FAULTS.contains(&name);
    let cell = |(name, per_second): &(String, Option<f64>)| {
        let alarms = own_fault(name) && per_second.is_some_and(|per_second| per_second > 0.0);
        (name.clone(), Cell::alarming(known(*per_second, rate), alarms))
    };
    picture.outcomes.iter().map(cell).collect()
}

/// Name, rate and three quantiles.
pub fn timed(rows: &[Timed]) -> Vec<[Cell; 5]> {
    let row = |timed: &Timed| {
        let quantile = |of: fn(&Quantiles) -> f64| match timed.quantiles.as_ref().map(|all| (of(all), all.most)) {
            Some((seconds, _)) if seconds.is_finite() => time(seconds),
            Some((_, most)) => format!("> {}", time(most)),
            None => UNKNOWN.to_owned(),
        };
        let times = [quantile(|all| all.p50), quantile(|all| all.p90), quantile(|all| all.p99)].map(Cell::plain);
        let [p50, p90, p99] = times;
        [Cell::plain(timed.name.clone()), Cell::plain(known(timed.per_second, rate)), p50, p90, p99]
    };
    rows.iter().map(row).collect()
}

/// What is told of a database and its journal.
pub const OF_DATABASE: [&str; 11] = [
    "journal",
    "queue",
    "disk",
    "appended/s",
    "writer",
    "behind",
    "oldest",
    "applied/s",
    "rows/s",
    "retries",
    "dead letters",
];

/// The same of one of them, in that order.
pub fn database(database: &Database) -> [Cell; 11] {
    let word = |so: Option<bool>, yes: &str, no: &str| match so {
        Some(true) => Cell::plain(yes),
        Some(false) => Cell::alarming(no, true),
        None => Cell::plain(UNKNOWN),
    };
    let is_late = database.oldest_seconds.is_some_and(|seconds| seconds > LATE_SECONDS);
    let oldest = database.oldest_seconds.map_or(UNKNOWN.to_owned(), |seconds| {
        if seconds < 60.0 { time(seconds) } else { duration(std::time::Duration::from_secs_f64(seconds)) }
    });
    [
        word(database.writable, "accepts records", "refuses"),
        level(database.queue, short),
        level(database.disk, bytes),
        Cell::plain(known(database.appended_per_second, rate)),
        word(database.writer_up, "up", "cannot apply"),
        Cell::plain(known(database.lag_records, count)),
        Cell::alarming(oldest, is_late),
        Cell::plain(known(database.applied_per_second, rate)),
        Cell::plain(known(database.rows_per_second, rate)),
        Cell::plain(known(database.retries, count)),
        Cell::alarming(count(database.dead_letters), database.dead_letters > 0.0),
    ]
}

/// Queues and tables in memory.
pub fn queues(picture: &Picture) -> Vec<[Cell; 2]> {
    picture.queues.iter().map(|(name, of)| [Cell::plain(name.clone()), level(*of, short)]).collect()
}

fn known(value: Option<f64>, words: fn(f64) -> String) -> String {
    value.map_or(UNKNOWN.to_owned(), words)
}

fn level(level: Level, words: fn(f64) -> String) -> Cell {
    let Some(now) = level.now else { return Cell::plain(UNKNOWN) };
    match level.most {
        Some(most) => Cell::alarming(format!("{} / {}", words(now), words(most)), now >= most * NEARLY_FULL),
        None => Cell::plain(words(now)),
    }
}
