//! A PostgreSQL server that dies, freezes, or has no room: each test has a server of its own.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use weir_testkit::postgres::PostgresServer;
use weir_testkit::proxy::{Link, Proxy};

use super::*;

const POSITION: &str = "weir_writer_position{database=\"analytics\"}";
const LAG: &str = "weir_writer_lag_records{database=\"analytics\"}";

/// Waits until so many more records are in the database.
pub async fn flows(app: &TestApp, records: f64) {
    let from = app.metric(POSITION).await;
    app.until("sessions flow", async || app.metric(POSITION).await > from + records).await;
}

async fn server_with(variables: &[(&str, &str)]) -> (PostgresServer, TestApp) {
    let postgres = PostgresServer::start();
    let mut app = TestApp::prepare_on(&postgres.url).await;
    app.set_all(UNTHROTTLED);
    app.set_all(variables);
    app.launch().await;
    (postgres, app)
}

#[tokio::test]
async fn postgres_crash_repeated_loses_and_duplicates_nothing() {
    let (postgres, app) =
        server_with(&[("WEIR_JOURNAL__SEGMENT_BYTES", "65536"), ("WEIR_JOURNAL__KEEP_APPLIED", "0")]).await;
    let mut ledger = Ledger::of("PostgreSQL killed (immediate) and restarted", Backend::Postgres);
    let load = Load::start(&app, 8, "crash");
    for _ in 0..scale(3, 15) {
        // Long enough that segments are deleted: what was committed must be the server's to keep.
        flows(&app, 200.0).await;
        postgres.crash();
        let at = app.metric("weir_journal_position{journal=\"analytics\"}").await;
        app.until("intake goes on", async || {
            app.metric("weir_journal_position{journal=\"analytics\"}").await > at + 50.0
        })
        .await;
        postgres.start_again();
    }
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
}

#[tokio::test]
async fn postgres_frozen_for_seconds_still_acknowledges_records() {
    let (postgres, app) = server_with(&[]).await;
    let mut ledger = Ledger::of("PostgreSQL frozen (SIGSTOP)", Backend::Postgres);
    let load = Load::start(&app, 8, "freeze");
    let seconds = Duration::from_secs(scale(2, 12));
    for _ in 0..scale(2, 5) {
        flows(&app, 50.0).await;
        app.until("it has caught up", async || app.metric(LAG).await < 200.0).await;
        postgres.signal("STOP");
        let (frozen, acknowledged) = (Instant::now(), app.outcomes("session", "accepted").await);
        let (at, behind) = (app.metric("weir_journal_position{journal=\"analytics\"}").await, app.metric(LAG).await);
        app.until("intake goes on for seconds", async || {
            app.metric("weir_journal_position{journal=\"analytics\"}").await > at + 500.0 && frozen.elapsed() > seconds
        })
        .await;
        let acknowledged = app.outcomes("session", "accepted").await - acknowledged;
        let (grown, frozen) = (app.metric(LAG).await - behind, frozen.elapsed());
        postgres.signal("CONT");
        assert!(acknowledged > 100.0, "{acknowledged} sessions were acknowledged while it was frozen for {frozen:?}");
        // Less than came in, where the answer to one last batch was on its way already.
        assert!(grown > 100.0, "{grown} more behind after {frozen:?}");
    }
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
}

#[tokio::test]
async fn postgres_without_free_connection_is_retried_until_free() {
    const PLACES: usize = 12;
    let (postgres, app) = server_with(&[]).await;
    postgres.configure(&format!("max_connections = {PLACES}"));
    postgres.crash();
    postgres.start_again();
    let mut ledger = Ledger::of("refused by max_connections", Backend::Postgres);
    let load = Load::start(&app, 8, "crowd");
    flows(&app, 50.0).await;
    // All places, those of superusers too, taken one by one from Weir.
    let mut crowd = vec![PgConnection::connect(&postgres.url).await.unwrap()];
    let what = "the writer is refused";
    app.until(what, async || {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weir'";
        sqlx::raw_sql(end).execute(&mut crowd[0]).await.unwrap();
        while let Ok(another) = PgConnection::connect(&postgres.url).await {
            crowd.push(another);
        }
        // Counted, not looked for: a backend that is ending is gone from every list before its place is free.
        crowd.len() == PLACES && readiness(&app).await["components"]["analytics_database"] == "unavailable"
    })
    .await;
    app.until("the reason is told", async || app.log().contains("has it places left?")).await;
    let at = app.metric("weir_journal_position{journal=\"analytics\"}").await;
    app.until("intake goes on", async || app.metric("weir_journal_position{journal=\"analytics\"}").await > at + 100.0)
        .await;
    assert_eq!(readiness(&app).await["components"]["analytics_database"], "unavailable");
    for connection in crowd {
        let _ = connection.close().await;
    }
    flows(&app, 50.0).await;
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
}

