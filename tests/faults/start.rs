//! A stop that comes before the start is over.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_journal::{JournalOptions, SegmentStorage, Storage};
use weir_testkit::proxy::{Link, Proxy};
use weir_testkit::{exclusive, minimal_session};

use super::*;

/// Starts a process that does not get far, and ends it by SIGTERM: soon, with success, before it takes requests.
async fn ends_at_a_signal(app: &TestApp) {
    let log = app.directory.path().join("start.log");
    let mut starting =
        app.command(&[]).stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let said = |words: &str| std::fs::read_to_string(&log).unwrap().contains(words);
    app.until("it starts", async || said("geoip_database")).await;
    let terminated = std::process::Command::new("kill").args(["-TERM", &starting.id().to_string()]).status().unwrap();
    assert!(terminated.success());
    let began = Instant::now();
    app.until("it has ended", async || starting.try_wait().unwrap().is_some()).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(starting.wait().unwrap().success());
    assert!(said("stopping before requests were served") && !said("serving requests"));
}

#[tokio::test]
async fn start_reading_backlog_ends_on_signal() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    let points = FailPoints::of(&mut app);
    // Read back in twenty pieces, each of which takes a second.
    let directory = app.data_dir().join("journal/main");
    let options = JournalOptions { fsync: false, ..JournalOptions::default() };
    let mut backlog = SegmentStorage::open(&directory, options, Arc::new(())).unwrap();
    for _ in 0..20 {
        backlog.append(&vec![b"nothing that a writer knows".to_vec(); 10_000]).unwrap();
    }
    drop(backlog);
    points.arm(&["start.read=sleep(1000)"]);
    ends_at_a_signal(&app).await;
}

#[tokio::test]
async fn start_waiting_for_database_ends_on_signal_without_loss() {
    let mut app = TestApp::prepare(Backend::Postgres).await;
    app.set_all(UNTHROTTLED);
    app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.launch().await;
    let mut ledger = Ledger::of("SIGTERM during a start", Backend::Postgres);
    let load = Load::start(&app, 8, "before");
    app.until("there is a backlog", async || app.metric("weir_journal_position{journal=\"analytics\"}").await > 100.0)
        .await;
    app.kill();
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    // It takes a connection and says nothing: the start gives it some seconds.
    let (silent, url) = Proxy::to_url(&app.databases.analytics_url).await;
    silent.set(Link::BlackHole);
    app.set("WEIR_ANALYTICS_DATABASE_URL", &url);
    ends_at_a_signal(&app).await;
    silent.set(Link::Up);
    app.launch().await;
    ledger.settle(&app).await;
}

#[tokio::test]
async fn start_beside_databases_that_refuse_opens_its_port_within_a_second() {
    const NOBODY: [&str; 2] = ["postgres://nobody@127.0.0.1:1/analytics", "postgres://nobody@127.0.0.1:1/main"];
    let _alone = exclusive().await;
    let mut app = TestApp::prepare(Backend::Postgres).await;
    let (analytics, main) = (app.databases.analytics_url.clone(), app.databases.main_url.clone());
    // The first start makes the schema, and the second tells what a start takes by itself.
    let mut usual = Duration::ZERO;
    for (what, urls) in [
        ("the schema", [&*analytics, &*main]),
        ("both are there", [&*analytics, &*main]),
        ("both refuse", NOBODY),
        ("analytics refuses", [NOBODY[0], &*main]),
        ("main refuses", [&*analytics, NOBODY[1]]),
    ] {
        app.set("WEIR_ANALYTICS_DATABASE_URL", urls[0]);
        app.set("WEIR_MAIN_DATABASE_URL", urls[1]);
        let began = Instant::now();
        app.launch().await;
        let took = began.elapsed();
        // A record is taken, whether or not it can be applied.
        assert!(app.create_session(&minimal_session()).await["id"].is_string(), "{what}");
        // A stop would wait for the databases.
        app.kill();
        match what {
            "the schema" => {}
            "both are there" => usual = took,
            _ => assert!(took < usual + Duration::from_secs(1), "{what}: {took:?}, and usually {usual:?}"),
        }
    }
}
