//! Every part of the pipeline panics: it comes back, and nobody is lied to.

use weir_testkit::metrics::assert_documented;
use weir_testkit::on_both_databases;

use super::disk::takes_records;
use super::*;

/// Every actor that `Lifeline::guard` guards.
const ACTORS: [&str; 12] = [
    "analytics_segment_collector",
    "analytics_maintenance",
    "analytics_writer",
    "geoip",
    "mailer",
    "main_segment_collector",
    "main_maintenance",
    "main_writer",
    "settings",
    "sweeper",
    "user_agent_parser",
    "warmer",
];

/// Whether an actor came back from a panic. Its series is there from the start, at 0.
fn has_restarted(metrics: &str, actor: &str) -> bool {
    let series = format!("weir_actor_restarts_total{{actor=\"{actor}\",cause=\"panic\"}} ");
    metrics.lines().any(|line| line.strip_prefix(&series).is_some_and(|times| times != "0"))
}

on_both_databases! {
    async fn actors_panicking_once_all_restart(backend) {
        let (mut app, points) = prepared(backend).await;
        let geoip = app.directory.path().join("city.mmdb");
        let database = mmdb_writer::Writer::builder("GeoLite2-City").description(&[("en", "a test's")]).build();
        std::fs::write(&geoip, database.to_bytes().unwrap()).unwrap();
        app.set("WEIR_GEOIP_DATABASE", geoip.to_str().unwrap());
        // From the start on: some of them run at the start, or an hour later.
        let armed: Vec<String> = ACTORS.iter().map(|actor| format!("actor.{actor}=1*panic")).collect();
        points.arm(&armed.iter().map(String::as_str).collect::<Vec<_>>());
        app.launch().await;
        let mut ledger = Ledger::of("every actor panics", backend);
        let load = Load::start(&app, 8, "panics");
        let asked = app.post("/auth/request-code", &json!({"email": "ann@example.org"})).send().await.unwrap();
        assert_eq!(asked.status(), 200);
        app.until("every actor has come back", async || {
            let metrics = app.metrics().await;
            ACTORS.iter().all(|actor| has_restarted(&metrics, actor))
        })
        .await;
        assert_documented(&app.metrics().await);
        load.finish(&mut ledger).await;
        // The first user agent met the panic, and its visitor was told so.
        assert!(ledger.refused() <= 8, "{} refused", ledger.refused());
        ledger.settle(&app).await;
        assert_eq!(readiness(&app).await["status"], "ready");
        // The mail that met the panic is counted as failed, and the next one is sent.
        assert!((app.metric("weir_mails_total{result=\"failed\"}").await - 1.0).abs() < f64::EPSILON);
        app.post("/auth/request-code", &json!({"email": "bob@example.org"})).send().await.unwrap();
        app.until("the next mail is sent", async || app.log().contains("sign-in code for bob@example.org")).await;
    }

    async fn writer_panic_after_commit_loses_and_duplicates_nothing(backend) {
        let (mut app, points) = prepared(backend).await;
        app.launch().await;
        let mut ledger = Ledger::of("the writers panic after their commit", backend);
        let load = Load::start(&app, 8, "writers");
        // Both writers share the point, and each may come back five times a minute.
        points.arm(&["writer.committed=4*panic"]);
        app.until("both have panicked", async || {
            let metrics = app.metrics().await;
            has_restarted(&metrics, "analytics_writer") || has_restarted(&metrics, "main_writer")
        })
        .await;
        app.until("nothing is behind", async || {
            app.metric("weir_writer_position{database=\"analytics\"}").await > 100.0
        })
        .await;
        load.finish(&mut ledger).await;
        assert_eq!(ledger.refused(), 0);
        ledger.settle(&app).await;
    }

    async fn journal_panic_before_fsync_refuses_records_in_batch(backend) {
        let (mut app, points) = prepared(backend).await;
        app.launch().await;
        let mut ledger = Ledger::of("the journals panic over a batch", backend);
        let load = Load::start(&app, 8, "journals");
        points.arm(&["journal.sync=40*off->2*panic->40*off->2*panic"]);
        app.until("they have panicked", async || app.log().matches("actor restarted").count() >= 4).await;
        points.disarm();
        let at = app.metric("weir_journal_position{journal=\"analytics\"}").await;
        app.until("they accept records again", async || {
            app.metric("weir_journal_position{journal=\"analytics\"}").await > at + 50.0
        })
        .await;
        load.finish(&mut ledger).await;
        assert!(ledger.refused() > 0, "whoever was in a batch that panicked is told");
        ledger.settle(&app).await;
        ledger.refused_are_not_stored(&app).await;
    }

    async fn journal_panic_after_fsync_refuses_nothing(backend) {
        let (mut app, points) = prepared(backend).await;
        app.launch().await;
        let mut ledger = Ledger::of("the journals panic between fsync and ack", backend);
        let load = Load::start(&app, 8, "synced");
        points.arm(&["journal.synced=20*off->1*panic->20*off->1*panic"]);
        app.until("they have panicked", async || app.log().matches("actor restarted").count() >= 2).await;
        takes_records(&app).await;
        load.finish(&mut ledger).await;
        // The other one may have had too few batches to come to it.
        points.arm(&["journal.synced=1*panic"]);
        let token = weir_testkit::access_token("user-0");
        app.until("the main journal has panicked too", async || {
            let name = format!("beside/{}", ledger.events.sent);
            let event = app.post("/api/v1/analytics/track", &json!({"event": name})).bearer_auth(&token);
            assert_eq!(weir_testkit::data(event.send().await.unwrap()).await, json!({"tracked": true}));
            ledger.events.sent += 1;
            ledger.events.acknowledged.insert(name);
            has_restarted(&app.metrics().await, "main_journal")
        })
        .await;
        points.disarm();
        ledger.settle(&app).await;
        ledger.refused_are_not_stored(&app).await;
        assert_eq!(ledger.refused(), 0, "all of them were on disk");
        app.until("both journals accept records", async || readiness(&app).await["status"] == "ready").await;
    }
}

#[tokio::test]
async fn request_panic_ends_only_that_connection() {
    let (mut app, points) = prepared(Backend::Sqlite).await;
    app.launch().await;
    let mut ledger = Ledger::of("requests panic", Backend::Sqlite);
    points.arm(&["http.endpoint=10%panic"]);
    let load = Load::start(&app, 8, "requests");
    app.until("some have panicked", async || app.outcomes("session", "failed").await >= 20.0).await;
    load.finish(&mut ledger).await;
    points.disarm();
    let failed = app.outcomes("session", "failed").await + app.outcomes("track", "failed").await;
    assert!((failed - ledger.unanswered as f64).abs() < f64::EPSILON, "{failed} counted, {} seen", ledger.unanswered);
    ledger.settle(&app).await;
    // The server looks now and then whether it is still to panic.
    app.until("requests are served again", async || {
        app.post("/api/v1/analytics/session", &weir_testkit::minimal_session()).send().await.is_ok()
    })
    .await;
}
