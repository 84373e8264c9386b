//! What fuzzers feed to the journal: corrupt segments, and segments of arbitrary bytes.
//!
//! The first byte of an input says which. `d`: a journal is written as the service writes it, damaged where the input
//! says, opened and read. What is read must be what was written, in order, each record at its own position; every record
//! that is missing is named; every record whose bytes are still there is read. `f`: a directory of whatever the input
//! says, frames with a valid checksum among it. It may be refused, but what is opened can be read to its end and written
//! to.
//!
//! Invariant: one input, one course of events, but for the journal's random id. That id is also why no input can hold a
//! frame of the journal that it damages. Cost: a fraction of a millisecond an input where an fsync costs nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use weir_journal::format::{FRAME_HEAD_BYTES, FrameCodec, HEADER_BYTES, SegmentHeader};
use weir_journal::{JournalId, JournalOptions, OpenError, Position, SegmentStorage, Storage};
use weir_log::{CorruptRange, ReadLimits};

const OPTIONS: JournalOptions = JournalOptions {
    max_bytes: 1 << 30,
    segment_bytes: 700,
    fsync: false,
    queue_records: 1,
    queue_bytes: 1,
    keep_applied: Duration::ZERO,
    keep_applied_bytes: 0,
};

/// Reads one input. `directory` is there, empty, and left for the caller to delete.
///
/// # Panics
/// When an invariant does not hold.
pub fn journal(input: &[u8], directory: &Path) {
    let Some((kind, rest)) = input.split_first() else { return };
    let input = &mut Input(rest);
    match kind {
        b'd' => damage(input, directory),
        b'f' => forge(input, directory),
        _ => {}
    }
}

/// What is left of an input. When nothing is left, all is zero.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    fn short(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn long(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

type Records = BTreeMap<Position, Vec<u8>>;

fn open(directory: &Path) -> Result<SegmentStorage, OpenError> {
    SegmentStorage::open(directory, OPTIONS, Arc::new(()))
}

/// Everything that a journal's reader yields, checked for order on the way.
fn read(storage: &SegmentStorage, limits: ReadLimits) -> (Records, Vec<CorruptRange>) {
    let mut reader = storage.reader();
    let (mut records, mut damage, mut at) = (Records::new(), Vec::new(), Position::START);
    let durable = storage.last();
    while at < durable {
        let before = at;
        let batch = reader.read(at, durable, limits).expect("every file is there");
        assert!(batch.through > before && batch.through <= durable, "reading stands still, or goes too far");
        assert!(batch.records.len() <= limits.records);
        let mut lost = batch.corrupt.iter().peekable();
        for entry in &batch.records {
            while let Some(damage) = lost.next_if(|damage| damage.first < entry.position) {
                assert!(damage.first > at && damage.last < entry.position, "{damage:?} overlaps what is read");
                at = damage.last;
            }
            assert!(entry.position > at, "{} is read after {at}", entry.position);
            at = entry.position;
            records.insert(entry.position, entry.payload.to_vec());
        }
        for damage in lost {
            assert!(damage.first > at && damage.last <= durable, "{damage:?} overlaps what is read");
            at = damage.last;
        }
        assert!(at <= batch.through);
        at = batch.through;
        damage.extend(batch.corrupt);
    }
    (records, damage)
}

/// Where a record was written.
struct Written {
    payload: Vec<u8>,
    file: PathBuf,
    offset: usize,
}

/// A journal as the service writes it, with what is in it.
struct Journal<'a> {
    directory: &'a Path,
    storage: SegmentStorage,
    written: BTreeMap<Position, Written>,
}

impl Journal<'_> {
    fn append(&mut self, payloads: &[Vec<u8>]) {
        let last = self.storage.append(payloads).expect("the disk has room");
        let (file, bytes) = self.storage.newest_segment().expect("records are in a segment");
        let frames: usize = payloads.iter().map(|payload| FRAME_HEAD_BYTES + payload.len()).sum();
        let mut offset = usize::try_from(bytes).expect("a small file") - frames;
        let first = last.0 + 1 - payloads.len() as u64;
        for (position, payload) in (first..).zip(payloads) {
            let written = Written { payload: payload.clone(), file: file.clone(), offset };
            let given_twice = self.written.insert(Position(position), written);
            assert!(given_twice.is_none(), "{position} is given twice");
            offset += FRAME_HEAD_BYTES + payload.len();
        }
    }

    fn reopen(self) -> Self {
        let Self { directory, storage, written } = self;
        drop(storage);
        Self { directory, storage: open(directory).expect("nothing is damaged yet"), written }
    }

    /// Runs what an input says, up to the end of the last run.
    fn run(directory: &Path, input: &mut Input<'_>) -> (BTreeMap<Position, Written>, bool) {
        let storage = open(directory).expect("a new journal");
        let mut journal = Journal { directory, storage, written: BTreeMap::new() };
        for _ in 0..input.byte() % 12 {
            let mut payloads = Vec::new();
            for _ in 0..=input.byte() % 6 {
                let length = usize::from(input.byte()) * if input.byte().is_multiple_of(8) { 16 } else { 1 };
                let mark = format!("{}/{}/WREC", journal.written.len(), payloads.len());
                payloads.push(mark.bytes().cycle().take(length).collect());
            }
            journal.append(&payloads);
            match input.byte() % 8 {
                0 => journal.storage.seal().expect("the disk has room"),
                1 => journal.storage.abandon(),
                2 => journal = journal.reopen(),
                3 => {
                    journal.storage.close();
                    journal = journal.reopen();
                }
                _ => {}
            }
        }
        if input.byte().is_multiple_of(2) {
            journal.storage.close();
        }
        let in_order = directory.join("clean").exists();
        (journal.written, in_order)
    }
}

