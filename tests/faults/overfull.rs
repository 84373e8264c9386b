//! A journal at its bound: an honest no, and a way back.

use weir_testkit::{minimal_session, on_both_databases};

use super::*;

on_both_databases! {
    async fn journal_full_refuses_records_until_database_returns(backend) {
        let mut app = TestApp::prepare(backend).await;
        let url = app.databases.analytics_url.clone();
        app.set_all(UNTHROTTLED);
        app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
        app.set("WEIR_JOURNAL__MAX_BYTES", "1MiB");
        app.set("WEIR_SHUTDOWN_TIMEOUT_SECONDS", "2");
        app.launch().await;
        let mut ledger = Ledger::of("a journal at its bound on disk", backend);
        let (mut number, rest) = (0, "x".repeat(8000));
        while visit(&app, &mut ledger, &format!("{number}/{rest}")).await.is_some() {
            number += 1;
            assert!(number < 1000, "1 MiB took 8 MB");
        }
        assert_eq!(visit(&app, &mut ledger, &format!("again/{rest}")).await, None);
        let ready = app.client.get(app.url("/health/ready")).send().await.unwrap();
        assert_eq!(ready.status(), 200, "the main journal still accepts records");
        let ready: Value = serde_json::from_str(&ready.text().await.unwrap()).unwrap();
        assert_eq!((&ready["status"], &ready["components"]["analytics_journal"]), (&json!("degraded"), &json!("full")));
        let bytes = app.metric("weir_journal_disk_bytes{journal=\"analytics\"}").await;
        assert!(bytes <= 1_048_576.0, "{bytes} bytes on disk");

        app.stop().await;
        app.set("WEIR_ANALYTICS_DATABASE_URL", &url);
        app.launch().await;
        ledger.settle(&app).await;
        ledger.refused_are_not_stored(&app).await;
        app.until("records are taken again", async || !app.create_session(&minimal_session()).await["id"].is_null())
            .await;
        app.until("what was applied is deleted", async || {
            app.metric("weir_journal_disk_bytes{journal=\"analytics\"}").await < 500_000.0
        })
        .await;
    }
}
