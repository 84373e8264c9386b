//! What two scrapes, one after the other, tell: rates, quantiles, and how full everything is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::scrape::{Labels, Scrape};

/// A Weir at one moment. What has to be counted over a time is `None` after the first scrape.
#[derive(Debug, Default)]
pub struct Picture {
    pub version: Option<String>,
    pub ready: Option<bool>,
    pub process: Process,
    pub connections: Level,
    pub requests_per_second: Option<f64>,
    /// Outcomes that there were since its start, the most frequent first.
    pub outcomes: Vec<(String, Option<f64>)>,
    /// Routes that were asked for since its start, the most frequent first.
    pub routes: Vec<Timed>,
    pub stages: Vec<Timed>,
    pub databases: Vec<Database>,
    pub queues: Vec<(String, Level)>,
    pub restarts: f64,
}

#[derive(Debug, Default)]
pub struct Process {
    pub uptime: Option<Duration>,
    /// Of the last seconds, and since its start; 1 is one core.
    pub cpu: Option<f64>,
    pub average_cpu: Option<f64>,
    pub memory_bytes: Option<f64>,
    pub open_files: Level,
}

/// How much there is, of how much there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    pub now: Option<f64>,
    pub most: Option<f64>,
}

/// Something that happens, how often, and how long it takes.
#[derive(Debug)]
pub struct Timed {
    pub name: String,
    pub per_second: Option<f64>,
    pub quantiles: Option<Quantiles>,
}

/// Seconds; infinite where a time is longer than the histogram measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    /// Up to here it measures.
    pub most: f64,
}

/// A database and its journal.
#[derive(Debug, Default)]
pub struct Database {
    pub name: &'static str,
    pub writable: Option<bool>,
    pub queue: Level,
    pub disk: Level,
    pub appended_per_second: Option<f64>,
    pub writer_up: Option<bool>,
    pub lag_records: Option<f64>,
    pub oldest_seconds: Option<f64>,
    pub applied_per_second: Option<f64>,
    pub rows_per_second: Option<f64>,
    /// Since its start.
    pub retries: Option<f64>,
    pub dead_letters: f64,
}

impl Picture {
    /// What the second scrape tells, and what has changed since the first.
    pub fn of(before: Option<&Scrape>, now: &Scrape, unix_seconds: f64) -> Self {
        let change = Change { before: before.filter(|before| is_same_run(before, now)), now };
        let level = |name, labels: Labels<'_>, most, most_labels: Labels<'_>| Level {
            now: now.value(name, labels),
            most: now.value(most, most_labels),
        };
        let plain = |name, most| level(name, &[], most, &[]);
        let uptime = now.value("process_start_time_seconds", &[]).map(|started| unix_seconds - started);
        let cpu_seconds = now.value("process_cpu_seconds_total", &[]);
        Self {
            version: now.values_of("weir_build_info", "version").first().map(|version| (*version).to_owned()),
            ready: now.value("weir_ready", &[]).map(is_so),
            process: Process {
                uptime: uptime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
                cpu: None,
                average_cpu: cpu_seconds.zip(uptime).map(|(cpu, uptime)| cpu / uptime.max(1.0)),
                memory_bytes: now.value("process_resident_memory_bytes", &[]),
                open_files: plain("process_open_fds", "process_max_fds"),
            },
            connections: plain("weir_connections", "weir_connections_max"),
            requests_per_second: change.per_second("weir_requests_total", &[]),
            outcomes: change.outcomes(),
            routes: change.routes(),
            stages: change.stages(),
            databases: ["analytics", "main"].map(|name| change.database(name)).into(),
            queues: queues(now),
            restarts: now.sum("weir_actor_restarts_total", &[]).unwrap_or_default(),
        }
    }
}

/// The CPU of the last seconds. A process may tell it in whole seconds, so one look after another tells nothing.
#[derive(Default)]
pub struct CpuUse(VecDeque<(Instant, f64)>);

