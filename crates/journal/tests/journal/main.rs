//! The journal on real files: what was acknowledged is read back, whatever happens to the files in between.

mod ahead;
mod file_limit;
mod kept;
mod machine;
mod restarts;
mod spare;
mod status;
mod unfinished;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_journal::{AppendError, Journal, JournalOptions, JournalState, OpenError, Position, SegmentStorage, Storage};
use weir_log::{DeadLetter, DeadLetterQueue, DeadLetterReason, LogReader, Offsets, ReadLimits, RecordBatch};

const LIMITS: ReadLimits = ReadLimits { records: 7, bytes: 1000 };

fn small_segments() -> JournalOptions {
    JournalOptions { segment_bytes: 4096, ..JournalOptions::default() }
}

fn open(directory: &Path, options: JournalOptions) -> Result<SegmentStorage, OpenError> {
    SegmentStorage::open(directory, options, Arc::new(()))
}

fn start(directory: &Path, options: JournalOptions) -> Journal {
    Journal::open("test", directory, options, Arc::new(())).unwrap()
}

async fn append(journal: &Journal, payloads: impl IntoIterator<Item = Vec<u8>>) {
    let acks: Vec<_> = payloads.into_iter().map(|payload| journal.appender().append(payload).unwrap()).collect();
    for ack in acks {
        ack.await.unwrap();
    }
}

/// Everything after a position, batch by batch, as a writer reads it.
fn read_all(journal: &Journal, after: Position) -> (Vec<(Position, Vec<u8>)>, Vec<weir_log::CorruptRange>) {
    let mut reader = journal.reader();
    let (mut records, mut corrupt, mut at) = (Vec::new(), Vec::new(), after);
    while at < journal.offsets().durable() {
        let batch: RecordBatch = reader.read(at, journal.offsets().durable(), LIMITS).unwrap();
        assert!(batch.through > at, "reading stands still at {at}");
        assert!(batch.records.len() <= LIMITS.records);
        at = batch.through;
        records.extend(batch.records.into_iter().map(|entry| (entry.position, entry.payload.to_vec())));
        corrupt.extend(batch.corrupt);
    }
    (records, corrupt)
}

fn payloads(records: &[(Position, Vec<u8>)]) -> Vec<Vec<u8>> {
    records.iter().map(|(_, payload)| payload.clone()).collect()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|number| format!("record {number} {}", "x".repeat(number % 200)).into_bytes()).collect()
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
        .collect();
    paths.sort();
    paths
}

/// What a segment's file runs ahead of its records with is zeros, and none of the records here ends in one.
fn end_of_records(path: &Path) -> u64 {
    fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

#[tokio::test]
async fn log_reader_across_segments_reads_records_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), small_segments());
    append(&journal, numbered(0..50)).await;
    append(&journal, numbered(50..120)).await;
    append(&journal, numbered(120..121)).await;
    assert!(segments(directory.path()).len() > 1);
    let (records, corrupt) = read_all(&journal, Position::START);
    assert_eq!(payloads(&records), numbered(0..121));
    assert_eq!(corrupt, []);
    let (tail, _) = read_all(&journal, records[99].0);
    assert_eq!(payloads(&tail), numbered(100..121));
    assert_eq!(journal.status().snapshot().lag_records, 121);
}

#[tokio::test]
async fn log_reader_record_beyond_limit_is_read_whole() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), JournalOptions::default());
    let long = vec![vec![7; 100_000], vec![8; 1], vec![9; 200_000]];
    append(&journal, long.clone()).await;
    assert_eq!(payloads(&read_all(&journal, Position::START).0), long);
    assert_eq!(journal.appender().append(vec![0; 300_000]).err(), Some(AppendError::TooLong));
}

