//! Random faults, two at a time, for as long as it is given: `load-tests/faults --hours H --seed S`.
//!
//! It goes leg by leg. A leg has a server and databases of its own and a seed that says which faults meet in which of its
//! rounds, and after which pauses; a leg that fails prints it, and `--seed` begins with that leg again. What a machine makes of
//! the same pauses differs from run to run; which faults meet does not. Every leg ends with its ledger held against both
//! databases, and memory knows one leg's records only.

use std::time::{Duration, Instant};

use weir_testkit::on_both_databases;
use weir_testkit::proxy::{Link, Proxy};

use super::ledger::Sums;
use super::outage::Outage;
use super::*;

const CLIENTS: usize = 16;
/// A leg ends after so many rounds, or when so many records were acknowledged.
const ROUNDS: usize = 20;
const RECORDS: usize = 200_000;
/// Without hours, what one leg is.
const FEW_ROUNDS: usize = 4;

/// Numbers from a seed, the same ones everywhere: `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// A pause of up to so many milliseconds. No event to be awaited: the moment is meant to be any.
    async fn pause(&mut self, most_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(most_ms))).await;
    }
}

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Restart,
    /// A fail point that is armed.
    Point(&'static str),
    Away(Database),
    GoesBack(Database),
    Link(Link),
    /// Every backend of PostgreSQL is terminated.
    BackendsEnd,
}

/// Faults that any engine knows. What kills is named more than once: most of all must be kills.
const EVERYWHERE: &[Fault] = &[
    Fault::Kill,
    Fault::Kill,
    Fault::Kill,
    Fault::Kill,
    Fault::Restart,
    Fault::Point("journal.write=20*off->return(abort)"),
    Fault::Point("journal.sync=20*off->return(abort)"),
    Fault::Point("journal.synced=20*off->return(abort)"),
    Fault::Point("writer.committed=2*off->return(abort)"),
    Fault::Point("journal.sync=3*return(5)"),
    Fault::Point("journal.write=3*return(28)"),
    Fault::Point("journal.segment=2*return(28)"),
    Fault::Point("journal.sync=sleep(100)"),
    Fault::Point("journal.sync=10*off->1*panic"),
    Fault::Point("journal.synced=10*off->1*panic"),
    Fault::Point("writer.committed=1*panic"),
    Fault::Point("clock.wall=3600000"),
    Fault::Point("clock.wall=-3600000"),
    Fault::Away(Database::Analytics),
    Fault::Away(Database::Main),
    Fault::GoesBack(Database::Analytics),
    Fault::GoesBack(Database::Main),
];

/// Those of a server behind a network.
const ON_POSTGRES: &[Fault] = &[
    Fault::Link(Link::LostCommits),
    Fault::Link(Link::Reset),
    Fault::Link(Link::Stalled),
    Fault::Link(Link::Slow(Duration::from_millis(50))),
    Fault::BackendsEnd,
];

impl Fault {
    fn any(random: &mut Random, backend: Backend) -> Self {
        let all = EVERYWHERE.len() + if backend == Backend::Postgres { ON_POSTGRES.len() } else { 0 };
        let at = usize::try_from(random.below(all as u64)).unwrap();
        EVERYWHERE.get(at).copied().unwrap_or_else(|| ON_POSTGRES[at - EVERYWHERE.len()])
    }

    fn point(self) -> Option<&'static str> {
        match self {
            Self::Point(point) => Some(point),
            _ => None,
        }
    }

    /// Whether both can be there at once: one fail point has one action, and nobody restores what nobody reaches.
    fn meets(self, other: Self) -> bool {
        let name = |fault: Self| fault.point().and_then(|point| point.split_once('=')).map(|(name, _)| name);
        // Nor can who is to be let in again tell the other database so.
        let hides = |one: Self, two: Self| match (one, two) {
            (Self::Away(away), Self::GoesBack(back)) => away == back,
            (Self::Away(_), Self::Away(_) | Self::BackendsEnd) => true,
            _ => false,
        };
        let is_same = self == other && !matches!(self, Self::Kill | Self::Restart);
        !is_same && (name(self).is_none() || name(self) != name(other)) && !hides(self, other) && !hides(other, self)
    }
}

/// A leg under way.
struct Leg {
    app: TestApp,
    points: FailPoints,
    proxies: Vec<Proxy>,
    ledger: Ledger,
    load: Option<Load>,
    loads: usize,
    kills: u64,
}

impl Leg {
    async fn begin(backend: Backend) -> Self {
        let (mut app, points) = prepared(backend).await;
        app.set("WEIR_JOURNAL__SEGMENT_BYTES", "1MiB");
        // A line a request would be gigabytes.
        app.set("WEIR_LOG", "info");
        let mut proxies = Vec::new();
        if backend == Backend::Postgres {
            for (name, url) in
                [("ANALYTICS", app.databases.analytics_url.clone()), ("MAIN", app.databases.main_url.clone())]
            {
                let (proxy, url) = Proxy::to_url(&url).await;
                app.set(&format!("WEIR_{name}_DATABASE_URL"), &url);
                proxies.push(proxy);
            }
        }
        app.launch().await;
        app.applied().await;
        let ledger = Ledger::of("random faults, two at a time", backend);
        Self { app, points, proxies, ledger, load: None, loads: 0, kills: 0 }
    }

