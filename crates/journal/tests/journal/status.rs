//! What a journal tells of itself is true: beside a server, without a database, and while files go.

use std::time::{Duration, Instant};

use weir_journal::inspect;

use super::*;

#[tokio::test]
async fn inspect_disk_bytes_equal_live_journal_status() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), small_segments());
    append(&journal, numbered(0..100)).await;
    let letter = DeadLetter {
        position: Position(1),
        last: Position(1),
        reason: DeadLetterReason::Refused,
        detail: "code 23514".to_owned(),
        record: "00".repeat(10_000),
        at_ms: 0,
    };
    journal.dead_letters().add(&[letter]).unwrap();
    let looked = || inspect(directory.path()).unwrap().status(None, 0).disk_bytes;
    // The file ahead counts as a whole from the moment that its thread begins to write it.
    let deadline = Instant::now() + Duration::from_secs(10);
    while looked() != journal.status().snapshot().disk_bytes && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let told = looked();
    assert_eq!(told, journal.status().snapshot().disk_bytes);
    assert!(told > 20_000, "the letter is not in the {told} bytes");
}

#[tokio::test]
async fn status_without_database_reports_lag_at_last_close() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(directory.path(), JournalOptions::default());
    append(&first, numbered(0..100)).await;
    first.offsets().remember_applied().unwrap();
    assert_eq!(inspect(directory.path()).unwrap().status(None, 0).lag_records, 100, "nobody was asked");
    first.offsets().commit(Position(95));
    first.appender().close();
    first.offsets().remember_applied().unwrap();
    drop(first);
    let seen = inspect(directory.path()).unwrap();
    assert_eq!(seen.status(None, 0).lag_records, 5);
    assert_eq!(seen.status(Some(Position(90)), 0).lag_records, 10, "what the database says counts more");
    let journal = start(directory.path(), JournalOptions::default());
    let status = journal.status().snapshot();
    assert_eq!((status.applied, status.lag_records), (None, 5));
    assert_eq!(journal.offsets().applied(), Position::START, "it is told, and nothing is deleted for it");
    // The database was restored from an older copy.
    journal.offsets().commit(Position(90));
    assert_eq!(journal.status().snapshot().lag_records, 10);
}

#[tokio::test]
async fn oldest_unapplied_age_before_first_read_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), JournalOptions::default());
    append(&journal, numbered(0..10)).await;
    assert!(journal.status().snapshot().oldest_unapplied_at_ms.is_some(), "the database was never asked");
    journal.offsets().commit(Position(3));
    assert!(journal.status().snapshot().oldest_unapplied_at_ms.is_some(), "the database was asked");
    let seen = inspect(directory.path()).unwrap();
    assert!(seen.status(Some(Position(3)), 0).oldest_unapplied_at_ms.is_some());
    assert_eq!(seen.status(Some(Position(10)), 0).oldest_unapplied_at_ms, None);
    journal.offsets().commit(journal.offsets().durable());
    assert_eq!(journal.status().snapshot().oldest_unapplied_at_ms, None);
}

#[tokio::test]
async fn inspect_during_segment_deletion_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let options = JournalOptions { segment_bytes: 1, ..JournalOptions::default() };
    let mut storage = open(directory.path(), JournalOptions { fsync: false, ..options }).unwrap();
    for record in numbered(0..500) {
        storage.append(&[record]).unwrap();
    }
    let mut doomed = segments(directory.path());
    let newest = doomed.pop();
    let deleting = std::thread::spawn(move || {
        // Faster than all of them can be looked at: there is no moment without a change.
        for path in doomed {
            std::thread::sleep(std::time::Duration::from_millis(1));
            fs::remove_file(path).unwrap();
        }
    });
    let mut looks = 0;
    while !deleting.is_finished() {
        inspect(directory.path()).unwrap();
        looks += 1;
    }
    deleting.join().unwrap();
    assert!(looks > 1, "nobody looked meanwhile");
    assert_eq!(segments(directory.path()), Vec::from_iter(newest));
}

#[tokio::test]
async fn unreadable_segment_fails_read_and_open_until_removed() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(directory.path(), small_segments());
    for batch in 0..10 {
        append(&first, numbered(batch * 20..batch * 20 + 20)).await;
    }
    let file = segments(directory.path())[1].clone();
    let aside = directory.path().join("aside");
    // A directory opens and does not read, whoever asks, as a sector that is gone.
    let break_it = || {
        fs::rename(&file, &aside).unwrap();
        fs::create_dir(&file).unwrap();
    };
    break_it();
    let mut reader = first.reader();
    let mut at = Position::START;
    let error = loop {
        match reader.read(at, first.offsets().durable(), LIMITS) {
            Ok(batch) => at = batch.through,
            Err(error) => break error,
        }
    };
    assert_eq!(error.path, file);
    fs::remove_dir(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    assert!(
        reader.read(at, first.offsets().durable(), LIMITS).unwrap().corrupt.is_empty(),
        "it is there again, and nothing was skipped"
    );
    first.appender().close();
    drop((first, reader));

    break_it();
    let refused = open(directory.path(), small_segments()).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains(file.to_str().unwrap()), "{refused:?}");
    fs::remove_dir(&file).unwrap();
    let journal = start(directory.path(), small_segments());
    let (records, corrupt) = read_all(&journal, Position::START);
    assert_eq!(records.len() as u64 + corrupt.iter().map(weir_log::CorruptRange::records).sum::<u64>(), 200);
    assert_eq!(corrupt.len(), 1);
}