#[tokio::test]
async fn positions_continue_after_close_and_skip_after_crash() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(directory.path(), small_segments());
    append(&first, numbered(0..3)).await;
    first.appender().close();
    assert_eq!(first.appender().append(vec![1]).err(), Some(AppendError::Closed));
    drop(first);

    let mut crashed = open(directory.path(), small_segments()).unwrap();
    assert_eq!(crashed.last(), Position(3));
    assert_eq!(crashed.append(&numbered(3..4)).unwrap(), Position(4));
    drop(crashed);

    let journal = start(directory.path(), small_segments());
    append(&journal, numbered(4..6)).await;
    assert!(journal.offsets().durable() > Position(1 << 32), "a position could be given twice");
    let (records, corrupt) = read_all(&journal, Position::START);
    assert_eq!(payloads(&records), numbered(0..6));
    assert_eq!(corrupt, [], "a jump is no loss");
    assert_eq!(journal.status().snapshot().lag_records, 6, "positions that were jumped over are no records");
}

#[tokio::test]
async fn torn_tail_is_truncated_and_prior_records_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut crashed = open(directory.path(), JournalOptions::default()).unwrap();
    crashed.append(&numbered(0..10)).unwrap();
    drop(crashed);
    let segment = segments(directory.path()).remove(0);
    OpenOptions::new().write(true).open(&segment).unwrap().set_len(end_of_records(&segment) - 5).unwrap();

    let journal = start(directory.path(), JournalOptions::default());
    append(&journal, numbered(10..12)).await;
    let (records, corrupt) = read_all(&journal, Position::START);
    let expected: Vec<_> = numbered(0..9).into_iter().chain(numbered(10..12)).collect();
    assert_eq!((payloads(&records), corrupt), (expected, vec![]));
}

#[tokio::test]
async fn zeroed_tail_at_start_is_truncated() {
    let directory = tempfile::tempdir().unwrap();
    let mut crashed = open(directory.path(), JournalOptions::default()).unwrap();
    crashed.append(&numbered(0..10)).unwrap();
    drop(crashed);
    let segment = segments(directory.path()).remove(0);
    let whole = fs::metadata(&segment).unwrap().len();
    OpenOptions::new().write(true).open(&segment).unwrap().set_len(whole + 4096).unwrap();

    let journal = start(directory.path(), JournalOptions::default());
    append(&journal, numbered(10..11)).await;
    assert_eq!(payloads(&read_all(&journal, Position::START).0), numbered(0..11));
}

#[tokio::test]
async fn corrupt_record_is_reported_and_others_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), JournalOptions::default());
    append(&journal, vec![vec![b'a'; 100]; 20]).await;
    let segment = segments(directory.path()).remove(0);
    // Header 64, frames of 28 + 100: into the payload of record 5, and into the length of record 12.
    overwrite(&segment, 64 + 4 * 128 + 60, b"ZZ");
    overwrite(&segment, 64 + 11 * 128 + 4, &[0xff, 0xff, 0xff, 0x7f]);
    let (records, corrupt) = read_all(&journal, Position::START);
    let positions: Vec<u64> = records.iter().map(|(position, _)| position.0).collect();
    assert_eq!(positions, (1..=20).filter(|position| ![5, 12].contains(position)).collect::<Vec<_>>());
    assert_eq!(corrupt.len(), 2);
    assert_eq!((corrupt[0].first, corrupt[0].last, corrupt[0].offset), (Position(5), Position(5), 64 + 4 * 128));
    assert_eq!((corrupt[1].first, corrupt[1].last, corrupt[1].offset), (Position(12), Position(12), 64 + 11 * 128));
    assert!(corrupt.iter().all(|corrupt| corrupt.file == segment && corrupt.records() == 1));
}

#[tokio::test]
async fn corrupt_segment_header_loses_no_record() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(directory.path(), small_segments());
    append(&first, numbered(0..100)).await;
    first.appender().close();
    drop(first);
    overwrite(&segments(directory.path())[0], 0, &[0; 64]);
    let journal = start(directory.path(), small_segments());
    assert_eq!(read_all(&journal, Position::START), (read_all(&journal, Position::START).0, vec![]));
    assert_eq!(payloads(&read_all(&journal, Position::START).0), numbered(0..100));
}

