//! A journal's directory: who owns it, what is in it, where it ends.
//!
//! `lock` (held while a process owns it), `identity.json` (the journal's id), `NNN.journal` (segments, named after their
//! first position), `released` (how far segments were deleted), `clean` (written by an orderly stop, removed by the next
//! start), `writers` (names of the writers that moved positions from here), `dead-letters`, `torn-tail` (what the
//! last unclean start cut).
//!
//! Invariant: after a stop that was not orderly, positions jump ahead. The tail may have been lost, the database may
//! already have applied records of it, and a position given twice would make it skip the second record.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::format::{FrameCodec, HEADER_BYTES, HeaderError, Parsed, SegmentHeader};
use super::{JournalId, Position};

/// How far positions jump after an unclean stop: more records than a segment, or an outage, can hold.
pub(super) const JUMP: u64 = 1 << 32;

const SEGMENT_EXTENSION: &str = "journal";
const LOCK: &str = "lock";
const IDENTITY: &str = "identity.json";
const CLEAN: &str = "clean";
const RELEASED: &str = "released";
const WRITERS: &str = "writers";
const CUT: &str = "torn-tail";

/// Why a journal cannot be used at all. The process refuses to start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("journal {path}: {action}: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("journal {path} is in use by another process")]
    InUse { path: PathBuf },
    #[error("journal {path}: identity.json is unreadable and no segment names the journal: {reason}")]
    NoIdentity { path: PathBuf, reason: String },
    #[error("journal segment {path} belongs to journal {found}, not to {expected}")]
    ForeignSegment { path: PathBuf, found: JournalId, expected: JournalId },
    #[error("journal segment {path}: {reason}")]
    Segment { path: PathBuf, reason: String },
}

impl OpenError {
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}

/// One segment, as both sides know it.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub path: PathBuf,
    pub first: Position,
    /// The last position given before `first`.
    pub previous: Position,
    /// When its first frame was appended; `None` while it has none.
    pub first_at_ms: Option<u64>,
    pub bytes: u64,
}

/// The list of segments, oldest first, shared by the appender, the feed and the keeper. Held for moments only.
#[derive(Debug, Default)]
pub(super) struct SegmentIndex {
    segments: Mutex<Vec<Segment>>,
    /// What the journal's other files take: dead letters, the torn tail, notes.
    pub other_bytes: AtomicU64,
}

