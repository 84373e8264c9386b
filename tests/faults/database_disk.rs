//! A disk under SQLite that is full: the journal takes on, and room is all that the databases need. No restart.

use std::path::Path;
use std::time::{Duration, Instant};

use super::disk::takes_records;
use super::disk_full::SmallDisk;
use super::*;

/// Within so long of there being room both databases apply again.
const RECOVERY: Duration = Duration::from_secs(15);
const BOTH: [&str; 2] = ["analytics_database", "main_database"];

/// Both databases in this directory, from the next launch on.
fn move_databases(app: &mut TestApp, directory: &Path) {
    let url = |name: &str| format!("sqlite://{}", directory.join(name).display());
    (app.databases.analytics_url, app.databases.main_url) = (url("analytics.db"), url("main.db"));
    app.set("WEIR_ANALYTICS_DATABASE_URL", &app.databases.analytics_url.clone());
    app.set("WEIR_MAIN_DATABASE_URL", &app.databases.main_url.clone());
}

async fn until_both(app: &TestApp, state: &str) {
    app.until(&format!("both databases are {state}"), async || {
        let ready = readiness(app).await;
        BOTH.iter().all(|name| ready["components"][name] == state)
    })
    .await;
}

#[tokio::test]
async fn sqlite_disk_full_recovers_when_there_is_room() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set_all(UNTHROTTLED);
    let directory = app.directory.path().join("databases");
    let Some(disk) = SmallDisk::at(&directory, 8 << 20) else {
        println!("skipped: this user may not mount a disk");
        return;
    };
    move_databases(&mut app, &directory);
    app.launch().await;
    let mut ledger = Ledger::of("disk full under SQLite", Backend::Sqlite);
    let mut slowest = Duration::ZERO;
    for round in 0..scale(2, 6) {
        let load = Load::start(&app, 8, &format!("full-{round}"));
        takes_records(&app).await;
        disk.fill();
        until_both(&app, "unavailable").await;
        // The journals have a disk of their own.
        takes_records(&app).await;
        // The longer it lasts, the longer the pauses between attempts.
        tokio::time::sleep(scale(Duration::from_secs(2), Duration::from_mins(1))).await;
        load.finish(&mut ledger).await;
        disk.make_room();
        let began = Instant::now();
        until_both(&app, "ok").await;
        slowest = slowest.max(began.elapsed());
        assert!(slowest < RECOVERY, "back after {slowest:?}");
        app.applied().await;
    }
    ledger.note(format!("back {} ms after there was room", slowest.as_millis()));
    assert_eq!(ledger.refused(), 0, "the journals had room");
    ledger.settle(&app).await;
}

#[tokio::test]
async fn sqlite_trigger_that_ends_transaction_sets_record_aside_and_goes_on() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    // An ABORT ends the statement; this one ends the transaction, as a full disk does.
    let trigger = "CREATE TRIGGER no_poison BEFORE INSERT ON analytics_sessions WHEN NEW.landing_page LIKE '%poison%'
        BEGIN SELECT RAISE(ROLLBACK, 'no poison'); END";
    app.databases.execute(Database::Analytics, trigger).await;
    let mut ledger = Ledger::of("a trigger ends SQLite's transactions", Backend::Sqlite);
    let load = Load::start(&app, 8, "good");
    for number in 0..scale(3, 30) {
        let page = format!("https://example.org/poison/{number}");
        assert!(app.create_session(&session_with(&json!({"landingPage": page}))).await["id"].is_string());
        takes_records(&app).await;
    }
    load.finish(&mut ledger).await;
    ledger.settle(&app).await;
    let letters = app.metric("weir_dead_letters_total{database=\"analytics\",reason=\"refused\"}").await;
    assert!((letters - f64::from(scale(3, 30))).abs() < f64::EPSILON, "{letters} dead letters");
}
