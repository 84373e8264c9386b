//! An orderly stop under load.

use std::time::{Duration, Instant};

use super::*;
use crate::on_both_databases;

on_both_databases! {
    async fn sigterm_answers_what_is_in_flight_drains_and_exits_with_0(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut ledger = Ledger::of("SIGTERM under load", backend);
        let load = Load::start(&app, 16, "stop");
        app.until("sessions flow", async || app.metric("weir_journal_position{journal=\"analytics\"}").await > 200.0).await;
        let began = Instant::now();
        let status = app.stop().await;
        assert!(status.success(), "{status}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        load.finish(&mut ledger).await;
        // Drained: everything is in the database before the next start.
        let rows = app.databases.count(Database::Analytics, "SELECT count(*) AS n FROM analytics_sessions").await;
        assert!(rows >= i64::try_from(ledger.sessions.acknowledged.len()).unwrap());
        app.launch().await;
        ledger.settle(&app).await;
    }
}

#[tokio::test]
async fn an_unreachable_database_does_not_hold_up_the_stop_beyond_its_deadline() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.set("WEIR_SHUTDOWN_TIMEOUT_SECONDS", "1");
    app.launch().await;
    app.create_session(&support::minimal_session()).await;
    let began = Instant::now();
    let status = app.stop().await;
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(app.log().contains("left_for_the_next_start=1"), "what is left is named");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.set("WEIR_SHUTDOWN_TIMEOUT_SECONDS", "60");
    app.launch().await;
    app.create_session(&support::minimal_session()).await;
    app.signal("TERM");
    app.until("it drains", async || app.log().contains("stopping")).await;
    let began = Instant::now();
    let status = app.stop().await;
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
