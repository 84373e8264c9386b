//! Records that come alone wait for no others; those that come in numbers share transactions.

use std::time::{Duration, Instant};

use weir_testkit::Database;

use super::pipeline::viewed;
use super::*;

/// How far the beginnings of two transactions are apart, after one with records in numbers.
const DISTANCE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn commit_interval_applies_only_after_many_records() {
    const LONE: u32 = 20;
    let directory = tempfile::tempdir().unwrap();
    let databases = Databases::fresh(Backend::Sqlite, directory.path()).await;
    let AnalyticsSink::Sqlite(sink) = open_analytics(&databases.analytics_url).unwrap() else {
        panic!("another engine");
    };
    let (journal, mut applier) = journal_with_applier(directory.path(), sink);

    append(&journal, 1).await;
    applier.step().await;
    let began = Instant::now();
    for _ in 0..LONE {
        append(&journal, 1).await;
        applier.step().await;
    }
    assert!(began.elapsed() < DISTANCE * LONE, "{:?} for {LONE} lone records", began.elapsed());
    append(&journal, 40).await;
    let began = Instant::now();
    applier.step().await;
    append(&journal, 1).await;
    applier.step().await;
    assert!(began.elapsed() >= DISTANCE, "{:?}", began.elapsed());
    assert_eq!(journal.status().snapshot().lag_records, 0);
}

#[tokio::test]
async fn pacing_window_spreads_only_large_batches() {
    let store = Store::fresh(Backend::Postgres).await;
    let while_of = |from, pacing_window| Step { pacing_window, ..store.step(from, from + 1) };
    let session = session_at(DAY).id;
    let views: Vec<_> = (0..MANY).map(|_| viewed(session)).collect();
    for (from, records) in [(0, sessions(MANY)), (2, views)] {
        let began = Instant::now();
        store.analytics.apply(&while_of(from, DISTANCE * 2), &records).await.unwrap();
        assert!(began.elapsed() > DISTANCE, "{:?}", began.elapsed());
        let began = Instant::now();
        store.analytics.apply(&while_of(from + 1, Duration::from_hours(1)), &sessions(40)).await.unwrap();
        assert!(began.elapsed() < Duration::from_mins(1), "few rows are no work to spread");
    }
    for table in ["analytics_sessions", "analytics_pageviews"] {
        let rows = store.databases.count(Database::Analytics, &format!("SELECT count(*) AS n FROM {table}")).await;
        assert!(rows >= i64::try_from(MANY).unwrap(), "{table} has {rows}");
    }
}