impl CpuUse {
    const WINDOW: Duration = Duration::from_secs(10);
    const LEAST: Duration = Duration::from_secs(5);

    /// Notes another look. `None` until there were enough.
    pub fn note(&mut self, now: &Scrape) -> Option<f64> {
        let seconds = now.value("process_cpu_seconds_total", &[])?;
        if self.0.back().is_some_and(|(_, before)| *before > seconds) {
            self.0.clear();
        }
        while self.0.get(1).is_some_and(|(at, _)| now.at.duration_since(*at) >= Self::WINDOW) {
            self.0.pop_front();
        }
        self.0.push_back((now.at, seconds));
        let (at, before) = self.0.front()?;
        let taken = now.at.duration_since(*at);
        (taken >= Self::LEAST).then(|| (seconds - before) / taken.as_secs_f64())
    }
}

/// What waits, and what is kept, in memory.
fn queues(now: &Scrape) -> Vec<(String, Level)> {
    let of_actor = |actor: &str| Level {
        now: now.value("weir_mailbox_messages", &[("actor", actor)]),
        most: now.value("weir_mailbox_capacity_messages", &[("actor", actor)]),
    };
    let table = |name: &str, now_name: &str, most_name: &str| {
        (name.to_owned(), Level { now: now.value(now_name, &[]), most: now.value(most_name, &[]) })
    };
    let actors = now.values_of("weir_mailbox_messages", "actor");
    let name = |actor: &str| actor.trim_end_matches("_parser").replace('_', " ");
    let mut queues: Vec<_> = actors.into_iter().map(|actor| (name(actor), of_actor(actor))).collect();
    queues.push(table("throttles", "weir_limiter_entries", "weir_limiter_capacity_entries"));
    queues.push(table("fingerprints", "weir_fingerprint_entries", "weir_fingerprint_capacity_entries"));
    queues.push(table("batch keys", "weir_batch_key_entries", "weir_batch_key_capacity_entries"));
    queues
}

fn is_so(value: f64) -> bool {
    value > 0.5
}

/// Counters begin anew with a process.
fn is_same_run(before: &Scrape, now: &Scrape) -> bool {
    let started = |scrape: &Scrape| scrape.value("process_start_time_seconds", &[]);
    let asked = |scrape: &Scrape| scrape.sum("weir_requests_total", &[]).unwrap_or_default();
    started(before) == started(now) && asked(before) <= asked(now)
}

/// From one scrape to the next.
struct Change<'a> {
    before: Option<&'a Scrape>,
    now: &'a Scrape,
}