#[tokio::test]
async fn postgres_backends_terminated_repeatedly_lose_and_duplicate_nothing() {
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    let mut ledger = Ledger::of("backends terminated again and again", Backend::Postgres);
    let load = Load::start(&app, 8, "terminated");
    for _ in 0..scale(15, 100) {
        flows(&app, 5.0).await;
        for database in [Database::Analytics, Database::Main] {
            let name = app.databases.url(database).rsplit('/').next().unwrap();
            let end = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND application_name = 'weir'"
            );
            app.databases.execute(database, &end).await;
        }
    }
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
}

#[tokio::test]
async fn postgres_table_locked_for_seconds_refuses_nothing() {
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    let mut ledger = Ledger::of("a lock held on the tables", Backend::Postgres);
    let load = Load::start(&app, 8, "locked");
    flows(&app, 20.0).await;
    for (database, table) in [(Database::Analytics, "analytics_sessions"), (Database::Main, "funnel_events")] {
        let mut holder = PgConnection::connect(app.databases.url(database)).await.unwrap();
        let lock = AssertSqlSafe(format!("BEGIN; LOCK TABLE {table}"));
        sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
        // In the long version past the writer's own patience with a lock.
        tokio::time::sleep(Duration::from_secs(scale(2, 15))).await;
        holder.close().await.unwrap();
    }
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
}

#[tokio::test]
async fn postgres_commit_reply_lost_loses_and_duplicates_nothing() {
    let mut app = TestApp::prepare(Backend::Postgres).await;
    app.set_all(UNTHROTTLED);
    let (analytics, analytics_url) = Proxy::to_url(&app.databases.analytics_url).await;
    let (main, main_url) = Proxy::to_url(&app.databases.main_url).await;
    app.set("WEIR_ANALYTICS_DATABASE_URL", &analytics_url);
    app.set("WEIR_MAIN_DATABASE_URL", &main_url);
    app.launch().await;
    let mut ledger = Ledger::of("connection ends after COMMIT is sent", Backend::Postgres);
    let load = Load::start(&app, 8, "commit");
    flows(&app, 20.0).await;
    analytics.set(Link::LostCommits);
    main.set(Link::LostCommits);
    let arrived = "a commit whose answer was lost had arrived";
    app.until("commits arrive unheard", async || app.log().matches(arrived).count() >= scale(6, 60)).await;
    analytics.set(Link::Up);
    main.set(Link::Up);
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
}

#[tokio::test]
#[ignore = "takes more than a minute"]
async fn postgres_too_slow_for_batch_gets_smaller_batches() {
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    // A batch of 8,000 takes 32 seconds, and the server ends a statement after 30.
    let crawl = "CREATE FUNCTION crawl() RETURNS trigger LANGUAGE plpgsql AS
                   'BEGIN PERFORM pg_sleep(0.004); RETURN NEW; END';
                 CREATE TRIGGER crawl BEFORE INSERT ON analytics_sessions FOR EACH ROW EXECUTE FUNCTION crawl()";
    app.databases.execute(Database::Analytics, crawl).await;
    let mut ledger = Ledger::of("a database too slow for a whole batch", Backend::Postgres);
    let load = Load::start(&app, 8, "crawl");
    app.until("there is more than a batch", async || {
        app.metric("weir_writer_lag_records{database=\"analytics\"}").await > 8800.0
    })
    .await;
    load.finish(&mut ledger).await;
    app.until("the writer takes less", async || app.log().contains("taking fewer records at once")).await;
    flows(&app, 1.0).await;
    ledger.settle(&app).await;
}
