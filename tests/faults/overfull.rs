//! A journal at its bound: an honest no, and a way back.

use super::*;
use crate::support::minimal_session;

#[tokio::test]
async fn a_full_journal_answers_honestly_and_recovers_when_the_database_is_back() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    let url = app.databases.analytics_url.clone();
    app.set_all(UNTHROTTLED);
    app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.set("WEIR_JOURNAL__MAX_BYTES", "1MiB");
    app.launch().await;
    let big = session_with(&json!({"landingPage": format!("https://example.org/{}", "x".repeat(8000))}));
    let mut acknowledged = Vec::new();
    loop {
        let created = app.create_session(&big).await;
        match created["id"].as_str() {
            Some(id) => acknowledged.push(id.to_owned()),
            None => break,
        }
        assert!(acknowledged.len() < 1000, "1 MiB took 8 MB");
    }
    assert_eq!(app.create_session(&big).await, json!({"id": null}));
    let ready = app.client.get(app.url("/health/ready")).send().await.unwrap();
    assert_eq!(ready.status(), 200, "the main journal still takes records");
    let ready: Value = serde_json::from_str(&ready.text().await.unwrap()).unwrap();
    assert_eq!((&ready["status"], &ready["components"]["analytics_journal"]), (&json!("degraded"), &json!("full")));
    let bytes = app.metric("weir_journal_disk_bytes{journal=\"analytics\"}").await;
    assert!(bytes <= 1_048_576.0, "{bytes} bytes on disk");

    app.stop().await;
    app.set("WEIR_ANALYTICS_DATABASE_URL", &url);
    app.launch().await;
    app.applied().await;
    for id in &acknowledged {
        let sql = format!("SELECT count(*) AS n FROM analytics_sessions WHERE id = '{id}'");
        assert_eq!(app.databases.count(Database::Analytics, &sql).await, 1);
    }
    app.until("records are taken again", async || !app.create_session(&minimal_session()).await["id"].is_null()).await;
    app.until("what was applied is deleted", async || {
        app.metric("weir_journal_disk_bytes{journal=\"analytics\"}").await < 500_000.0
    })
    .await;
}
