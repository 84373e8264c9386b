//! What happens between Weir and PostgreSQL: nothing for a while, everything later, or the end of every connection.

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use weir_testkit::exclusive;
use weir_testkit::proxy::{Link, Proxy};

use super::postgres_server::flows;
use super::*;

/// A server whose two databases are behind proxies: analytics, main.
pub async fn behind_proxies(variables: &[(&str, &str)]) -> (TestApp, Proxy, Proxy) {
    let mut app = TestApp::prepare(Backend::Postgres).await;
    app.set_all(UNTHROTTLED);
    app.set_all(variables);
    let (analytics, analytics_url) = Proxy::to_url(&app.databases.analytics_url).await;
    let (main, main_url) = Proxy::to_url(&app.databases.main_url).await;
    app.set("WEIR_ANALYTICS_DATABASE_URL", &analytics_url);
    app.set("WEIR_MAIN_DATABASE_URL", &main_url);
    app.launch().await;
    (app, analytics, main)
}

#[tokio::test]
async fn database_connections_cut_repeatedly_lose_and_duplicate_nothing() {
    let (app, analytics, _main) = behind_proxies(&[]).await;
    let mut ledger = Ledger::of("connections cut again and again", Backend::Postgres);
    let load = Load::start(&app, 8, "cut");
    for _ in 0..8 {
        flows(&app, 50.0).await;
        // Some of these fall between COMMIT and its answer.
        analytics.set(Link::Reset);
        tokio::time::sleep(Duration::from_millis(30)).await;
        analytics.set(Link::Up);
    }
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
}

#[tokio::test]
async fn database_network_slow_delays_writer_but_not_replies() {
    // It looks at how long an answer takes.
    let _alone = exclusive().await;
    let (app, analytics, _main) = behind_proxies(&[]).await;
    let mut ledger = Ledger::of("slow network", Backend::Postgres);
    analytics.set(Link::Slow(Duration::from_millis(40)));
    let load = Load::start(&app, 8, "slow");
    flows(&app, 200.0).await;
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let began = Instant::now();
        app.create_session(&weir_testkit::minimal_session()).await;
        fastest = fastest.min(began.elapsed());
    }
    // One that waited for a transaction would take several trips of 80 ms.
    assert!(fastest < Duration::from_millis(200), "{fastest:?}");
    load.finish(&mut ledger).await;
    ledger.settle(&app).await;
}

#[tokio::test]
async fn database_network_silent_times_out_then_recovers() {
    let (app, analytics, main) = behind_proxies(&[]).await;
    let mut ledger = Ledger::of("a network that falls silent", Backend::Postgres);
    let load = Load::start(&app, 4, "silent");
    flows(&app, 20.0).await;
    // In the middle of a transaction: that is when nothing but the writer's own patience ends the wait.
    let mut blocker = sqlx::PgConnection::connect(&app.databases.analytics_url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE analytics_sessions").execute(&mut blocker).await.unwrap();
    let waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'weir' AND wait_event_type = 'Lock'";
    app.until("the writer waits for the table", async || app.databases.count(Database::Analytics, waiting).await > 0)
        .await;
    analytics.set(Link::BlackHole);
    main.set(Link::BlackHole);
    sqlx::Connection::close(blocker).await.unwrap();
    let at = app.metric("weir_journal_position{journal=\"analytics\"}").await;
    app.until("intake goes on", async || app.metric("weir_journal_position{journal=\"analytics\"}").await > at + 50.0)
        .await;
    // A read says so within its bounds, and a visitor waits for nothing.
    let token = app.run(&["jwt", "alice"]).await.stdout.trim().to_owned();
    let began = Instant::now();
    let status = app.client.get(app.url("/api/v1/users/attribution")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(status.status(), 503);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    load.finish(&mut ledger).await;
    let what = "the silence is noticed";
    app.until(what, async || app.metric("weir_writer_up{database=\"analytics\"}").await < 0.5).await;
    // The connections made before stay lost; new ones get through.
    analytics.set(Link::Up);
    main.set(Link::Up);
    ledger.settle(&app).await;
    app.until("reads are answered again", async || {
        let answer = app.client.get(app.url("/api/v1/users/attribution")).bearer_auth(&token).send().await.unwrap();
        answer.status() == 404
    })
    .await;
}

#[tokio::test]
async fn database_backend_frozen_is_noticed_then_recovers() {
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    let mut ledger = Ledger::of("a frozen backend", Backend::Postgres);
    let load = Load::start(&app, 4, "frozen");
    flows(&app, 20.0).await;
    // The server's process for the writer's connection, and no other: the cluster is every test's.
    let mut blocker = sqlx::PgConnection::connect(&app.databases.analytics_url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE analytics_sessions").execute(&mut blocker).await.unwrap();
    let waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'weir' AND wait_event_type = 'Lock'";
    let mut frozen = None;
    app.until("the writer waits for the table", async || {
        frozen = app.rows(Database::Analytics, waiting).await.first().map(|row| row["pid"].to_string());
        frozen.is_some()
    })
    .await;
    let frozen = frozen.unwrap();
    let signal = |name: &str| std::process::Command::new("kill").args([name, &frozen]).status().unwrap();
    assert!(signal("-STOP").success());
    sqlx::Connection::close(blocker).await.unwrap();
    load.finish(&mut ledger).await;
    let what = "the freeze is noticed";
    app.until(what, async || app.metric("weir_writer_up{database=\"analytics\"}").await < 0.5).await;
    // It still holds its transaction, and with it the journal's position: nothing can pass it before it is gone.
    assert!(signal("-CONT").success());
    ledger.settle(&app).await;
    assert_eq!(ledger.refused(), 0);
}

#[tokio::test]
async fn database_connection_lost_while_idle_is_replaced_in_seconds() {
    let (app, analytics, _main) = behind_proxies(&[]).await;
    let mut ledger = Ledger::of("a connection forgotten while idle", Backend::Postgres);
    visit(&app, &mut ledger, "before").await.expect("it is stored");
    app.applied().await;
    // Idle for long enough to be asked before it is used. The connections made so far are lost for good.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    analytics.set(Link::BlackHole);
    tokio::time::sleep(Duration::from_millis(100)).await;
    analytics.set(Link::Up);
    let began = Instant::now();
    visit(&app, &mut ledger, "after").await.expect("it is stored");
    app.applied().await;
    // The writer's patience with a transaction is 35 seconds.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    ledger.settle(&app).await;
}