impl SegmentIndex {
    pub fn with<T>(&self, look: impl FnOnce(&mut Vec<Segment>) -> T) -> T {
        look(&mut self.segments.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub fn disk_bytes(&self) -> u64 {
        self.with(|segments| segments.iter().map(|segment| segment.bytes).sum::<u64>())
            + self.other_bytes.load(Ordering::Relaxed)
    }

    /// How many records lie after `from` and up to `to`; positions that were jumped over are none.
    pub fn records_between(&self, from: Position, to: Position) -> u64 {
        let mut jumped = 0;
        self.with(|segments| {
            // Jumps overlap where a crash followed a start that appended nothing; what was deleted is no lag.
            let mut counted = from;
            if let Some(oldest) = segments.first() {
                jumped += oldest.previous.0.saturating_sub(from.0);
                counted = counted.max(oldest.previous);
            }
            for segment in segments.iter().filter(|segment| segment.first > from && segment.first <= to) {
                let before = Position(segment.first.0 - 1);
                jumped += before.0.saturating_sub(segment.previous.max(counted).0);
                counted = counted.max(before);
            }
        });
        to.0.saturating_sub(from.0).saturating_sub(jumped)
    }
}

/// A directory that this process owns.
pub(super) struct Directory {
    pub path: PathBuf,
    pub id: JournalId,
    pub index: SegmentIndex,
    /// The last position whose record was found whole.
    pub last: Position,
    /// Whether the previous owner stopped in order, so that its last segment can be continued.
    pub clean: bool,
    /// How far segments were deleted because the database had applied them.
    pub released: Position,
    /// Dropping it gives the directory free.
    pub lock: Option<File>,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    journal: JournalId,
}

impl Directory {
    /// Takes the directory, makes it if it is not there, and finds the journal's end: a torn tail is cut.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(OpenError::io(path, "make directory"))?;
        // The directory itself must survive a power cut; how far up it is new is not known here.
        for parent in path.ancestors().skip(1).take(3).filter(|parent| parent.is_dir()) {
            sync_directory(parent).map_err(OpenError::io(parent, "sync directory"))?;
        }
        let lock = lock(path)?;
        let mut segments = list(path)?;
        let is_new = segments.is_empty() && !path.join(IDENTITY).exists();
        let id = identity(path, &segments)?;
        let codec = FrameCodec::new(id);
        let mut last = Position::START;
        let count = segments.len();
        for (number, segment) in segments.iter_mut().enumerate() {
            read_header(segment, id)?;
            segment.first_at_ms = first_frame_at_ms(&segment.path, &codec)?;
            if number + 1 == count {
                last = cut_tail(segment, &codec)?.unwrap_or(segment.previous);
            }
        }
        let clean_path = path.join(CLEAN);
        let stopped_at = read_position(&clean_path);
        if stopped_at.is_some() {
            fs::remove_file(&clean_path).map_err(OpenError::io(&clean_path, "remove"))?;
        }
        let released = read_position(&path.join(RELEASED)).unwrap_or(Position::START);
        let noted = stopped_at.unwrap_or(released).max(released);
        if noted > last && (count > 0 || stopped_at.is_some()) {
            tracing::error!(
                journal = %path.display(),
                found = last.0,
                noted = noted.0,
                "journal ends before the position that it had reached: segments are missing"
            );
        }
        // What is noted counts as given, so that the reader names what is missing up to it.
        let last = last.max(noted);
        let clean = if count == 0 { is_new } else { stopped_at == Some(last) };
        let index = SegmentIndex { segments: Mutex::new(segments), other_bytes: AtomicU64::new(other_bytes(path)) };
        Ok(Self { path: path.to_owned(), id, index, last, clean, released, lock: Some(lock) })
    }

    /// Where the segment with this first position lies.
    pub fn segment_path(directory: &Path, first: Position) -> PathBuf {
        directory.join(format!("{:020}.{SEGMENT_EXTENSION}", first.0))
    }

    /// Remembers how far segments are deleted, before they are.
    pub fn write_released(directory: &Path, position: Position) -> io::Result<()> {
        write_durably(directory, RELEASED, position.0.to_string().as_bytes())
    }

    /// Remembers that the stop was orderly.
    pub fn write_clean(directory: &Path, last: Position) -> io::Result<()> {
        write_durably(directory, CLEAN, last.0.to_string().as_bytes())
    }
}

/// What all files but the segments take.
pub(super) fn other_bytes(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let others = files.filter(|file| file.path().extension().is_none_or(|extension| extension != SEGMENT_EXTENSION));
    others.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Notes that a writer of this name uses the directory. The newest thousand are kept.
pub(super) fn remember_writer(directory: &Path, writer: &str) -> io::Result<()> {
    const KEPT: usize = 1000;
    let known = fs::read_to_string(directory.join(WRITERS)).unwrap_or_default();
    if known.lines().any(|name| name == writer) {
        return Ok(());
    }
    let mut names: Vec<&str> = known.lines().rev().take(KEPT - 1).collect();
    names.reverse();
    names.push(writer);
    write_durably(directory, WRITERS, names.join("\n").as_bytes())
}

/// Whether a writer of this name ever used the directory.
pub(super) fn knows_writer(directory: &Path, writer: &str) -> bool {
    fs::read_to_string(directory.join(WRITERS)).is_ok_and(|known| known.lines().any(|name| name == writer))
}

/// Makes entries of a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The segments of a directory without taking it, for `weir journal status` beside a running server.
pub(super) fn look(path: &Path) -> Result<(JournalId, Vec<Segment>, Position), OpenError> {
    let mut segments = list(path)?;
    if !path.join(IDENTITY).exists() && segments.is_empty() {
        return Err(OpenError::NoIdentity { path: path.to_owned(), reason: "there is no journal".to_owned() });
    }
    let id = identity(path, &segments)?;
    let codec = FrameCodec::new(id);
    let mut last = Position::START;
    let count = segments.len();
    for (number, segment) in segments.iter_mut().enumerate() {
        read_header(segment, id)?;
        if number + 1 == count {
            last = scan(&segment.path, &codec)?.last.unwrap_or(segment.previous);
        }
    }
    Ok((id, segments, last))
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let lock_path = path.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(OpenError::io(&lock_path, "open"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path: lock_path, action: "lock", source }),
    }
}

fn list(path: &Path) -> Result<Vec<Segment>, OpenError> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(path).map_err(OpenError::io(path, "list"))? {
        let entry = entry.map_err(OpenError::io(path, "list"))?;
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != SEGMENT_EXTENSION) {
            continue;
        }
        let first = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let Some(first) = first.filter(|first| *first > 0) else {
            return Err(OpenError::Segment { path, reason: "its name is no position".to_owned() });
        };
        let bytes = entry.metadata().map_err(OpenError::io(&path, "look at"))?.len();
        let first = Position(first);
        segments.push(Segment { path, first, previous: Position(first.0 - 1), first_at_ms: None, bytes });
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// The journal's id: from its file, else (the file is gone or damaged) from the first segment that names it, else new.
fn identity(path: &Path, segments: &[Segment]) -> Result<JournalId, OpenError> {
    let file = path.join(IDENTITY);
    let reason = match fs::read(&file) {
        Ok(bytes) => match serde_json::from_slice::<Identity>(&bytes) {
            Ok(identity) => return Ok(identity.journal),
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => "it is missing".to_owned(),
        Err(error) => return Err(OpenError::Io { path: file, action: "read", source: error }),
    };
    let mut named = None;
    for segment in segments {
        named = named.or(header_of(&segment.path)?);
    }
    let id = match named {
        Some(header) => header.journal,
        None if segments.is_empty() => JournalId(Uuid::new_v4()),
        None => return Err(OpenError::NoIdentity { path: path.to_owned(), reason }),
    };
    let json = serde_json::to_vec(&Identity { journal: id }).expect("an id has a JSON form");
    write_durably(path, IDENTITY, &json).map_err(OpenError::io(&file, "write"))?;
    Ok(id)
}

/// A segment's header: `None` when it is damaged, an error when it is whole and of a format that this version does not read.
fn header_of(path: &Path) -> Result<Option<SegmentHeader>, OpenError> {
    let mut bytes = [0; HEADER_BYTES];
    let mut file = File::open(path).map_err(OpenError::io(path, "open"))?;
    match file.read_exact(&mut bytes) {
        Ok(()) => match SegmentHeader::decode(&bytes) {
            Err(error @ HeaderError::Version(_)) => {
                Err(OpenError::Segment { path: path.to_owned(), reason: error.to_string() })
            }
            decoded => Ok(decoded.ok()),
        },
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(source) => Err(OpenError::Io { path: path.to_owned(), action: "read", source }),
    }
}

/// Takes over what the header says. A damaged header costs nothing: every frame names itself.
fn read_header(segment: &mut Segment, id: JournalId) -> Result<(), OpenError> {
    match header_of(&segment.path)? {
        Some(header) if header.journal != id => {
            Err(OpenError::ForeignSegment { path: segment.path.clone(), found: header.journal, expected: id })
        }
        Some(header) => {
            segment.previous = header.previous;
            Ok(())
        }
        None => {
            tracing::error!(segment = %segment.path.display(), "journal segment header is damaged, its frames are read without it");
            Ok(())
        }
    }
}

fn first_frame_at_ms(path: &Path, codec: &FrameCodec) -> Result<Option<u64>, OpenError> {
    let mut bytes = vec![0; super::MAX_RECORD_BYTES];
    let file = File::open(path).map_err(OpenError::io(path, "open"))?;
    let read = file.read_at(&mut bytes, HEADER_BYTES as u64).map_err(OpenError::io(path, "read"))?;
    Ok(match codec.parse(&bytes[..read]) {
        Parsed::Whole(frame) => Some(frame.appended_at_ms),
        _ => None,
    })
}

struct Scan {
    last: Option<Position>,
    /// Where the last whole frame ends.
    end: usize,
}

fn scan(path: &Path, codec: &FrameCodec) -> Result<Scan, OpenError> {
    let bytes = fs::read(path).map_err(OpenError::io(path, "read"))?;
    let mut found = Scan { last: None, end: HEADER_BYTES };
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        match codec.parse(&bytes[at..]) {
            Parsed::Whole(frame) => {
                at += frame.disk_bytes();
                found = Scan { last: Some(frame.position), end: at };
            }
            Parsed::Short(_) | Parsed::Damaged => match codec.find(&bytes, at + 1) {
                Some(next) => at = next,
                None => break,
            },
        }
    }
    Ok(found)
}

/// Cuts what follows the last whole frame: the rest of an append that was never acknowledged.
fn cut_tail(segment: &mut Segment, codec: &FrameCodec) -> Result<Option<Position>, OpenError> {
    let path = &segment.path;
    let found = scan(path, codec)?;
    let end = found.end as u64;
    if segment.bytes > end {
        tracing::warn!(segment = %path.display(), offset = end, cut_bytes = segment.bytes - end, "journal ends in a torn record, cut");
        keep_cut_bytes(path, end)?;
        let file = OpenOptions::new().write(true).open(path).map_err(OpenError::io(path, "open"))?;
        file.set_len(end).and_then(|()| file.sync_all()).map_err(OpenError::io(path, "cut the torn tail of"))?;
        segment.bytes = end;
    }
    Ok(found.last)
}

/// Damage in the last acknowledged record looks like a torn append: what is cut is kept for whoever must tell them apart,
/// until the next cut.
fn keep_cut_bytes(path: &Path, from: u64) -> Result<(), OpenError> {
    let bytes = fs::read(path).map_err(OpenError::io(path, "read"))?;
    let cut = usize::try_from(from).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
    let directory = path.parent().unwrap_or(Path::new("."));
    write_durably(directory, CUT, cut).map_err(OpenError::io(path, "keep the torn tail of"))
}

fn read_position(path: &Path) -> Option<Position> {
    fs::read_to_string(path).ok()?.trim().parse().ok().map(Position)
}

fn write_durably(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, directory.join(name))?;
    sync_directory(directory)
}
