//! The journal's thread panics at the very moments that decide what its senders are told. In this process: no other test
//! here has a journal of its own.

use std::sync::mpsc;
use std::time::Duration;

use weir::actor::Vitals;
use weir::journal::{AppendError, Journal, JournalOptions, Position, ReadLimits, SegmentStorage};
use weir::telemetry::Telemetry;

/// Fail points are the process's: one test at a time.
static POINTS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn journal(directory: &std::path::Path) -> Journal {
    let telemetry = Telemetry::new();
    let vitals = Vitals::new(telemetry.clone());
    let options = JournalOptions::default();
    let storage = SegmentStorage::open(directory, options, weir::telemetry::Histogram::unread()).unwrap();
    Journal::start("test", storage, options, telemetry.journal("test"), vitals.lifeline("test_journal")).unwrap()
}

fn stored(journal: &Journal) -> Vec<Vec<u8>> {
    let limits = ReadLimits { records: 100, bytes: 1 << 20 };
    let (mut feed, mut at, mut payloads) = (journal.feed(), Position::START, Vec::new());
    while at < journal.durable() {
        let chunk = feed.read(at, journal.durable(), limits).unwrap();
        at = chunk.through;
        payloads.extend(chunk.entries.iter().map(|entry| entry.payload.to_vec()));
    }
    payloads
}

#[tokio::test]
async fn who_is_on_disk_is_told_so_though_the_journal_panics_right_after() {
    let _alone = POINTS.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    fail::cfg("journal.synced", "1*panic").unwrap();
    let told = journal.append(b"first".to_vec()).unwrap().await;
    fail::remove("journal.synced");
    assert_eq!(told, Ok(()));
    journal.append(b"second".to_vec()).unwrap().await.unwrap();
    assert_eq!(stored(&journal), [b"first".to_vec(), b"second".to_vec()]);
}

#[tokio::test]
async fn an_order_to_close_survives_a_panic_over_its_batch() {
    let _alone = POINTS.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    // While the first batch syncs, the second gathers, with the order behind it.
    fail::cfg("journal.sync", "1*sleep(300)->1*panic").unwrap();
    let first = journal.append(b"first".to_vec()).unwrap();
    // Until the thread has taken it and syncs.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = journal.append(b"second".to_vec()).unwrap();
    let (closed, ended) = mpsc::channel();
    let closing = journal.clone();
    std::thread::spawn(move || {
        closing.close();
        closed.send(()).unwrap();
    });
    let closed = ended.recv_timeout(Duration::from_secs(20));
    fail::remove("journal.sync");
    assert_eq!(closed, Ok(()), "the order was lost");
    assert_eq!(first.await, Ok(()));
    assert_eq!(second.await, Err(AppendError::Failed));
    assert_eq!(stored(&journal), [b"first".to_vec()]);
}
