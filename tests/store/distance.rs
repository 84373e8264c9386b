//! Records that come alone wait for no others; those that come in numbers share transactions.

use std::time::{Duration, Instant};

use super::*;

/// How far the beginnings of two transactions are apart, after one with records in numbers.
const DISTANCE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_transaction_keeps_its_distance_after_many_records_and_not_after_one() {
    const LONE: u32 = 20;
    let directory = tempfile::tempdir().unwrap();
    let databases = Databases::fresh(Backend::Sqlite, directory.path()).await;
    let AnalyticsSink::Sqlite(sink) = open_analytics(&database_url(Backend::Sqlite, &databases.analytics_url)).unwrap()
    else {
        panic!("another engine");
    };
    let (journal, mut pump) = journal_with_pump(directory.path(), sink);

    append(&journal, 1).await;
    pump.step().await;
    let began = Instant::now();
    for _ in 0..LONE {
        append(&journal, 1).await;
        pump.step().await;
    }
    assert!(began.elapsed() < DISTANCE * LONE, "{:?} for {LONE} lone records", began.elapsed());
    append(&journal, 40).await;
    let began = Instant::now();
    pump.step().await;
    append(&journal, 1).await;
    pump.step().await;
    assert!(began.elapsed() >= DISTANCE, "{:?}", began.elapsed());
    assert_eq!(journal.status().lag_records, 0);
}