    fn go_on(&mut self) {
        self.loads += 1;
        self.load = Some(Load::start(&self.app, CLIENTS, &self.loads.to_string()));
    }

    /// Sees to it that there is a server and a load: whatever has died is started again.
    async fn revive(&mut self) {
        if self.app.has_exited() {
            self.kills += 1;
            self.finish().await;
            self.app.launch().await;
        }
        if self.load.is_none() {
            self.go_on();
        }
    }

    async fn finish(&mut self) {
        if let Some(load) = self.load.take() {
            load.finish(&mut self.ledger).await;
        }
    }

    async fn round(&mut self, faults: [Fault; 2], random: &mut Random) {
        for fault in faults {
            if let Fault::GoesBack(database) = fault {
                self.app.databases.keep_copy(database).await;
            }
        }
        self.revive().await;
        random.pause(300).await;
        self.arm(&[faults[0]]);
        let first = self.break_it(faults[0]).await;
        random.pause(300).await;
        self.arm(&faults);
        let second = self.break_it(faults[1]).await;
        random.pause(600).await;
        for outage in [second, first].into_iter().flatten() {
            outage.end(&self.app).await;
        }
        for proxy in &self.proxies {
            proxy.set(Link::Up);
        }
        self.points.disarm();
        self.revive().await;
        random.pause(300).await;
    }

    fn arm(&self, faults: &[Fault]) {
        self.points.arm(&faults.iter().filter_map(|fault| fault.point()).collect::<Vec<_>>());
    }

    async fn break_it(&mut self, fault: Fault) -> Option<Outage> {
        match fault {
            Fault::Point(_) => {}
            Fault::Kill => {
                if !self.app.has_exited() {
                    self.app.signal("KILL");
                    let _ = self.app.wait_for_exit().await;
                }
                self.revive().await;
            }
            Fault::Restart => {
                if !self.app.has_exited() {
                    self.app.signal("TERM");
                    self.finish().await;
                    let _ = self.app.wait_for_exit().await;
                    self.app.launch().await;
                }
                self.revive().await;
            }
            Fault::Away(database) => return Some(Outage::of_database(&self.app, database).await),
            Fault::GoesBack(database) => self.app.databases.go_back(database).await,
            Fault::Link(link) => self.proxies.iter().for_each(|proxy| proxy.set(link)),
            Fault::BackendsEnd => {
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                           WHERE datname = current_database() AND pid <> pg_backend_pid()";
                for database in [Database::Analytics, Database::Main] {
                    self.app.databases.execute(database, end).await;
                }
            }
        }
        None
    }
}

/// What the environment says, as `load-tests/faults` sets it.
fn told<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

on_both_databases! {
    #[ignore = "takes as long as it is given: load-tests/faults --hours H"]
    async fn random_faults_two_at_a_time_lose_and_double_nothing(backend) {
        // Of two databases each gets a half.
        let hours: Option<f64> = told("WEIR_CAMPAIGN_HOURS");
        let until = hours.map(|hours| Instant::now() + Duration::from_secs_f64(hours * 1800.0));
        let rounds = if until.is_some() { ROUNDS } else { FEW_ROUNDS };
        let begun: u64 = told("WEIR_CAMPAIGN_SEED").unwrap_or(1);
        let (mut seed, mut kills, mut all_rounds, mut total) = (begun, 0, 0, Sums::default());
        loop {
            let mut random = Random(seed);
            let mut leg = Leg::begin(backend).await;
            println!("seed {seed}, {backend:?}");
            for round in 0..rounds {
                let first = Fault::any(&mut random, backend);
                let mut second = Fault::any(&mut random, backend);
                while !first.meets(second) {
                    second = Fault::any(&mut random, backend);
                }
                println!("  {round}: {first:?}, {second:?}");
                leg.round([first, second], &mut random).await;
                all_rounds += 1;
                let is_over = until.is_some_and(|until| Instant::now() >= until);
                if is_over || leg.ledger.acknowledged() >= RECORDS {
                    break;
                }
            }
            leg.finish().await;
            let sums = leg.ledger.sums(&leg.app).await;
            leg.ledger.refused_are_not_stored(&leg.app).await;
            println!("  {sums:?}, {} kills", leg.kills);
            assert_eq!((sums.missing, sums.doubled), (0, 0), "missing, doubled: begin again with --seed {seed}");
            total.add(sums);
            kills += leg.kills;
            seed = seed.wrapping_add(1);
            if until.is_none_or(|until| Instant::now() >= until) {
                break;
            }
        }
        let mut ledger = Ledger::of("random faults, two at a time", backend);
        ledger.note(format!("{all_rounds} pairs of faults, {kills} processes died; seeds {begun} to {}", seed - 1));
        ledger.close(total);
    }
}