/// Every position up to the last one that was given is read or named.
fn assert_nothing_is_hidden(journal: &Journal, given: u64) {
    let (records, corrupt) = read_all(journal, Position::START);
    for position in (1..=given).map(Position) {
        let read = records.iter().any(|(found, _)| *found == position);
        let named = corrupt.iter().any(|corrupt| (corrupt.first..=corrupt.last).contains(&position));
        assert!(read != named, "{position}: read {read}, named {named}");
    }
}

#[tokio::test]
async fn misplaced_record_hides_no_other_record() {
    let directory = tempfile::tempdir().unwrap();
    let mut crashed = open(directory.path(), JournalOptions::default()).unwrap();
    crashed.append(&vec![vec![b'a'; 100]; 10]).unwrap();
    drop(crashed);
    // The disk wrote the second record over the last one: what the journal ends with is not its end.
    let segment = segments(directory.path()).remove(0);
    let bytes = fs::read(&segment).unwrap();
    overwrite(&segment, 64 + 9 * 128, &bytes[64 + 128..64 + 2 * 128]);
    let journal = start(directory.path(), JournalOptions::default());
    append(&journal, numbered(0..1)).await;
    assert_nothing_is_hidden(&journal, 9);
    assert_eq!(read_all(&journal, Position::START).0.len(), 10);
}

/// A journal of 200 records in ten batches, closed: it has several segments.
async fn fill_small_segments(directory: &Path) {
    let journal = start(directory, small_segments());
    for batch in 0..10 {
        append(&journal, numbered(batch * 20..batch * 20 + 20)).await;
    }
    journal.appender().close();
}

#[tokio::test]
async fn misplaced_segment_header_hides_no_record() {
    let directory = tempfile::tempdir().unwrap();
    fill_small_segments(directory.path()).await;
    let files = segments(directory.path());
    overwrite(&files[2], 0, &fs::read(&files[0]).unwrap()[..64]);
    let journal = start(directory.path(), small_segments());
    assert_nothing_is_hidden(&journal, 200);
    assert_eq!(payloads(&read_all(&journal, Position::START).0), numbered(0..200));
}

#[tokio::test]
async fn segment_cut_to_header_or_less_reports_lost_records() {
    for left in [0, 63, 64] {
        let directory = tempfile::tempdir().unwrap();
        let first = start(directory.path(), JournalOptions::default());
        append(&first, numbered(0..3)).await;
        first.appender().close();
        drop(first);
        OpenOptions::new().write(true).open(&segments(directory.path())[0]).unwrap().set_len(left).unwrap();
        let journal = start(directory.path(), JournalOptions::default());
        append(&journal, numbered(3..5)).await;
        let (records, corrupt) = read_all(&journal, Position::START);
        assert_eq!(payloads(&records), numbered(3..5), "{left} bytes left");
        assert_eq!((corrupt[0].first, corrupt[0].last), (Position(1), Position(3)), "{left} bytes left");
    }
}

#[tokio::test]
async fn positions_beyond_column_range_are_ignored_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut crashed = open(directory.path(), JournalOptions::default()).unwrap();
    crashed.append(&numbered(0..3)).unwrap();
    drop(crashed);
    fs::write(directory.path().join("released"), u64::MAX.to_string()).unwrap();
    let journal = start(directory.path(), JournalOptions::default());
    append(&journal, numbered(3..4)).await;
    assert_eq!(payloads(&read_all(&journal, Position::START).0), numbered(0..4));
    journal.appender().close();
    drop(journal);
    fs::write(directory.path().join(format!("{}.journal", u64::MAX)), []).unwrap();
    assert!(matches!(open(directory.path(), JournalOptions::default()), Err(OpenError::Segment { .. })));
    fs::remove_file(directory.path().join(format!("{}.journal", u64::MAX))).unwrap();
    // The last one that can be named leaves none to jump to.
    fs::write(directory.path().join(format!("{}.journal", i64::MAX)), []).unwrap();
    assert!(matches!(open(directory.path(), JournalOptions::default()), Err(OpenError::Io { .. })));
}

