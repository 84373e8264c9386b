//! A long outage: the backlog is on disk, and memory does not know how long it is.

use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection as _};
use weir_testkit::{exclusive, on_both_databases};

use super::flood::{Pace, Until, flood};
use super::memory::{mebibytes, resident_bytes};
use super::overload::settle_floods;
use super::*;

/// How much memory may grow from the first tenth of a backlog to its end.
const GROWTH_BYTES: u64 = 32 << 20;
const CONNECTIONS: u64 = 64;
const LAG: &str = "weir_writer_lag_records{database=\"analytics\"}";
const AGE: &str = "weir_writer_oldest_unapplied_age_seconds{database=\"analytics\"}";
const APPLIED: &str = "weir_writer_position{database=\"analytics\"}";
/// The most records that are committed and not yet counted as applied: one batch of either engine.
const BATCH: u64 = 8_000;

/// Keeps a database from everybody, until it is released.
pub enum Outage {
    Postgres(Database),
    Sqlite(Box<sqlx::SqliteConnection>),
}

impl Outage {
    pub async fn of(app: &TestApp) -> Self {
        Self::of_database(app, Database::Analytics).await
    }

    pub async fn of_database(app: &TestApp, database: Database) -> Self {
        if app.databases.backend == Backend::Postgres {
            app.databases.allow_connections(database, false).await;
            return Self::Postgres(database);
        }
        let options: sqlx::sqlite::SqliteConnectOptions = app.databases.url(database).parse().unwrap();
        let mut holder = options.busy_timeout(weir_testkit::PATIENCE).connect().await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
        Self::Sqlite(Box::new(holder))
    }

    pub async fn end(self, app: &TestApp) {
        match self {
            Self::Postgres(database) => app.databases.allow_connections(database, true).await,
            Self::Sqlite(holder) => holder.close().await.unwrap(),
        }
    }
}

/// What `weir journal status --json` says of the analytics journal.
async fn journal_status(app: &TestApp) -> Value {
    let status = app.run(&["journal", "status", "--json"]).await;
    let first = status.stdout.lines().next().unwrap_or_else(|| panic!("{status:?}"));
    serde_json::from_str(first).unwrap()
}

