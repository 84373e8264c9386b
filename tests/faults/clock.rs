//! The wall clock steps forth and back: under load, between runs, and from instance to instance.

use std::time::Duration;

use weir::enrich::token::TrackingTokens;
use weir_domain::{Clock, UnixMillis};
use weir_testkit::{TRACKING_SECRET, access_token, on_both_databases};

use super::*;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const PAGE: &str = "6f1b7b0e-5f0c-4f52-9d0e-0d0c1d4f7c11";

/// A bio page's session with the token of a moment so far from now.
fn bio_session(offset_ms: i64) -> Value {
    let at = UnixMillis(Clock::system().now().0 + offset_ms);
    let token = TrackingTokens::new(TRACKING_SECRET.as_bytes()).mint(PAGE, at);
    session_with(&json!({"bioPageId": PAGE, "trackingToken": token}))
}

/// Sets the version that later consents agree to, of all these instances.
async fn set_version(apps: &[&TestApp], version: &str) {
    assert_eq!(apps[0].run(&["settings", "set", "legal.privacy_version", version]).await.code, Some(0));
    for app in apps {
        let is_set = async || told(app, "/api/v1/consent/cookies/status").await["currentVersion"] == version;
        app.until("the version holds", is_set).await;
    }
}

async fn consent(app: &TestApp) {
    let body = json!({"analytics": false, "marketing": false, "functional": true});
    let response = app.post("/api/v1/consent/cookies", &body).bearer_auth(access_token("ann")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(answer["data"]["saved"], true, "{answer}");
}

/// What a path tells the user.
async fn told(app: &TestApp, path: &str) -> Value {
    let response = app.client.get(app.url(path)).bearer_auth(access_token("ann")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    answer["data"].clone()
}

/// The version of the user's newest consent, and those of all, the newest first.
async fn versions(app: &TestApp) -> (String, Vec<String>) {
    let status = told(app, "/api/v1/consent/cookies/status").await;
    assert_eq!(status["requiresReConsent"], false, "{status}");
    let history = told(app, "/api/v1/users/consent").await;
    let of = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_else(|| panic!("{entry}")).to_owned();
    let all = history.as_array().unwrap().iter().map(|entry| of(entry, "documentVersion")).collect();
    (of(&status, "userVersion"), all)
}

on_both_databases! {
    async fn newest_consent_under_clock_steps_is_last_one_acknowledged(backend) {
        let (mut app, points) = prepared(backend).await;
        let mut saved: Vec<String> = Vec::new();
        for (run, step) in [HOUR_MS, 0, -HOUR_MS, 60 * 24 * HOUR_MS, -2_400 * 24 * HOUR_MS, 0].into_iter().enumerate() {
            points.arm(&[&format!("clock.wall={step}")]);
            app.launch().await;
            for version in [format!("{run}.0"), format!("{run}.1")] {
                set_version(&[&app], &version).await;
                consent(&app).await;
                saved.insert(0, version);
                assert_eq!(versions(&app).await, (saved[0].clone(), saved.clone()), "clock off by {step} ms");
                points.arm(&[&format!("clock.wall={}", -step)]);
            }
            if run % 2 == 0 {
                app.kill();
            } else {
                app.stop().await;
            }
        }
    }

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

on_both_databases! {
    async fn start_two_months_ahead_deletes_nothing_and_says_so(backend) {
        let (mut app, points) = prepared(backend).await;
        app.set("WEIR_RETENTION_DAYS", "30");
        app.launch().await;
        let mut ledger = Ledger::of("a start 60 days ahead, with retention", backend);
        for number in 0..200 {
            visit(&app, &mut ledger, &format!("day/{number}")).await.expect("it is taken");
        }
        app.applied().await;
        app.stop().await;
        points.arm(&[&format!("clock.wall={}", 60 * DAY_MS)]);
        app.launch().await;
        app.until("the clock is named", async || readiness(&app).await["components"]["clock"] == json!("skewed")).await;
        assert_eq!(readiness(&app).await["status"], json!("ready"), "it stays in service");
        app.until("the skew is told", async || {
            (app.metric("weir_clock_skew_seconds{database=\"analytics\"}").await - 60.0 * 86_400.0).abs() < 60.0
        })
        .await;
        // PostgreSQL's own clock is believed; on SQLite there is no other, and the run is refused.
        if backend == Backend::Sqlite {
            app.until("retention is refused", async || app.metric("weir_retention_refused").await > 0.5).await;
        }
        // Partitions are made ahead of the wrong clock in the same turn: it is over.
        app.until("a turn is over", async || app.log().contains("the clock ")).await;
        visit(&app, &mut ledger, "ahead").await.expect("it is taken");
        ledger.settle(&app).await;
        // With the clock right again, what was taken ahead of it stays, too.
        app.stop().await;
        points.disarm();
        app.launch().await;
        app.until("the clock is right", async || readiness(&app).await["components"]["clock"] == json!("ok")).await;
        visit(&app, &mut ledger, "right").await.expect("it is taken");
        ledger.settle(&app).await;
    }

    async fn start_years_behind_keeps_what_it_took_when_clock_comes_right(backend) {
        let (mut app, points) = prepared(backend).await;
        app.set("WEIR_RETENTION_DAYS", "30");
        points.arm(&[&format!("clock.wall={}", -2_400 * DAY_MS)]);
        app.launch().await;
        let mut ledger = Ledger::of("a start 2,400 days behind, with retention", backend);
        for number in 0..50 {
            visit(&app, &mut ledger, &format!("behind/{number}")).await.expect("it is taken");
        }
        app.applied().await;
        app.stop().await;
        points.disarm();
        app.launch().await;
        visit(&app, &mut ledger, "right").await.expect("it is taken");
        ledger.settle(&app).await;
        let run = app.run(&["retention", "run", "--confirm"]).await;
        assert!(run.stdout.contains("deleted: 0 partitions, 0 rows"), "{run:?}");
        app.until("retention goes on", async || app.metric("weir_retention_refused").await < 0.5).await;
        ledger.settle(&app).await;
    }
}

#[tokio::test]
async fn newest_consent_between_skewed_instances_is_last_one_acknowledged() {
    let (mut ahead, points) = prepared(Backend::Postgres).await;
    points.arm(&["clock.wall=180000"]);
    ahead.launch().await;
    let mut behind = TestApp::prepare(Backend::Postgres).await;
    behind.set_all(UNTHROTTLED);
    behind.set("WEIR_ANALYTICS_DATABASE_URL", &ahead.databases.analytics_url);
    behind.set("WEIR_MAIN_DATABASE_URL", &ahead.databases.main_url);
    behind.launch().await;
    let mut saved: Vec<String> = Vec::new();
    for round in 0..4 {
        let (here, there) = if round % 2 == 0 { (&ahead, &behind) } else { (&behind, &ahead) };
        let version = format!("{round}");
        set_version(&[here, there], &version).await;
        consent(here).await;
        saved.insert(0, version);
        for app in [here, there] {
            assert_eq!(versions(app).await, (saved[0].clone(), saved.clone()));
        }
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