#[tokio::test]
async fn corrupt_range_beyond_read_limit_is_reported_whole() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), JournalOptions::default());
    append(&journal, vec![vec![b'a'; 100]; 400]).await;
    let segment = segments(directory.path()).remove(0);
    // From the middle of record 6 to the middle of record 306, now and then something that looks like a record's head.
    let rubbish: Vec<u8> = (0..300 * 128_usize).map(|at| b"WREC\x00\x03\x00\x00"[at % 1500 % 8]).collect();
    overwrite(&segment, 64 + 5 * 128 + 64, &rubbish);
    let (records, corrupt) = read_all(&journal, Position::START);
    let positions: Vec<u64> = records.iter().map(|(position, _)| position.0).collect();
    assert_eq!(positions, (1..=5).chain(307..=400).collect::<Vec<_>>());
    assert_eq!(corrupt.len(), 1);
    assert_eq!((corrupt[0].first, corrupt[0].last, corrupt[0].offset), (Position(6), Position(306), 64 + 5 * 128));
}

#[tokio::test]
async fn oldest_unapplied_age_at_start_covers_longest_record() {
    let directory = tempfile::tempdir().unwrap();
    let mut crashed = open(directory.path(), JournalOptions::default()).unwrap();
    crashed.append(&[vec![1; 256 << 10]]).unwrap();
    drop(crashed);
    assert!(start(directory.path(), JournalOptions::default()).status().snapshot().oldest_unapplied_at_ms.is_some());
}

#[tokio::test]
async fn missing_segment_is_reported_and_rest_is_read() {
    let directory = tempfile::tempdir().unwrap();
    fill_small_segments(directory.path()).await;
    let files = segments(directory.path());
    assert!(files.len() >= 3);
    fs::remove_file(&files[1]).unwrap();
    let journal = start(directory.path(), small_segments());
    let (records, corrupt) = read_all(&journal, Position::START);
    assert_eq!(corrupt.len(), 1);
    let lost = corrupt[0].first.0..=corrupt[0].last.0;
    assert_eq!(records.len() as u64 + corrupt[0].records(), 200);
    let expected: Vec<_> = (1..=200_u64).filter(|position| !lost.contains(position)).collect();
    assert_eq!(records.iter().map(|(position, _)| position.0).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn missing_newest_segment_after_close_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    fill_small_segments(directory.path()).await;
    fs::remove_file(segments(directory.path()).pop().unwrap()).unwrap();
    let journal = start(directory.path(), small_segments());
    append(&journal, numbered(200..201)).await;
    let (records, corrupt) = read_all(&journal, Position::START);
    assert_eq!(corrupt.iter().map(weir_log::CorruptRange::records).sum::<u64>() + records.len() as u64, 201);
    assert_eq!(corrupt[0].last, Position(200));
    assert_eq!(records.last().unwrap().1, numbered(200..201)[0]);
}

#[tokio::test]
async fn positions_after_all_segments_deleted_are_not_reused() {
    let directory = tempfile::tempdir().unwrap();
    let mut crashed = open(directory.path(), JournalOptions::default()).unwrap();
    let given = crashed.append(&numbered(0..10)).unwrap();
    drop(crashed);
    for segment in segments(directory.path()) {
        fs::remove_file(segment).unwrap();
    }
    let mut again = open(directory.path(), JournalOptions::default()).unwrap();
    assert!(again.append(&numbered(0..1)).unwrap() > given);
}

#[tokio::test]
async fn positions_after_newest_segments_lost_are_not_reused() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), JournalOptions::default()).unwrap().append(&numbered(0..3)).unwrap();
    let mut given = Position(3);
    for run in 0..3 {
        let mut crashed = open(directory.path(), JournalOptions::default()).unwrap();
        let last = crashed.append(&numbered(0..2)).unwrap();
        assert!(last.0 > given.0 + 1, "run {run} begins below {given}");
        given = last;
        drop(crashed);
        fs::remove_file(segments(directory.path()).pop().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn journal_identity_lost_is_read_from_segments_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(directory.path(), JournalOptions::default());
    append(&first, numbered(0..3)).await;
    let id = first.reader().id();
    first.appender().close();
    drop(first);
    fs::write(directory.path().join("identity.json"), b"rubbish").unwrap();
    let again = start(directory.path(), JournalOptions::default());
    assert_eq!(again.reader().id(), id);
    again.appender().close();
    drop(again);
    fs::write(directory.path().join("identity.json"), b"rubbish").unwrap();
    overwrite(&segments(directory.path())[0], 0, &[0; 64]);
    assert!(matches!(open(directory.path(), JournalOptions::default()), Err(OpenError::NoIdentity { .. })));
}

#[tokio::test]
async fn segment_of_another_journal_refuses_open() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for directory in [&one, &other] {
        let mut storage = open(directory.path(), small_segments()).unwrap();
        for _ in 0..3 {
            storage.append(&numbered(0..60)).unwrap();
        }
    }
    fs::copy(&segments(other.path())[0], &segments(one.path())[0]).unwrap();
    assert!(matches!(open(one.path(), small_segments()), Err(OpenError::ForeignSegment { .. })));
}

