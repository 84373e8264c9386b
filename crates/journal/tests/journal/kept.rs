//! Applied segments that are kept for a database that goes back.

use std::time::Duration;

use super::*;

const RECORD: usize = 1000;

fn keeping(bytes: u64) -> JournalOptions {
    JournalOptions { keep_applied: Duration::from_hours(1), keep_applied_bytes: bytes, ..small_segments() }
}

fn records(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| vec![u8::try_from(number % 256).unwrap(); RECORD]).collect()
}

/// Each with an fsync of its own, so that segments are followed by the next.
async fn append_singly(journal: &Journal, payloads: Vec<Vec<u8>>) {
    for payload in payloads {
        append(journal, [payload]).await;
    }
}

fn apply_all(journal: &Journal) {
    journal.offsets().commit(journal.offsets().durable());
    journal.collector().collect().unwrap();
}

#[tokio::test]
async fn applied_segments_across_rolls_and_restarts_are_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let all = records(60);
    for life in 0..3 {
        let journal = start(directory.path(), keeping(1 << 20));
        append_singly(&journal, all[life * 20..(life + 1) * 20].to_vec()).await;
        apply_all(&journal);
        assert_eq!(journal.reader().trim_point(), Position::START);
        let status = journal.status().snapshot();
        assert!(status.kept_bytes > 10_000 && status.kept_bytes < status.disk_bytes, "{status:?}");
        assert_eq!(payloads(&read_all(&journal, Position::START).0), all[..(life + 1) * 20]);
        journal.appender().close();
        if life == 1 {
            // As if it had been killed.
            fs::remove_file(directory.path().join("clean")).unwrap();
        }
    }
    let looked = weir_journal::inspect(directory.path()).unwrap();
    let journal = start(directory.path(), keeping(1 << 20));
    let status = looked.status(Some(journal.offsets().durable()), 1 << 30);
    assert!(status.kept_bytes > 30_000, "{status:?}");
    // The database went back: nothing of what it lost may be deleted, however little is to be kept.
    journal.appender().close();
    drop(journal);
    let journal = start(directory.path(), JournalOptions { keep_applied: Duration::ZERO, ..keeping(1) });
    let (read, _) = read_all(&journal, Position::START);
    journal.offsets().commit(read[30].0);
    journal.collector().collect().unwrap();
    assert!(journal.reader().trim_point() > Position::START && journal.reader().trim_point() <= read[30].0);
    assert_eq!(payloads(&read_all(&journal, read[30].0).0), all[31..]);
}

#[tokio::test]
async fn applied_segments_past_their_size_go_oldest_first() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), keeping(10_000));
    append_singly(&journal, records(60)).await;
    apply_all(&journal);
    let status = journal.status().snapshot();
    assert!((4000..=10_000).contains(&status.kept_bytes), "{status:?}");
    let trim_point = journal.reader().trim_point();
    assert_eq!(payloads(&read_all(&journal, trim_point).0), records(60)[usize::try_from(trim_point.0).unwrap()..]);
}

#[tokio::test]
async fn applied_segments_give_way_to_records_of_full_journal() {
    let directory = tempfile::tempdir().unwrap();
    let options = JournalOptions { max_bytes: 200_000, segment_bytes: 20_000, ..keeping(200_000) };
    let journal = start(directory.path(), options);
    // Three times what fits, and the database keeps up: nothing is refused, although all that fits is kept.
    for _ in 0..30 {
        append_singly(&journal, records(20)).await;
        apply_all(&journal);
    }
    let status = journal.status().snapshot();
    assert!(status.kept_bytes > 80_000, "{status:?}");
    assert_eq!(status.state, JournalState::Open);
    // The database is away: records get what is kept, to the last segment.
    let mut accepted = 0;
    while journal.appender().append(vec![1; RECORD]).unwrap().await.is_ok() {
        accepted += 1;
    }
    assert!(accepted > 90, "{accepted}");
    assert_eq!(journal.status().snapshot().kept_bytes, 0);
    assert_eq!(journal.status().snapshot().state, JournalState::Full);
}