impl Change<'_> {
    fn seconds(&self) -> Option<f64> {
        let seconds = self.now.at.duration_since(self.before?.at).as_secs_f64();
        (seconds > 0.0).then_some(seconds)
    }

    /// By how much counters grew in a second. One that was not there before has grown from nothing.
    fn per_second(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        let grown = self.now.sum(name, labels)? - self.before?.sum(name, labels).unwrap_or_default();
        Some(grown.max(0.0) / self.seconds()?)
    }

    fn outcomes(&self) -> Vec<(String, Option<f64>)> {
        let outcome = |outcome: &str| {
            let labels = [("outcome", outcome)];
            let all = self.now.sum("weir_requests_total", &labels).unwrap_or_default();
            (outcome.to_owned(), self.per_second("weir_requests_total", &labels), all)
        };
        let mut outcomes: Vec<_> =
            self.now.values_of("weir_requests_total", "outcome").into_iter().map(outcome).collect();
        // By what there was in all: an order by rates would jump from second to second.
        outcomes.sort_by(|one, other| other.2.total_cmp(&one.2).then_with(|| one.0.cmp(&other.0)));
        outcomes.into_iter().map(|(name, per_second, _)| (name, per_second)).collect()
    }

    fn routes(&self) -> Vec<Timed> {
        let metric = "weir_request_duration_seconds";
        let all = |route: &str| self.now.sum("weir_requests_total", &[("route", route)]).unwrap_or_default();
        let mut routes = self.now.values_of("weir_requests_total", "route");
        routes.sort_by(|one, other| all(other).total_cmp(&all(one)).then_with(|| one.cmp(other)));
        routes.into_iter().map(|route| self.timed(route, metric, &[("route", route)])).collect()
    }

    /// A request's way: through the stages, onto the disk, into the database.
    fn stages(&self) -> Vec<Timed> {
        let stage = |name| self.timed(name, "weir_stage_duration_seconds", &[("stage", name)]);
        let mut stages: Vec<Timed> = ["parse", "enrich", "journal"].map(stage).into();
        for (what, metric, label) in [
            ("fsync", "weir_journal_fsync_duration_seconds", "journal"),
            ("apply", "weir_writer_apply_duration_seconds", "database"),
        ] {
            for database in ["analytics", "main"] {
                stages.push(self.timed(&format!("{what} {database}"), metric, &[(label, database)]));
            }
        }
        stages
    }

    fn timed(&self, name: &str, metric: &str, labels: Labels<'_>) -> Timed {
        Timed {
            name: name.to_owned(),
            per_second: self.per_second(&format!("{metric}_count"), labels),
            quantiles: self.quantiles(metric, labels),
        }
    }

    /// Of what was measured between the scrapes. `None` when that is nothing.
    fn quantiles(&self, metric: &str, labels: Labels<'_>) -> Option<Quantiles> {
        let before = self.before?.buckets(metric, labels);
        let earlier = |bound: f64| before.iter().find(|(known, _)| *known >= bound).map_or(0.0, |(_, count)| *count);
        let buckets = self.now.buckets(metric, labels).into_iter();
        let buckets: Vec<(f64, f64)> = buckets.map(|(bound, count)| (bound, count - earlier(bound))).collect();
        let quantile = |share| quantile(&buckets, share);
        let most = buckets.iter().rfind(|(bound, _)| bound.is_finite()).map_or(0.0, |(bound, _)| *bound);
        Some(Quantiles { p50: quantile(0.5)?, p90: quantile(0.9)?, p99: quantile(0.99)?, most })
    }

    fn database(&self, name: &'static str) -> Database {
        let (journal, database) = ([("journal", name)], [("database", name)]);
        let now = |metric, labels: Labels<'_>| self.now.value(metric, labels);
        Database {
            name,
            writable: now("weir_journal_writable", &journal).map(is_so),
            queue: Level {
                now: now("weir_journal_queue_records", &journal),
                most: now("weir_journal_queue_capacity_records", &journal),
            },
            disk: Level {
                // What is applied and kept gives way to records.
                now: now("weir_journal_disk_bytes", &journal)
                    .map(|bytes| bytes - now("weir_journal_kept_bytes", &journal).unwrap_or_default()),
                most: now("weir_journal_disk_max_bytes", &journal),
            },
            appended_per_second: self.per_second("weir_journal_appended_records_total", &journal),
            writer_up: now("weir_writer_up", &database).map(is_so),
            lag_records: now("weir_writer_lag_records", &database),
            oldest_seconds: now("weir_writer_oldest_unapplied_age_seconds", &database),
            applied_per_second: self.per_second("weir_writer_applied_records_total", &database),
            rows_per_second: self.per_second("weir_writer_rows_total", &database).or(self.before.map(|_| 0.0)),
            retries: now("weir_writer_retries_total", &database),
            dead_letters: self.now.sum("weir_dead_letters_total", &database).unwrap_or_default(),
        }
    }
}