#[tokio::test]
async fn segment_of_later_format_refuses_open_and_stays_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), JournalOptions::default()).unwrap().append(&numbered(0..5)).unwrap();
    let segment = segments(directory.path()).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&segment, &bytes).unwrap();
    assert!(matches!(open(directory.path(), JournalOptions::default()), Err(OpenError::Segment { .. })));
    assert_eq!(fs::read(&segment).unwrap(), bytes);
}

#[tokio::test]
async fn torn_tail_truncated_at_start_is_kept_as_file() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), JournalOptions::default()).unwrap().append(&numbered(0..2)).unwrap();
    let segment = segments(directory.path()).remove(0);
    let end = end_of_records(&segment);
    overwrite(&segment, end, b"half a record");
    drop(open(directory.path(), JournalOptions::default()).unwrap());
    assert_eq!(fs::read(directory.path().join("torn-tail")).unwrap(), b"half a record");
    let journal = start(directory.path(), JournalOptions::default());
    let files = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert_eq!(journal.status().snapshot().disk_bytes, files.sum::<u64>(), "every file counts");
    assert_eq!(fs::metadata(&segment).unwrap().len(), end);
}

#[tokio::test]
async fn dead_letter_file_is_bounded_and_survives_torn_line() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), JournalOptions { max_bytes: 1 << 20, ..JournalOptions::default() });
    let letters = journal.dead_letters();
    let letter = |position: u64| DeadLetter {
        position: Position(position),
        last: Position(position),
        reason: DeadLetterReason::Refused,
        detail: "code 23514".to_owned(),
        record: "00".repeat(10_000),
        at_ms: 0,
    };
    letters.add(&[letter(1)]).unwrap();
    OpenOptions::new().append(true).open(directory.path().join("dead-letters")).unwrap().write_all(b"{\"posi").unwrap();
    let mut written = 1;
    while letters.add(&[letter(written + 1), letter(written + 1)]).is_ok() {
        written += 1;
    }
    assert!((2..7).contains(&written), "{written} letters of 40 kB in an eighth of 1 MiB");
    let kept: Vec<u64> = letters.list().unwrap().iter().map(|letter| letter.position.0).collect();
    assert_eq!(kept, (1..=written).collect::<Vec<_>>());
}

