//! An orderly stop under load, and what must not hold it up: clients that do not read, databases that do not answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use weir_testkit::proxy::Link;
use weir_testkit::raw_connection::request;
use weir_testkit::{exclusive, on_both_databases};

use super::ledger::PAGES;
use super::network::behind_proxies;
use super::outage::Outage;
use super::postgres_server::flows;
use super::*;

const POSITION: &str = "weir_journal_position{journal=\"analytics\"}";

/// A client that sends sessions until nobody takes any more, and never reads an answer: its connection, and how many.
fn deaf_client(app: &TestApp) -> (TcpStream, u64) {
    let mut stream = TcpStream::connect(app.authority()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut sent = 0;
    loop {
        let body = session_with(&json!({"landingPage": format!("{PAGES}deaf/{sent}")})).to_string();
        if stream.write_all(&request("POST", "/api/v1/analytics/session", &[], body.as_bytes())).is_err() {
            return (stream, sent);
        }
        sent += 1;
        assert!(sent < 1_000_000, "the server takes everything");
    }
}

/// A client whose request has begun, and does not go on.
fn mute_client(app: &TestApp) -> TcpStream {
    let body = session_with(&json!({"landingPage": format!("{PAGES}mute")})).to_string();
    let whole = request("POST", "/api/v1/analytics/session", &["Expect: 100-continue"], body.as_bytes());
    let mut stream = TcpStream::connect(app.authority()).unwrap();
    stream.write_all(&whole[..whole.len() - 10]).unwrap();
    // Asked to go on: the request is in service, and a stop has to wait for it.
    let mut asked = [0; 12];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100");
    stream
}

/// SIGTERM; the end must be a success, and come within so many seconds.
async fn ends_within(app: &mut TestApp, seconds: u64) {
    let began = Instant::now();
    let status = app.stop().await;
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(seconds), "{:?}", began.elapsed());
}

on_both_databases! {
    async fn shutdown_under_load_answers_in_flight_and_drains(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut ledger = Ledger::of("SIGTERM under load", backend);
        let load = Load::start(&app, 16, "stop");
        app.until("sessions flow", async || app.metric(POSITION).await > 200.0).await;
        ends_within(&mut app, 20).await;
        load.finish(&mut ledger).await;
        // Drained: everything is in the database before the next start.
        let rows = app.databases.count(Database::Analytics, "SELECT count(*) AS n FROM analytics_sessions").await;
        assert!(rows >= i64::try_from(ledger.sessions.acknowledged.len()).unwrap());
        app.launch().await;
        ledger.settle(&app).await;
    }

    async fn shutdown_with_stuck_clients_still_drains_in_time(backend) {
        // Everything must be applied within the deadline, beside a client that sends all it can.
        let _alone = exclusive().await;
        let mut app = TestApp::prepare(backend).await;
        app.set_all(UNTHROTTLED);
        app.set("WEIR_SHUTDOWN_TIMEOUT_SECONDS", "5");
        app.launch().await;
        let mut ledger = Ledger::of("SIGTERM beside clients that never read, never send", backend);
        let (deaf, unheard) = deaf_client(&app);
        ledger.sessions.sent += unheard;
        ledger.unanswered += unheard;
        let load = Load::start(&app, 8, "heard");
        let at = app.metric(POSITION).await;
        app.until("sessions flow", async || app.metric(POSITION).await > at + 200.0).await;
        let mute = mute_client(&app);
        ledger.sessions.sent += 1;
        ledger.unanswered += 1;
        ends_within(&mut app, 10).await;
        load.finish(&mut ledger).await;
        drop((deaf, mute));
        let log = app.log();
        assert!(log.contains("waiting_for=\"requests in flight\""), "it was waited for");
        assert_eq!(log.matches("left_for_the_next_start=0").count(), 2, "both databases have everything");
        for late in ["the journals", "the writers"] {
            assert!(!log.contains(&format!("waiting_for=\"{late}\"")), "no time was left for {late}");
        }
        let rows = app.databases.count(Database::Analytics, "SELECT count(*) AS n FROM analytics_sessions").await;
        assert!(rows >= i64::try_from(ledger.sessions.acknowledged.len()).unwrap());
        app.launch().await;
        ledger.settle(&app).await;
    }

    async fn shutdown_during_outage_meets_deadline_without_loss(backend) {
        let mut app = TestApp::prepare(backend).await;
        app.set_all(UNTHROTTLED);
        app.set("WEIR_SHUTDOWN_TIMEOUT_SECONDS", "2");
        app.launch().await;
        let mut ledger = Ledger::of("SIGTERM during an outage", backend);
        let outage = Outage::of(&app).await;
        let load = Load::start(&app, 8, "outage");
        app.until("there is a backlog", async || app.metric(POSITION).await > 100.0).await;
        ends_within(&mut app, 10).await;
        load.finish(&mut ledger).await;
        assert!(app.log().contains("waiting_for=\"the writers\""), "it waited for the database in vain");
        outage.end(&app).await;
        app.launch().await;
        ledger.settle(&app).await;
    }
}

#[tokio::test]
async fn shutdown_with_silent_databases_meets_deadline_without_loss() {
    let (mut app, analytics, main) = behind_proxies(&[("WEIR_SHUTDOWN_TIMEOUT_SECONDS", "2")]).await;
    let mut ledger = Ledger::of("SIGTERM while the databases are silent", Backend::Postgres);
    let load = Load::start(&app, 8, "silent");
    flows(&app, 20.0).await;
    analytics.set(Link::Stalled);
    main.set(Link::Stalled);
    let at = app.metric(POSITION).await;
    app.until("intake goes on", async || app.metric(POSITION).await > at + 100.0).await;
    ends_within(&mut app, 10).await;
    load.finish(&mut ledger).await;
    assert!(app.log().contains("waiting_for=\"the writers\""), "it waited for the databases in vain");
    // What the old process had sent arrives after its end, perhaps a COMMIT.
    analytics.set(Link::Up);
    main.set(Link::Up);
    app.launch().await;
    ledger.settle(&app).await;
}

#[tokio::test]
async fn shutdown_with_unreachable_database_meets_deadline() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.set("WEIR_SHUTDOWN_TIMEOUT_SECONDS", "1");
    app.launch().await;
    app.create_session(&weir_testkit::minimal_session()).await;
    ends_within(&mut app, 10).await;
    assert!(app.log().contains("left_for_the_next_start=1"), "what is left is named");
}

#[tokio::test]
async fn shutdown_second_signal_ends_process_at_once() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.set("WEIR_SHUTDOWN_TIMEOUT_SECONDS", "60");
    app.launch().await;
    app.create_session(&weir_testkit::minimal_session()).await;
    app.signal("TERM");
    app.until("it drains", async || app.log().contains("stopping")).await;
    ends_within(&mut app, 20).await;
}
