//! The journal's thread panics at the very moments that decide what its senders are told. In this process: no other test
//! here has a journal of its own.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use weir_journal::{AppendError, Journal, JournalOptions, Position};
use weir_log::{LogReader, ReadLimits};
use weir_testkit::exclusive;

fn journal(directory: &Path) -> Journal {
    Journal::open("test", directory, JournalOptions::default(), Arc::new(())).unwrap()
}

fn stored(journal: &Journal) -> Vec<Vec<u8>> {
    let limits = ReadLimits { records: 100, bytes: 1 << 20 };
    let (mut reader, mut at, mut payloads) = (journal.reader(), Position::START, Vec::new());
    while at < reader.end() {
        let batch = reader.read(at, reader.end(), limits).unwrap();
        at = batch.through;
        payloads.extend(batch.records.iter().map(|record| record.payload.to_vec()));
    }
    payloads
}

#[tokio::test]
async fn journal_panic_after_fsync_acks_durable_record() {
    // Fail points are the process's.
    let _alone = exclusive().await;
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let appender = journal.appender();
    fail::cfg("journal.synced", "1*panic").unwrap();
    let told = appender.append(b"first".to_vec()).unwrap().await;
    fail::remove("journal.synced");
    assert_eq!(told, Ok(()));
    appender.append(b"second".to_vec()).unwrap().await.unwrap();
    assert_eq!(stored(&journal), [b"first".to_vec(), b"second".to_vec()]);
}

#[tokio::test]
async fn journal_close_during_batch_panic_completes() {
    // Fail points are the process's.
    let _alone = exclusive().await;
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path());
    let appender = journal.appender();
    // While the first batch syncs, the second gathers, with the order behind it.
    fail::cfg("journal.sync", "1*sleep(300)->1*panic").unwrap();
    let first = appender.append(b"first".to_vec()).unwrap();
    // Until the thread has taken it and syncs.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = appender.append(b"second".to_vec()).unwrap();
    let (closed, ended) = mpsc::channel();
    let closing = appender.clone();
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