/// What damages may cost.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools)] // each is one thing that may have happened
struct Harm {
    any: bool,
    /// Whole frames stand where they were not written. What is read is true, but not complete.
    displaced: bool,
    /// The journal's id may be gone.
    identity: bool,
    /// Notes and newest records may be gone, so that nothing tells of records that are missing at the end.
    end: bool,
}

fn damage(input: &mut Input<'_>, directory: &Path) {
    let (written, in_order) = Journal::run(directory, input);
    let frames = written.iter().map(|(position, record)| (*position, bytes_of(record))).collect();
    let mut harm = Harm { end: !in_order, ..Harm::default() };
    for _ in 0..input.byte() % 8 {
        hurt(input, directory, &mut harm);
    }
    let mut storage = match open(directory) {
        Ok(storage) => storage,
        Err(OpenError::NoIdentity { .. }) if harm.identity => return,
        Err(error) => panic!("a damaged journal does not start: {error}"),
    };
    let records = usize::from(input.byte() % 9) + 1;
    let limits = ReadLimits { records, bytes: 1 << (input.byte() % 14) };
    let (found, damages) = read(&storage, limits);
    assert_true(&found, &written);
    if !harm.any {
        assert_eq!(damages, [], "nothing was damaged");
        assert_eq!(found.len(), written.len(), "nothing was damaged");
    }
    if !harm.displaced {
        assert_whole_frames_are_read(&found, &written, &frames);
    }
    assert_every_loss_is_named(&found, &written, &damages, if harm.end { storage.last() } else { Position(u64::MAX) });
    // The journal goes on: what is new is read after what was there, now and after another start.
    let before = storage.last();
    let new: Vec<Vec<u8>> = vec![b"new".to_vec(), Vec::new(), vec![b'n'; 800]];
    let last = storage.append(&new).expect("the disk has room");
    assert!(
        last.0 >= before.0 + 3 && written.keys().all(|position| position.0 + 2 < last.0),
        "positions are given twice"
    );
    for storage in [storage].into_iter().chain(std::iter::once_with(|| open(directory).expect("it was open"))) {
        let (mut again, _) = read(&storage, limits);
        let appended: Vec<Vec<u8>> =
            (last.0 - 2..=last.0).filter_map(|position| again.remove(&Position(position))).collect();
        assert_eq!(appended, new);
        assert_eq!(again, found, "what was read once is read again");
        drop(storage);
    }
}

/// A record's frame, as it stands in its file before anything is damaged.
fn bytes_of(record: &Written) -> Vec<u8> {
    let bytes = fs::read(&record.file).expect("nothing is damaged yet");
    bytes[record.offset..record.offset + FRAME_HEAD_BYTES + record.payload.len()].to_vec()
}

fn assert_true(found: &Records, written: &BTreeMap<Position, Written>) {
    for (position, payload) in found {
        let record = written.get(position).unwrap_or_else(|| panic!("{position} was never written"));
        assert_eq!(payload, &record.payload, "{position} is not what was written");
    }
}

fn assert_whole_frames_are_read(
    found: &Records,
    written: &BTreeMap<Position, Written>,
    frames: &BTreeMap<Position, Vec<u8>>,
) {
    let mut files: BTreeMap<&Path, Vec<u8>> = BTreeMap::new();
    for (position, record) in written {
        let file = files.entry(&record.file).or_insert_with(|| fs::read(&record.file).unwrap_or_default());
        let frame = &frames[position];
        let stands = file.get(record.offset..record.offset + frame.len()) == Some(frame);
        assert!(!stands || found.contains_key(position), "{position} is whole and is not read");
    }
}

fn assert_every_loss_is_named(
    found: &Records,
    written: &BTreeMap<Position, Written>,
    lost: &[CorruptRange],
    known_up_to: Position,
) {
    for position in written.keys().filter(|position| **position <= known_up_to && !found.contains_key(position)) {
        let named = lost.iter().any(|damage| (damage.first..=damage.last).contains(position));
        assert!(named, "{position} is missing, and nothing tells");
    }
}

