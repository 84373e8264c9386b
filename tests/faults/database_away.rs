//! A database that goes away under load, and one record that it will not take.

use std::time::Duration;

use weir_testkit::{minimal_session, on_both_databases};

use super::postgres_server::flows;
use super::*;

#[tokio::test]
async fn analytics_database_outage_blocks_neither_intake_nor_main() {
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    let mut ledger = Ledger::of("one database of two down", Backend::Postgres);
    let load = Load::start(&app, 8, "outage");
    app.until("sessions flow", async || app.metric("weir_writer_position{database=\"analytics\"}").await > 50.0).await;
    app.databases.allow_connections(Database::Analytics, false).await;
    app.until("the outage is noticed", async || {
        readiness(&app).await["components"]["analytics_database"] == "unavailable"
    })
    .await;
    assert_eq!(readiness(&app).await["status"], "degraded");
    let at = app.metric("weir_journal_position{journal=\"analytics\"}").await;
    app.until("intake goes on", async || app.metric("weir_journal_position{journal=\"analytics\"}").await > at + 100.0)
        .await;
    assert!(app.metric("weir_writer_lag_records{database=\"analytics\"}").await > 100.0);
    assert!(app.metric("weir_writer_oldest_unapplied_age_seconds{database=\"analytics\"}").await > 0.0);
    let saved = app
        .post("/api/v1/consent/cookies", &json!({"analytics": true, "marketing": true, "functional": true}))
        .send()
        .await
        .unwrap();
    assert_eq!(weir_testkit::data(saved).await, json!({"saved": true}));
    app.until("the consent is in the other database", async || {
        app.databases.count(Database::Main, "SELECT count(*) AS n FROM consent_records").await == 1
    })
    .await;
    app.databases.allow_connections(Database::Analytics, true).await;
    app.until("the database is back", async || readiness(&app).await["status"] == "ready").await;
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
}

#[tokio::test]
async fn main_database_outage_blocks_no_session_loses_no_consent() {
    const CHOICES: i64 = 5;
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    let mut ledger = Ledger::of("the main database of two down", Backend::Postgres);
    let load = Load::start(&app, 8, "main");
    flows(&app, 50.0).await;
    app.databases.allow_connections(Database::Main, false).await;
    app.until("the outage is noticed", async || readiness(&app).await["components"]["main_database"] == "unavailable")
        .await;
    let choice = json!({"analytics": true, "marketing": false, "functional": true});
    for _ in 0..CHOICES {
        let saved = app.post("/api/v1/consent/cookies", &choice).send().await.unwrap();
        assert_eq!(weir_testkit::data(saved).await, json!({"saved": true}));
        // Sessions reach their database all the while.
        flows(&app, 50.0).await;
    }
    let ready = readiness(&app).await;
    let analytics = (&ready["components"]["analytics_database"], &ready["components"]["analytics_journal"]);
    assert_eq!((&ready["status"], analytics), (&json!("degraded"), (&json!("ok"), &json!("ok"))), "{ready}");
    assert_eq!(ready["components"]["main_database"], "unavailable", "{ready}");
    app.until("the main journal grows", async || {
        app.metric("weir_writer_lag_records{database=\"main\"}").await > 20.0 + CHOICES as f64
    })
    .await;
    assert!(app.metric("weir_writer_oldest_unapplied_age_seconds{database=\"main\"}").await > 0.0);
    app.databases.allow_connections(Database::Main, true).await;
    app.until("the database is back", async || readiness(&app).await["status"] == "ready").await;
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
    let choices = app.databases.count(Database::Main, "SELECT count(*) AS n FROM consent_records").await;
    assert_eq!(choices, CHOICES);
}

#[tokio::test]
async fn settings_at_start_during_outage_use_last_seen_values() {
    let mut app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let main = app.databases.main_url.clone();
    assert!(app.command(&["settings", "set", "legal.privacy_version", "7.1"]).status().unwrap().success());
    app.until("the change is seen", async || app.log().contains("setting changed")).await;
    app.stop().await;
    app.set("WEIR_MAIN_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.launch().await;
    let choice = json!({"analytics": false, "marketing": false, "functional": true});
    app.post("/api/v1/consent/cookies", &choice).send().await.unwrap();
    app.stop().await;
    app.set("WEIR_MAIN_DATABASE_URL", &main);
    app.launch().await;
    app.applied().await;
    let rows = app.rows(Database::Main, "SELECT document_version FROM consent_records").await;
    assert_eq!(rows, [json!({"document_version": "7.1"})]);
}

on_both_databases! {
    async fn refused_record_becomes_dead_letter_and_rest_is_stored(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        app.databases.refuse_poison().await;
        let mut ledger = Ledger::of("poison", backend);
        let load = Load::start(&app, 8, "good");
        let mut poison = Vec::new();
        for number in 0..3 {
            let page = format!("https://example.org/poison/{number}");
            let created = app.create_session(&session_with(&json!({"landingPage": page}))).await;
            poison.push(created["id"].as_str().unwrap().to_owned());
        }
        load.finish(&mut ledger).await;
        ledger.settle(&app).await;
        let letters = app.metric("weir_dead_letters_total{database=\"analytics\",reason=\"refused\"}").await;
        assert!((letters - 3.0).abs() < f64::EPSILON, "{letters} dead letters");
        let status = app.command(&["journal", "status", "--json"]).output().unwrap();
        let analytics: Value = serde_json::from_slice(status.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
        assert_eq!(analytics["dead_letters"], json!(3));
        let kept = std::fs::read_to_string(app.data_dir().join("journal/analytics/dead-letters")).unwrap();
        for id in poison {
            let bytes = hex::encode(id.parse::<uuid::Uuid>().unwrap().as_bytes());
            assert_eq!(kept.matches(&bytes).count(), 1, "dead letter of {id}");
        }
        let reason = if backend == Backend::Postgres { "code 23514, constraint no_poison" } else { "code 1811" };
        assert_eq!(kept.matches(reason).count(), 3, "{kept}");
    }
}

#[tokio::test]
async fn connections_ended_while_idle_are_replaced_without_a_word() {
    let mut app = TestApp::prepare(Backend::Postgres).await;
    for database in [Database::Analytics, Database::Main] {
        let name = app.databases.url(database).rsplit('/').next().unwrap();
        app.databases.execute(database, &format!("ALTER DATABASE {name} SET idle_session_timeout = '100ms'")).await;
    }
    app.set_all(UNTHROTTLED);
    app.launch().await;
    for _ in 0..8 {
        app.create_session(&minimal_session()).await;
        app.applied().await;
        // Longer than a connection may be idle, and shorter than the writer takes one to be fresh.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let log = app.log();
    for word in ["database is away", "database is back"] {
        assert!(!log.contains(word), "{word}");
    }
    for database in ["analytics", "main"] {
        let retries = app.metric(&format!("weir_writer_retries_total{{database=\"{database}\"}}")).await;
        assert!(retries < 1.0, "{database}: {retries}");
    }
}
