//! A segment's file runs ahead of its records in zeros, and nobody takes them for anything else.

use super::*;

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[tokio::test]
async fn zero_fill_of_active_segment_is_cut_on_close() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), JournalOptions::default());
    append(&journal, numbered(0..10)).await;
    let file = segments(directory.path()).remove(0);
    let ahead = length(&file);
    assert!(ahead > end_of_records(&file) + 100_000, "{ahead} bytes");
    append(&journal, numbered(10..20)).await;
    assert_eq!(length(&file), ahead, "the next batch makes it no longer");
    let files = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert_eq!(journal.status().snapshot().disk_bytes, files.sum::<u64>(), "what is ahead counts");
    journal.appender().close();
    assert_eq!(length(&file), end_of_records(&file));
    drop(journal);
    let again = start(directory.path(), JournalOptions::default());
    append(&again, numbered(20..30)).await;
    let (records, corrupt) = read_all(&again, Position::START);
    assert_eq!((payloads(&records), corrupt), (numbered(0..30), vec![]));
    assert_eq!(segments(directory.path()), [file], "it is continued");
}

#[tokio::test]
async fn zero_fill_of_sealed_segment_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), small_segments());
    for batch in 0..10 {
        append(&journal, numbered(batch * 20..batch * 20 + 20)).await;
    }
    let mut files = segments(directory.path());
    files.pop();
    assert!(files.len() >= 3);
    for file in files {
        assert_eq!(length(&file), end_of_records(&file), "{}", file.display());
    }
}

#[tokio::test]
async fn zero_fill_without_fsync_is_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), JournalOptions { fsync: false, ..JournalOptions::default() });
    append(&journal, numbered(0..10)).await;
    let file = segments(directory.path()).remove(0);
    assert_eq!(length(&file), end_of_records(&file));
}

#[tokio::test]
async fn zero_fill_after_crash_is_cut_without_torn_tail() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), JournalOptions::default()).unwrap().append(&numbered(0..10)).unwrap();
    let file = segments(directory.path()).remove(0);
    let journal = start(directory.path(), JournalOptions::default());
    assert_eq!(length(&file), end_of_records(&file));
    assert!(!directory.path().join("torn-tail").exists());
    assert_eq!(journal.status().snapshot().lag_records, 10);
}

#[tokio::test]
async fn zeroed_record_in_last_batch_loses_only_that_record() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), JournalOptions::default()).unwrap().append(&numbered(0..10)).unwrap();
    let file = segments(directory.path()).remove(0);
    let frame = |record: usize| 28 + numbered(record..record + 1)[0].len();
    let gap = 64 + (0..4).map(frame).sum::<usize>();
    overwrite(&file, gap as u64, &vec![0; frame(4)]);
    let journal = start(directory.path(), JournalOptions::default());
    append(&journal, numbered(10..11)).await;
    let (records, corrupt) = read_all(&journal, Position::START);
    assert_eq!(payloads(&records), [numbered(0..4), numbered(5..11)].concat());
    assert_eq!((corrupt.len(), corrupt[0].first, corrupt[0].last), (1, Position(5), Position(5)));
}
