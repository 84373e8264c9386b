//! `kill -9` in full flow.

use std::time::Duration;

use super::*;
use crate::on_both_databases;

on_both_databases! {
    async fn nothing_acknowledged_is_lost_or_doubled_by_kill_9(backend) {
        let mut app = TestApp::start_with(backend, &OPEN).await;
        let mut ledger = Ledger::default();
        for round in 0..6_u64 {
            let load = Load::start(&app, 16, &round.to_string());
            // Not an event to be awaited: the moment of death is meant to be any.
            tokio::time::sleep(Duration::from_millis(150 + 83 * round)).await;
            app.kill();
            load.finish(&mut ledger).await;
            app.launch().await;
        }
        assert!(ledger.acknowledged.len() > 100, "only {} acknowledged", ledger.acknowledged.len());
        settle(&app, &ledger).await;
        assert_eq!(app.session(ledger.acknowledged.first().unwrap()).await["page_views"], json!(0));
    }

    async fn a_backlog_survives_kill_9_and_is_applied_by_the_next_start(backend) {
        let mut app = TestApp::prepare(backend).await;
        // The database of the first run cannot be reached at all.
        let url = app.databases.analytics_url.clone();
        app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
        for (name, value) in OPEN {
            app.set(name, value);
        }
        app.launch().await;
        let mut ledger = Ledger::default();
        let load = Load::start(&app, 8, "outage");
        app.until("200 sessions are in the journal", async || {
            app.metric("weir_journal_position{journal=\"analytics\"}").await >= 200.0
        }).await;
        app.kill();
        load.finish(&mut ledger).await;
        assert_eq!(ledger.refused, 0, "a dead database refuses nothing");
        app.set("WEIR_ANALYTICS_DATABASE_URL", &url);
        app.launch().await;
        settle(&app, &ledger).await;
    }
}
