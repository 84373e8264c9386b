//! The wall clock steps an hour forth and back under load.

use std::time::Duration;

use weir::enrich::token::TrackingTokens;
use weir_domain::{Clock, UnixMillis};
use weir_testkit::{TRACKING_SECRET, on_both_databases};

use super::*;

const HOUR_MS: i64 = 3_600_000;
const PAGE: &str = "6f1b7b0e-5f0c-4f52-9d0e-0d0c1d4f7c11";

/// A bio page's session with the token of a moment so far from now.
fn bio_session(offset_ms: i64) -> Value {
    let at = UnixMillis(Clock::system().now().0 + offset_ms);
    let token = TrackingTokens::new(TRACKING_SECRET.as_bytes()).mint(PAGE, at);
    session_with(&json!({"bioPageId": PAGE, "trackingToken": token}))
}

on_both_databases! {
    async fn ids_under_clock_steps_stay_unique_and_ordered(backend) {
        let mut app = TestApp::prepare(backend).await;
        app.set_all(UNTHROTTLED);
        let points = FailPoints::of(&mut app);
        app.launch().await;
        let mut ledger = Ledger::of("the wall clock steps an hour forth and back", backend);
        // Every client checks that its ids grow.
        let load = Load::start(&app, 8, "clock");
        for step in [HOUR_MS, 0, -HOUR_MS, 0, HOUR_MS, -HOUR_MS, 0] {
            points.arm(&[&format!("clock.wall={step}")]);
            let at = app.metric("weir_writer_position{database=\"analytics\"}").await;
            app.until("sessions flow", async || {
                app.metric("weir_writer_position{database=\"analytics\"}").await > at + scale(60.0, 2000.0)
            })
            .await;
        }
        load.finish(&mut ledger).await;
        assert_eq!(ledger.refused(), 0);
        ledger.settle(&app).await;
        // The ids' order is the journal's: rows of a later id were not made before.
        let twice = "SELECT count(*) - count(DISTINCT id) AS n FROM analytics_sessions";
        assert_eq!(app.databases.count(Database::Analytics, twice).await, 0);
    }
}

#[tokio::test]
async fn throttle_after_clock_step_opens_next_window() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set("WEIR_THROTTLE__SESSION", "2/2s");
    let points = FailPoints::of(&mut app);
    app.launch().await;
    let send =
        async || app.post("/api/v1/analytics/session", &weir_testkit::minimal_session()).send().await.unwrap().status();
    for step in [-HOUR_MS, HOUR_MS, 0] {
        app.until("the window is open", async || send().await == 200).await;
        app.until("the window is full", async || send().await == 429).await;
        points.arm(&[&format!("clock.wall={step}")]);
        // An hour would be more than anything is waited for.
        let began = std::time::Instant::now();
        app.until("the next window opens", async || send().await == 200).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn tracking_token_under_clock_steps_follows_bucket_rule() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set_all(UNTHROTTLED);
    let points = FailPoints::of(&mut app);
    app.launch().await;
    for step in [0, HOUR_MS, -HOUR_MS] {
        points.arm(&[&format!("clock.wall={step}")]);
        app.until("tokens of the clock's own time are good", async || {
            !app.create_session(&bio_session(step)).await["id"].is_null()
        })
        .await;
        // A minute short of a bucket: another one may begin while the request is on its way.
        for (offset, is_good) in [(0, true), (-240_000, true), (-600_001, false), (HOUR_MS, false), (-HOUR_MS, false)] {
            let created = app.create_session(&bio_session(step + offset)).await;
            assert_eq!(created["id"].is_string(), is_good, "clock off by {step}, token off by {offset}: {created}");
        }
    }
}
