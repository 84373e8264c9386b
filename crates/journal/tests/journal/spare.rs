//! The file of the next segment is written before its time, and whoever looks at the directory is not misled by it.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::*;

const SEGMENT_BYTES: u64 = 64 << 10;

fn options() -> JournalOptions {
    JournalOptions { segment_bytes: SEGMENT_BYTES, ..JournalOptions::default() }
}

fn spare(directory: &Path) -> PathBuf {
    directory.join("spare")
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

fn bytes_of_all_files(directory: &Path) -> u64 {
    fs::read_dir(directory).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// Appends records until something is so, and says how many there are.
async fn append_until(journal: &Journal, mut from: usize, is_so: impl Fn() -> bool) -> usize {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 30 s");
        append(journal, numbered(from..from + 20)).await;
        from += 20;
    }
    from
}

/// A journal of these options with a spare file that is made.
async fn with_spare(directory: &Path, options: JournalOptions) -> (Journal, usize) {
    let journal = start(directory, options);
    let is_made = || fs::metadata(spare(directory)).is_ok_and(|file| file.len() > SEGMENT_BYTES);
    let records = append_until(&journal, 0, is_made).await;
    (journal, records)
}

#[tokio::test]
async fn preallocated_segment_is_used_and_cut_when_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, records) = with_spare(directory.path(), options()).await;
    let ahead = inode(&spare(directory.path()));
    let newest = || segments(directory.path()).pop().unwrap();
    let records = append_until(&journal, records, || inode(&newest()) == ahead).await;
    let begun = newest();
    assert!(fs::metadata(&begun).unwrap().len() > SEGMENT_BYTES, "its zeros are there before its records");
    let records = append_until(&journal, records, || newest() != begun).await;
    assert_eq!(fs::metadata(&begun).unwrap().len(), end_of_records(&begun), "what was too much is cut");
    let (read, corrupt) = read_all(&journal, Position::START);
    assert_eq!((payloads(&read), corrupt), (numbered(0..records), vec![]));
}

#[tokio::test]
async fn preallocated_segment_after_crash_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut storage = open(directory.path(), options()).unwrap();
    let mut records = 0;
    let deadline = Instant::now() + Duration::from_secs(30);
    while segments(directory.path()).len() < 2
        || fs::metadata(segments(directory.path()).pop().unwrap()).unwrap().len() < SEGMENT_BYTES
    {
        assert!(Instant::now() < deadline, "no segment begins in a spare file");
        storage.append(&numbered(records..records + 20)).unwrap();
        records += 20;
    }
    drop(storage);
    let journal = start(directory.path(), options());
    assert!(!directory.path().join("torn-tail").exists());
    let (read, corrupt) = read_all(&journal, Position::START);
    assert_eq!((payloads(&read), corrupt), (numbered(0..records), vec![]));
}

#[tokio::test]
async fn preallocated_segment_counts_in_disk_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = with_spare(directory.path(), options()).await;
    let all = bytes_of_all_files(directory.path());
    journal.collector().collect().unwrap();
    assert_eq!(journal.status().snapshot().disk_bytes, all);
    let seen = weir_journal::inspect(directory.path()).unwrap().status(None, u64::MAX);
    assert_eq!(seen.disk_bytes, all);
}

#[tokio::test]
async fn preallocated_segment_near_max_bytes_yields_to_records() {
    let directory = tempfile::tempdir().unwrap();
    // Four segments fill it, so that there is room for a spare file until the last of them.
    let options = JournalOptions { max_bytes: 4 * SEGMENT_BYTES + (70 << 10), ..options() };
    let (journal, mut records) = with_spare(directory.path(), options).await;
    loop {
        assert!(bytes_of_all_files(directory.path()) <= options.max_bytes);
        let ack = journal.appender().append(vec![b'x'; 1000]).unwrap();
        match ack.await {
            Ok(()) => records += 1,
            Err(error) => break assert_eq!(error, AppendError::DiskFull),
        }
    }
    assert!(!spare(directory.path()).exists());
    let all = bytes_of_all_files(directory.path());
    assert!(all + 2048 > options.max_bytes, "{all} of {} bytes are used", options.max_bytes);
    assert_eq!(read_all(&journal, Position::START).0.len(), records);
}

#[tokio::test]
async fn preallocated_segment_is_removed_on_close_and_start() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = with_spare(directory.path(), options()).await;
    journal.appender().close();
    assert!(!spare(directory.path()).exists());
    drop(journal);
    fs::write(spare(directory.path()), [0; 5000]).unwrap();
    let journal = start(directory.path(), options());
    assert!(!spare(directory.path()).exists());
    drop(journal);
}

#[tokio::test]
async fn preallocated_segment_failure_creates_segments_on_demand() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(spare(directory.path())).unwrap();
    let journal = start(directory.path(), options());
    let records = append_until(&journal, 0, || segments(directory.path()).len() > 3).await;
    let (read, corrupt) = read_all(&journal, Position::START);
    assert_eq!((payloads(&read), corrupt), (numbered(0..records), vec![]));
    assert!(spare(directory.path()).is_dir());
}

#[tokio::test]
async fn preallocated_segment_deleted_loses_no_record() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, records) = with_spare(directory.path(), options()).await;
    fs::remove_file(spare(directory.path())).unwrap();
    let begun = segments(directory.path()).len();
    let records = append_until(&journal, records, || segments(directory.path()).len() > begun + 2).await;
    let (read, corrupt) = read_all(&journal, Position::START);
    assert_eq!((payloads(&read), corrupt), (numbered(0..records), vec![]));
}
