//! A process that ends without a word, in full flow.

use std::time::Duration;

use weir_testkit::on_both_databases;

use super::*;

/// A number below `bound`, another one each time.
fn any_below(bound: u64) -> u64 {
    u64::try_from(uuid::Uuid::new_v4().as_u128() % u128::from(bound)).unwrap()
}

/// Lets a process die again and again when it comes to a point, under load, and starts it afresh.
async fn dies_at(point: &str, fault: &'static str, backend: Backend) {
    let mut app = TestApp::prepare(backend).await;
    app.set_all(UNTHROTTLED);
    let points = FailPoints::of(&mut app);
    let mut ledger = Ledger::of(fault, backend);
    for round in 0..scale(3, 20) {
        // Not at the first two: each writer may apply a backlog before the start is over.
        points.arm(&[&format!("{point}={}*off->return(abort)", 2 + any_below(60))]);
        app.launch().await;
        let load = Load::start(&app, 16, &round.to_string());
        let status = app.wait_for_exit().await;
        assert!(!status.success(), "{status}");
        load.finish(&mut ledger).await;
    }
    points.disarm();
    app.launch().await;
    ledger.settle(&app).await;
}

on_both_databases! {
    async fn kill_9_under_load_loses_and_duplicates_nothing(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut ledger = Ledger::of("kill -9 at any moment", backend);
        let mut round = 0;
        // On a slow machine more of them: there must be something to lose.
        while round < scale(6, 50) || (ledger.sessions.acknowledged.len() <= 100 && round < 200) {
            let load = Load::start(&app, 16, &round.to_string());
            // Not an event to be awaited: the moment of death is meant to be any.
            tokio::time::sleep(Duration::from_millis(50 + any_below(700))).await;
            app.kill();
            load.finish(&mut ledger).await;
            app.launch().await;
            round += 1;
        }
        assert!(ledger.sessions.acknowledged.len() > 100, "only {} acknowledged", ledger.sessions.acknowledged.len());
        ledger.settle(&app).await;
        assert_eq!(app.session(ledger.sessions.acknowledged.first().unwrap()).await["page_views"], json!(0));
    }

    async fn crash_before_append_loses_and_duplicates_nothing(backend) {
        dies_at("journal.write", "death before the append", backend).await;
    }

    async fn crash_between_append_and_fsync_loses_and_duplicates_nothing(backend) {
        dies_at("journal.sync", "death between append and fsync", backend).await;
    }

    async fn crash_between_fsync_and_ack_loses_and_duplicates_nothing(backend) {
        dies_at("journal.synced", "death between fsync and ack", backend).await;
    }

    async fn crash_after_database_commit_loses_and_duplicates_nothing(backend) {
        dies_at("writer.committed", "death between commit and the position's use", backend).await;
    }

    async fn backlog_after_kill_9_is_applied_at_next_start(backend) {
        let mut app = TestApp::prepare(backend).await;
        // The database of the first run cannot be reached at all.
        let url = app.databases.analytics_url.clone();
        app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
        app.set_all(UNTHROTTLED);
        app.launch().await;
        let mut ledger = Ledger::of("kill -9 with a backlog", backend);
        let load = Load::start(&app, 8, "outage");
        app.until("200 sessions are in the journal", async || {
            app.metric("weir_journal_position{journal=\"analytics\"}").await >= 200.0
        }).await;
        app.kill();
        load.finish(&mut ledger).await;
        assert_eq!(ledger.refused(), 0, "a dead database refuses nothing");
        app.set("WEIR_ANALYTICS_DATABASE_URL", &url);
        app.launch().await;
        ledger.settle(&app).await;
    }
}