#[tokio::test]
async fn journal_directory_in_use_refuses_second_open() {
    let directory = tempfile::tempdir().unwrap();
    let owner = open(directory.path(), JournalOptions::default()).unwrap();
    assert!(matches!(open(directory.path(), JournalOptions::default()), Err(OpenError::InUse { .. })));
    drop(owner);
    assert!(open(directory.path(), JournalOptions::default()).is_ok());
}

#[tokio::test]
async fn journal_queue_full_refuses_append_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let options = JournalOptions { queue_bytes: 100, queue_records: 2, ..JournalOptions::default() };
    let journal = start(directory.path(), options);
    assert_eq!(journal.appender().append(vec![0; 101]).err(), Some(AppendError::QueueFull));
    let mut refused = 0;
    let mut acks = Vec::new();
    for _ in 0..2_000 {
        match journal.appender().append(vec![0; 1]) {
            Ok(ack) => acks.push(ack),
            Err(error) => {
                assert_eq!(error, AppendError::QueueFull);
                refused += 1;
            }
        }
    }
    let accepted = acks.len();
    for ack in acks {
        ack.await.unwrap();
    }
    assert!(refused > 0, "2,000 records fitted into a queue of 2");
    assert_eq!(read_all(&journal, Position::START).0.len(), accepted);
}

#[tokio::test]
async fn journal_full_refuses_append_until_segments_are_trimmed() {
    let directory = tempfile::tempdir().unwrap();
    let options = JournalOptions { max_bytes: 1 << 20, ..JournalOptions::default() };
    let journal = start(directory.path(), options);
    let record = || vec![1; 50_000];
    let mut accepted = 0;
    let refused = loop {
        match journal.appender().append(record()).unwrap().await {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::DiskFull);
    assert_eq!(journal.status().snapshot().state, JournalState::Full);
    assert!(accepted >= 15, "{accepted} records of 50 kB in 1 MiB");
    let on_disk: u64 = segments(directory.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(on_disk <= options.max_bytes, "{on_disk} bytes");

    journal.offsets().commit(journal.offsets().durable());
    journal.collector().collect().unwrap();
    assert_eq!(journal.status().snapshot().state, JournalState::Open);
    append(&journal, [record()]).await;
    let released: u64 = fs::read_to_string(directory.path().join("released")).unwrap().parse().unwrap();
    assert!(released > 0);
}

#[tokio::test]
async fn journal_disk_failure_acks_nothing_then_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("journal");
    let away = directory.path().join("away");
    let journal = start(&home, JournalOptions { segment_bytes: 1, ..JournalOptions::default() });
    append(&journal, numbered(0..1)).await;
    // Every batch needs a segment of its own, and its directory is gone.
    fs::rename(&home, &away).unwrap();
    assert_eq!(journal.appender().append(vec![1]).unwrap().await, Err(AppendError::Failed));
    assert_eq!(journal.status().snapshot().state, JournalState::Failing);
    fs::rename(&away, &home).unwrap();
    while journal.status().snapshot().state != JournalState::Open {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    append(&journal, numbered(1..2)).await;
    assert_eq!(payloads(&read_all(&journal, Position::START).0), numbered(0..2), "the refused record must not appear");
}

#[tokio::test]
async fn oldest_unapplied_age_during_partial_apply_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), JournalOptions::default());
    append(&journal, [b"one".to_vec(), b"two".to_vec()]).await;
    journal.offsets().set_oldest_unapplied(7);
    journal.offsets().commit(Position(journal.offsets().durable().0 - 1));
    assert_eq!(journal.status().snapshot().oldest_unapplied_at_ms, Some(7));
    journal.offsets().commit(journal.offsets().durable());
    assert_eq!(journal.status().snapshot().oldest_unapplied_at_ms, None);
}
