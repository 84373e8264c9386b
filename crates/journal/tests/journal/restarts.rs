//! Starts after ends that nobody planned: twice in a row, on files that are gone or cut within their header.

use super::*;

/// A process that appends so many records and dies.
fn die_after(directory: &Path, options: JournalOptions, records: usize) -> Option<Position> {
    let mut storage = open(directory, options).unwrap();
    (records > 0).then(|| storage.append(&numbered(0..records)).unwrap())
}

fn newest(directory: &Path) -> PathBuf {
    segments(directory).pop().unwrap()
}

#[tokio::test]
async fn crash_before_segment_header_loses_and_reports_nothing() {
    let directory = tempfile::tempdir().unwrap();
    die_after(directory.path(), small_segments(), 3);
    die_after(directory.path(), small_segments(), 0);
    OpenOptions::new().write(true).open(newest(directory.path())).unwrap().set_len(0).unwrap();
    let journal = start(directory.path(), small_segments());
    append(&journal, numbered(3..5)).await;
    let (records, corrupt) = read_all(&journal, Position::START);
    assert_eq!((payloads(&records), corrupt), (numbered(0..5), vec![]));
    assert_eq!(journal.status().snapshot().lag_records, 5);
}

#[tokio::test]
async fn corrupt_header_after_position_gap_reports_only_real_loss() {
    let directory = tempfile::tempdir().unwrap();
    die_after(directory.path(), small_segments(), 3);
    let first = newest(directory.path());
    die_after(directory.path(), small_segments(), 2);
    overwrite(&newest(directory.path()), 0, &[0; 64]);
    // The last of the three records.
    let end = fs::metadata(&first).unwrap().len();
    overwrite(&first, end - 1, b"?");
    let journal = start(directory.path(), small_segments());
    let (records, corrupt) = read_all(&journal, Position::START);
    assert_eq!(payloads(&records), [numbered(0..2), numbered(0..2)].concat());
    assert_eq!(corrupt.iter().map(weir_log::CorruptRange::records).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn segment_cut_within_header_loses_no_later_append() {
    for length in [0, 10, 63] {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path(), small_segments()).unwrap().close();
        OpenOptions::new().write(true).open(newest(directory.path())).unwrap().set_len(length).unwrap();
        let journal = start(directory.path(), small_segments());
        append(&journal, numbered(0..3)).await;
        assert_eq!(payloads(&read_all(&journal, Position::START).0), numbered(0..3), "cut to {length} bytes");
    }
}

#[tokio::test]
async fn positions_after_gap_segment_lost_are_not_reused() {
    let directory = tempfile::tempdir().unwrap();
    die_after(directory.path(), small_segments(), 3);
    let mut given = Position::START;
    for _ in 0..3 {
        let last = die_after(directory.path(), small_segments(), 5).unwrap();
        assert!(last.0 - 5 > given.0, "{last} after {given}");
        given = last;
        fs::remove_file(newest(directory.path())).unwrap();
    }
    // The same when the lost segment held nothing and the stop was orderly.
    open(directory.path(), small_segments()).unwrap().close();
    fs::remove_file(newest(directory.path())).unwrap();
    let mut storage = open(directory.path(), small_segments()).unwrap();
    assert!(storage.append(&numbered(0..1)).unwrap() > given);
}

#[tokio::test]
async fn missing_segment_after_position_gap_counts_only_lost_records() {
    let directory = tempfile::tempdir().unwrap();
    for records in [3, 5, 2] {
        die_after(directory.path(), small_segments(), records);
    }
    fs::remove_file(&segments(directory.path())[1]).unwrap();
    let journal = start(directory.path(), small_segments());
    let (records, corrupt) = read_all(&journal, Position::START);
    assert_eq!(records.len(), 5);
    assert_eq!(corrupt.iter().map(weir_log::CorruptRange::records).collect::<Vec<_>>(), [5]);
    assert_eq!(journal.status().snapshot().lag_records, 10, "what is lost is still to be told to the database");
}

#[tokio::test]
async fn journal_crash_loop_stays_within_max_bytes() {
    let directory = tempfile::tempdir().unwrap();
    // 64 KiB of it are the reserve.
    let options = JournalOptions { max_bytes: 85_000, segment_bytes: 1, ..JournalOptions::default() };
    let journal = start(directory.path(), options);
    let mut taken = 0;
    while journal.appender().append(vec![1; 300]).unwrap().await.is_ok() {
        taken += 1;
    }
    assert!(taken > 30, "{taken} records of 300 bytes in 20 kB");
    journal.appender().close();
    drop(journal);
    fs::remove_file(directory.path().join("clean")).unwrap();
    for _ in 0..20 {
        die_after(directory.path(), options, 0);
        let files = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
        let bytes = files.sum::<u64>();
        assert!(bytes <= options.max_bytes, "{bytes} bytes");
    }
}