/// One thing that happens to a file.
fn hurt(input: &mut Input<'_>, directory: &Path, harm: &mut Harm) {
    let mut segments: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the directory is there")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
        .collect();
    segments.sort();
    let what = input.byte() % 12;
    let Some(path) = segments.get(usize::from(input.byte()) % segments.len().max(1)) else { return };
    harm.any = true;
    let mut bytes = fs::read(path).expect("a segment");
    let at = input.short() % bytes.len().max(1);
    let length = usize::from(input.byte()).min(bytes.len().saturating_sub(at));
    match what {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= input.byte().max(1)),
        1 => bytes[at..at + length].fill(0),
        2 => bytes[at..at + length].fill(0xff),
        3 => {
            let new = input.take(length);
            bytes[at..at + new.len()].copy_from_slice(new);
        }
        4 => bytes.truncate(at),
        5 => bytes.extend(input.take(length)),
        6 => bytes.resize(bytes.len() + length * 64, 0),
        7 => drop(bytes.splice(at..at, b"WREC\xff\0\0\0".iter().copied().cycle().take(length))),
        8 => drop(bytes.drain(at..at + length)),
        // The disk wrote something elsewhere: a block in another's place.
        9 => {
            let source = &segments[usize::from(input.byte()) % segments.len()];
            let source = fs::read(source).expect("a segment");
            let from = input.short() % source.len().max(1);
            let block = &source[from..source.len().min(from + length)];
            bytes[at..at + block.len()].copy_from_slice(block);
            harm.displaced = true;
        }
        10 => {
            fs::remove_file(path).expect("it was there");
            harm.identity = true;
            return;
        }
        _ => {
            let name = ["identity.json", "released", "clean", "torn-tail"][at % 4];
            fs::write(directory.join(name), input.take(length.min(24))).expect("the disk has room");
            harm.identity |= name == "identity.json";
            harm.end |= name == "clean" || name == "released";
            return;
        }
    }
    fs::write(path, bytes).expect("the disk has room");
}

/// A directory of whatever the input says.
fn forge(input: &mut Input<'_>, directory: &Path) {
    let id = JournalId(Uuid::from_u128(1));
    let codec = FrameCodec::new(id);
    fs::write(directory.join("identity.json"), format!("{{\"journal\":\"{id}\"}}")).expect("the disk has room");
    let mut valid: Vec<(Position, Vec<u8>)> = Vec::new();
    let mut position = Position::START;
    for _ in 0..=input.byte() % 4 {
        position = place(input, position);
        let first = position;
        let previous = place(input, Position(first.0.wrapping_sub(2)));
        let mut bytes = match input.byte() % 4 {
            0 => input.take(HEADER_BYTES).to_vec(),
            _ => SegmentHeader { journal: id, first, previous }.encode().to_vec(),
        };
        for _ in 0..input.byte() % 16 {
            let length = usize::from(input.byte());
            if input.byte().is_multiple_of(3) {
                bytes.extend(input.take(length));
            } else {
                let payload = input.take(length);
                codec.encode(position, input.long(), payload, &mut bytes);
                valid.push((position, payload.to_vec()));
                position = place(input, position);
            }
        }
        // What stands in for a frame whose end is missing, and for one that is too long.
        if input.byte().is_multiple_of(5) {
            bytes.extend(b"WREC");
            bytes.extend(input.take(8));
        }
        fs::write(directory.join(format!("{:020}.journal", first.0)), bytes).expect("the disk has room");
    }
    for name in ["released", "clean"] {
        if input.byte().is_multiple_of(4) {
            fs::write(directory.join(name), place(input, position).to_string()).expect("the disk has room");
        }
    }
    let Ok(mut storage) = open(directory) else { return };
    let limits = ReadLimits { records: 4, bytes: 1 << (input.byte() % 14) };
    let (found, _) = read(&storage, limits);
    for record in found.clone() {
        assert!(valid.contains(&record), "{} has no whole frame", record.0);
    }
    let Ok(last) = storage.append(&[b"new".to_vec()]) else { return };
    assert!(found.last_key_value().is_none_or(|(newest, _)| *newest < last), "{last} is given twice");
    let (mut again, _) = read(&storage, limits);
    assert_eq!(again.remove(&last).as_deref(), Some(&b"new"[..]));
    assert_eq!(again, found);
}

/// A place that is near another one, mostly.
fn place(input: &mut Input<'_>, near: Position) -> Position {
    match input.byte() {
        0 => Position(input.long()),
        1 => Position(u64::MAX - u64::from(input.byte())),
        2 => Position(near.0.wrapping_add(1 << 32)),
        3 => Position(near.0.saturating_sub(u64::from(input.byte()))),
        _ => Position(near.0.wrapping_add(1)),
    }
}