/// One series in one answer of `/metrics`.
fn series(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// What metrics and command line told of a backlog while it was caught up.
struct Looks {
    /// All that was ever acknowledged.
    acknowledged: u64,
    /// What the command line said was behind, look by look.
    behind: Vec<u64>,
}

impl Looks {
    /// Looks once. Whoever is asked: what is applied and what is behind is everything, and nothing falls back.
    async fn look(&mut self, app: &TestApp) {
        let before = self.metrics(app).await;
        let status = journal_status(app).await;
        let after = self.metrics(app).await;
        let number = |name: &str| status[name].as_u64().unwrap_or_else(|| panic!("no {name}: {status}"));
        let behind = number("lag_records");
        assert_eq!(number("durable_position"), self.acknowledged, "{status}");
        assert_eq!(number("applied_position") + behind, self.acknowledged, "{status}");
        // The server learns of a commit a moment after the database has it.
        assert!(behind <= before && behind + BATCH >= after, "{behind} behind, of {before} before and {after} after");
        assert!(self.behind.last().is_none_or(|last| behind <= *last), "{behind} after {:?}", self.behind);
        self.behind.push(behind);
    }

    /// How much is behind by the metrics.
    async fn metrics(&self, app: &TestApp) -> u64 {
        let metrics = app.metrics().await;
        let behind = series(&metrics, LAG);
        assert_eq!(series(&metrics, APPLIED) + behind, self.acknowledged);
        behind
    }
}

on_both_databases! {
    async fn outage_backlog_grows_on_disk_and_not_in_memory(backend) {
        // It floods, and looks at memory and at what is left while it is caught up.
        let _alone = exclusive().await;
        let (mut app, points) = prepared(backend).await;
        app.set("WEIR_JOURNAL__SEGMENT_BYTES", scale("1MiB", "64MiB"));
        app.set("WEIR_JOURNAL__KEEP_APPLIED", "0");
        // A line a request would be a gigabyte.
        app.set("WEIR_LOG", "info");
        app.launch().await;
        let outage = Outage::of(&app).await;
        let began = Instant::now();
        let tenth = scale(20_000, 2_000_000) / 10 / CONNECTIONS;
        let mut floods = Vec::new();
        let mut memory = Vec::new();
        let mut acknowledged = 0;
        for part in 0..10 {
            let page = format!("https://example.org/load/{part}");
            let seen = flood(&app, CONNECTIONS as usize, Pace::Closed(4), Until::Sent(tenth), &page).await;
            acknowledged += seen.acknowledged.len();
            memory.push(resident_bytes(&app));
            // Metrics and command line tell the truth, whatever the database does.
            assert_eq!(app.metric(LAG).await as usize, acknowledged, "lag after part {part}");
            let age = app.metric(AGE).await;
            assert!(age > 0.0 && age <= began.elapsed().as_secs_f64() + 1.0, "oldest after part {part}: {age} s");
            floods.push(seen);
        }
        let intake: f64 = floods.iter().map(|flood| flood.took.as_secs_f64()).sum();
        assert_eq!(journal_status(&app).await["lag_records"], json!(acknowledged));
        let segments = app.metric("weir_journal_segments{journal=\"analytics\"}").await;
        let disk = app.metric("weir_journal_disk_bytes{journal=\"analytics\"}").await;
        if !is_long() {
            // So little would be caught up before anybody could look.
            points.arm(&["writer.committed=sleep(500)"]);
        }
        outage.end(&app).await;
        app.until("the database is back", async || app.metric(LAG).await < acknowledged as f64).await;
        let (from, left) = (Instant::now(), app.metric(LAG).await);
        let mut highest = 0;
        let patience = Instant::now() + Duration::from_mins(10);
        let mut looks = Looks { acknowledged: acknowledged as u64, behind: Vec::new() };
        // A look is a process of its own, which takes from what is measured.
        let (mut next_look, pause) = (Instant::now(), Duration::from_millis(scale(0, 1000)));
        loop {
            highest = highest.max(resident_bytes(&app));
            let lag = app.metric(LAG).await;
            if lag == 0.0 {
                break;
            }
            assert!(Instant::now() < patience, "still {lag} behind");
            if Instant::now() >= next_look {
                looks.look(&app).await;
                next_look = Instant::now() + pause;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let catch_up = left / from.elapsed().as_secs_f64();
        points.disarm();
        assert!(looks.behind.len() > 2, "only {:?} behind while it was caught up", looks.behind);
        let intake = acknowledged as f64 / intake;
        app.until("applied segments are deleted", async || {
            app.metric("weir_journal_segments{journal=\"analytics\"}").await <= 1.0
        })
        .await;
        assert_eq!(journal_status(&app).await["lag_records"], json!(0));
        let mut ledger = Ledger::of("a long outage", backend);
        ledger.note(format!(
            "{acknowledged} records, {} MiB and {segments} segments behind; came in at {intake:.0}/s, applied at {catch_up:.0}/s; \
             {} MiB resident after the first tenth, {} after the last, {} while catching up",
            mebibytes(disk as u64),
            mebibytes(memory[0]),
            mebibytes(memory[9]),
            mebibytes(highest),
        ));
        settle_floods(&app, &ledger, &floods.iter().collect::<Vec<_>>()).await;
        assert!(memory[9] < memory[0] + GROWTH_BYTES, "{memory:?}");
        assert!(highest < memory[0] + 2 * GROWTH_BYTES, "{highest} while catching up");
        if is_long() {
            assert!(catch_up > intake, "{catch_up:.0}/s after {intake:.0}/s");
        }
    }
}
