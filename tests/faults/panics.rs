//! Every part of the pipeline panics: it comes back, nobody is lied to, and what panics too often ends the process.

use super::*;
use crate::on_both_databases;

/// Every actor that `Lifeline::guard` guards.
const ACTORS: [&str; 12] = [
    "analytics_keeper",
    "analytics_maintenance",
    "analytics_writer",
    "geoip",
    "mailer",
    "main_keeper",
    "main_maintenance",
    "main_writer",
    "settings",
    "sweeper",
    "user_agent_parser",
    "warmer",
];

fn restarts(actor: &str) -> String {
    format!("weir_actor_restarts_total{{actor=\"{actor}\",cause=\"panic\"}}")
}

async fn prepared(backend: Backend) -> (TestApp, FailPoints) {
    let mut app = TestApp::prepare(backend).await;
    app.set_all(UNTHROTTLED);
    let points = FailPoints::of(&mut app);
    (app, points)
}

on_both_databases! {
    async fn every_actor_comes_back_from_a_panic(backend) {
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
            ACTORS.iter().all(|actor| metrics.contains(&restarts(actor)))
        })
        .await;
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

    async fn a_writer_that_panics_between_commit_and_position_loses_and_doubles_nothing(backend) {
        let (mut app, points) = prepared(backend).await;
        app.launch().await;
        let mut ledger = Ledger::of("the writers panic after their commit", backend);
        let load = Load::start(&app, 8, "writers");
        // Both writers share the point, and each may come back five times a minute.
        points.arm(&["writer.committed=4*panic"]);
        app.until("both have panicked", async || {
            let metrics = app.metrics().await;
            metrics.contains(&restarts("analytics_writer")) || metrics.contains(&restarts("main_writer"))
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

    async fn a_journal_that_panics_tells_everybody_in_its_batch(backend) {
        let (mut app, points) = prepared(backend).await;
        app.launch().await;
        let mut ledger = Ledger::of("the journals panic over a batch", backend);
        let load = Load::start(&app, 8, "journals");
        points.arm(&["journal.sync=40*off->2*panic->40*off->2*panic"]);
        app.until("they have panicked", async || app.log().matches("actor restarted").count() >= 4).await;
        points.disarm();
        let at = app.metric("weir_journal_position{journal=\"analytics\"}").await;
        app.until("they take records again", async || {
            app.metric("weir_journal_position{journal=\"analytics\"}").await > at + 50.0
        })
        .await;
        load.finish(&mut ledger).await;
        assert!(ledger.refused() > 0, "whoever was in a batch that panicked is told");
        ledger.settle(&app).await;
        ledger.refused_are_not_stored(&app).await;
    }
}

#[tokio::test]
async fn a_request_that_panics_ends_its_connection_and_nothing_else() {
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
        app.post("/api/v1/analytics/session", &support::minimal_session()).send().await.is_ok()
    })
    .await;
}

/// A part that panics whenever it works ends the process within its budget, in order and not with success.
async fn gives_up(point: &str, part: &str) {
    let (mut app, points) = prepared(Backend::Sqlite).await;
    app.launch().await;
    let mut ledger = Ledger::of("a part panics beyond its budget", Backend::Sqlite);
    ledger.note(part);
    let load = Load::start(&app, 8, part);
    app.until("sessions flow", async || app.metric("weir_journal_position{journal=\"analytics\"}").await > 50.0).await;
    points.arm(&[&format!("{point}=panic")]);
    let status = app.wait_for_exit().await;
    assert_eq!(status.code(), Some(1), "{status}");
    assert!(app.log().contains("actor failed too often, giving up"));
    load.finish(&mut ledger).await;
    points.disarm();
    app.launch().await;
    ledger.settle(&app).await;
}

#[tokio::test]
async fn a_writer_that_always_panics_ends_the_process() {
    gives_up("actor.analytics_writer", "analytics_writer").await;
}

#[tokio::test]
async fn a_journal_that_always_panics_ends_the_process() {
    gives_up("journal.sync", "analytics_journal").await;
}

#[tokio::test]
async fn a_process_that_gives_up_is_not_ready_again() {
    let (mut app, points) = prepared(Backend::Sqlite).await;
    app.launch().await;
    points.arm(&["actor.analytics_writer=panic"]);
    let mut last_words = None;
    // Asked over new connections, as a probe does. From some moment on there is no answer, or this one.
    for _ in 0..10_000 {
        let _ = app.post("/api/v1/analytics/session", &support::minimal_session()).send().await;
        let gives_up = app.log().contains("giving up");
        match app.client.get(app.url("/health/ready")).send().await {
            Ok(answer) if gives_up => {
                assert_eq!(answer.status(), 503);
                last_words = Some(answer.status());
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    println!("last words: {last_words:?}");
    assert_eq!(app.wait_for_exit().await.code(), Some(1));
}