/// Where this share of all measurements lies, taken as spread evenly within their bucket.
fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let (_, all) = *buckets.last()?;
    if all <= 0.0 {
        return None;
    }
    let wanted = all * share;
    let (mut lower, mut below) = (0.0, 0.0);
    for &(bound, count) in buckets {
        if count >= wanted {
            let within = if count > below { (wanted - below) / (count - below) } else { 1.0 };
            return Some(if bound.is_finite() { lower + (bound - lower) * within } else { bound });
        }
        (lower, below) = (bound, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn pair(before: &str, now: &str, seconds: u64) -> Picture {
        let began = Instant::now();
        let before = Scrape::parse(before, began).unwrap();
        let now = Scrape::parse(now, began + Duration::from_secs(seconds)).unwrap();
        Picture::of(Some(&before), &now, 2000.0)
    }

    fn close(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 1e-9
    }

    #[test]
    fn rate_is_a_counters_growth_a_second() {
        let picture = pair(
            "weir_requests_total{outcome=\"accepted\"} 100",
            "weir_requests_total{outcome=\"accepted\"} 160\nweir_requests_total{outcome=\"bot\"} 4",
            2,
        );
        assert_eq!(picture.requests_per_second, Some(32.0));
        assert_eq!(picture.outcomes, [("accepted".to_owned(), Some(30.0)), ("bot".to_owned(), Some(2.0))]);
    }

    #[test]
    fn cpu_use_is_averaged_over_several_seconds() {
        let (began, mut cpu) = (Instant::now(), CpuUse::default());
        let mut look = |second: u64, seconds: u64| {
            let text = format!("weir_ready 1\nprocess_cpu_seconds_total {seconds}");
            cpu.note(&Scrape::parse(&text, began + Duration::from_secs(second)).unwrap())
        };
        assert_eq!((look(0, 100), look(2, 100), look(4, 101)), (None, None, None));
        assert_eq!(look(5, 103), Some(0.6));
        assert_eq!(look(14, 120), Some(1.9), "of the last ten seconds");
        assert_eq!(look(15, 0), None, "a process of its own");
        assert_eq!(look(25, 5), Some(0.5));
    }

    #[test]
    fn first_scrape_gives_no_rate() {
        let now =
            Scrape::parse("weir_requests_total{outcome=\"accepted\",route=\"session\"} 9", Instant::now()).unwrap();
        let picture = Picture::of(None, &now, 0.0);
        assert_eq!((picture.requests_per_second, picture.outcomes[0].1), (None, None));
        assert!(picture.routes[0].quantiles.is_none() && picture.process.uptime.is_none());
    }

    #[test]
    fn restart_between_scrapes_gives_no_rate() {
        let restarted = pair(
            "weir_requests_total 10\nprocess_start_time_seconds 1000",
            "weir_requests_total 20\nprocess_start_time_seconds 1900",
            1,
        );
        assert_eq!(restarted.requests_per_second, None);
        assert_eq!(restarted.process.uptime, Some(Duration::from_secs(100)));
        // Where the system tells no start.
        assert_eq!(pair("weir_requests_total 10", "weir_requests_total 3", 1).requests_per_second, None);
    }

    #[test]
    fn quantiles_cover_samples_between_the_scrapes() {
        let buckets = |counts: [u32; 4]| {
            let bounds = ["0.001", "0.01", "0.1", "+Inf"];
            let line =
                |(le, count)| format!("weir_stage_duration_seconds_bucket{{stage=\"parse\",le=\"{le}\"}} {count}\n");
            let lines: String = bounds.iter().zip(counts).map(line).collect();
            format!("# TYPE weir_stage_duration_seconds histogram\n{lines}")
        };
        let parse = |before, now| pair(&buckets(before), &buckets(now), 1).stages.remove(0).quantiles;
        // A slow past is not the present: of the new ones half are below 1 ms, the others up to 10 ms.
        let found = parse([0, 0, 0, 1000], [50, 100, 100, 1100]).unwrap();
        assert!(close(found.p50, 0.001) && close(found.p90, 0.0082) && close(found.p99, 0.00982), "{found:?}");
        let slow = parse([0; 4], [0, 0, 50, 100]).unwrap();
        assert!(close(slow.p50, 0.1) && slow.p90.is_infinite() && close(slow.most, 0.1), "{slow:?}");
        assert_eq!(parse([5; 4], [5; 4]), None);
    }
}
