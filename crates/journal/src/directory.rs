//! A journal's directory: who owns it, what is in it, where it ends.
//!
//! Invariant: after a stop that was not orderly, positions leave a gap. The tail may have been lost, the database may
//! already have applied records of it, and a position given twice would make it skip the second record. Where the gap ends
//! is written down before a position is given: the segment that begins there may be lost as a whole.

use super::disk::{self as fs, File, OpenOptions};
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::control_files::{read_position, sync_directory, write_durably};
use super::error::OpenError;
use super::format::FrameCodec;
use super::index::{Segment, SegmentIndex};
use super::layout::{APPLIED, CLEAN, GAP, IDENTITY, LOCK, TRIM_POINT, other_bytes};
use super::recovery::{cut_tail, first_frame_at_ms, header_of, list, read_headers, scan};
use super::{JournalId, Position, ballast};
use weir_log::POSITION_GAP;

/// A directory that takes longer to open is worth a line.
const LONG: Duration = Duration::from_secs(1);
/// How often a directory is listed whose every segment was deleted before it could be read.
const LOOKS: usize = 10;

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
    pub trim_point: Position,
    /// How far the database was when the last run ended in order.
    pub applied_before: Position,
    /// The first position after the last gap; none before it is given any more.
    pub gap_end: Position,
    gap_is_written: bool,
    /// The directory itself, open.
    itself: File,
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
        let began = Instant::now();
        fs::create_dir_all(path).map_err(OpenError::io(path, "make directory"))?;
        // The directory itself must survive a power cut; how far up it is new is not known here.
        for parent in path.ancestors().skip(1).take(3).filter(|parent| parent.is_dir()) {
            sync_directory(parent).map_err(OpenError::io(parent, "sync directory"))?;
        }
        let lock = lock(path)?;
        let itself = File::open(path).map_err(OpenError::io(path, "open"))?;
        ballast::hold(path);
        let mut segments = list(path)?;
        let is_new = segments.is_empty() && !has_identity(path);
        let id = identity(path, &segments)?;
        let codec = FrameCodec::new(id);
        let mut last = Position::START;
        let count = segments.len();
        let trim_point = read_position(&path.join(TRIM_POINT)).unwrap_or(Position::START);
        let mut scanned_bytes = read_headers(&mut segments, id, trim_point, &codec)?;
        for (number, segment) in segments.iter_mut().enumerate() {
            segment.first_at_ms = first_frame_at_ms(&segment.path, &codec)?;
            if number + 1 == count {
                let found = cut_tail(segment, &codec)?;
                scanned_bytes += found.bytes;
                last = found.last.map_or(segment.previous, |found| found.max(segment.previous));
            }
        }
        let last = last.max(highest_previous(&segments));
        let clean_path = path.join(CLEAN);
        let stopped_at = read_position(&clean_path);
        if stopped_at.is_some() {
            fs::remove_file(&clean_path).map_err(OpenError::io(&clean_path, "remove"))?;
            // Or a power cut might bring it back, and positions that were given since would be given again.
            sync_directory(path).map_err(OpenError::io(path, "sync directory"))?;
        }
        let noted = stopped_at.unwrap_or(trim_point).max(trim_point);
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
        let took = began.elapsed();
        if took >= LONG {
            let seconds = took.as_secs_f64();
            tracing::info!(journal = %path.display(), segments = count, scanned_bytes, seconds, "journal opened");
        }
        let index = SegmentIndex::of(segments, other_bytes(path));
        let gap_end = read_position(&path.join(GAP)).unwrap_or(Position::START);
        Ok(Self {
            path: path.to_owned(),
            id,
            index,
            last,
            clean,
            trim_point,
            applied_before: read_position(&path.join(APPLIED)).unwrap_or_default(),
            gap_end,
            gap_is_written: true,
            itself,
            lock: Some(lock),
        })
    }

    /// Leaves a gap, up to a first position that no process of this directory can have given before. It is written down
    /// before it is used.
    pub fn leave_gap(&mut self, newest: Option<&Segment>) -> Position {
        // The newest file's name counts too: its records may all be unreadable.
        let begun = newest.map_or(self.gap_end, |segment| segment.first.max(self.gap_end));
        self.gap_end = Position(self.last.0.max(begun.0.saturating_sub(1)).saturating_add(POSITION_GAP));
        self.gap_is_written = false;
        self.gap_end
    }

    /// # Errors
    /// When its path leads elsewhere now, or nowhere.
    pub fn check_in_place(&self) -> io::Result<()> {
        check_same(&self.itself, &self.path)
    }

    /// Makes the end of the last gap durable, where it is not.
    pub fn write_gap(&mut self) -> io::Result<()> {
        if !self.gap_is_written {
            write_durably(&self.path, GAP, self.gap_end.0.to_string().as_bytes())?;
            self.gap_is_written = true;
        }
        Ok(())
    }
}

/// # Errors
/// When a path does not lead to this open file or directory any more.
pub(super) fn check_same(open: &File, path: &Path) -> io::Result<()> {
    match fs::is_at(open, path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::Error::other(format!("{} is not what was opened there", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("{} was deleted or moved", path.display())))
        }
        Err(error) => Err(error),
    }
}

/// A directory as it is found, without taking it.
pub(super) struct Look {
    pub id: JournalId,
    pub segments: Vec<Segment>,
    pub last: Position,
    pub trim_point: Position,
    pub applied_before: Position,
}

/// Looks at a directory for `weir journal status`, beside a running server, whose collector may delete what was listed.
pub(super) fn look(path: &Path) -> Result<Look, OpenError> {
    for _ in 1..LOOKS {
        let listed = list(path)?;
        let is_empty = listed.is_empty();
        let look = look_at(path, listed)?;
        if is_empty || !look.segments.is_empty() {
            return Ok(look);
        }
    }
    look_at(path, list(path)?)
}

/// What is gone by now was deleted by the collector, and so was all before it: it begins with the oldest.
fn look_at(path: &Path, mut segments: Vec<Segment>) -> Result<Look, OpenError> {
    loop {
        match read(path, &mut segments) {
            Err(OpenError::Io { path: gone, source, .. })
                if source.kind() == io::ErrorKind::NotFound
                    && let Some(number) = segments.iter().position(|segment| segment.path == gone) =>
            {
                segments.drain(..=number);
            }
            Err(error) => return Err(error),
            Ok((id, last)) => {
                let trim_point = read_position(&path.join(TRIM_POINT)).unwrap_or_default();
                let applied_before = read_position(&path.join(APPLIED)).unwrap_or_default();
                return Ok(Look { id, segments, last, trim_point, applied_before });
            }
        }
    }
}

/// Whose journal it is, and its last position.
fn read(path: &Path, segments: &mut [Segment]) -> Result<(JournalId, Position), OpenError> {
    if !has_identity(path) && segments.is_empty() {
        return Err(OpenError::NoIdentity { path: path.to_owned(), reason: "there is no journal".to_owned() });
    }
    let id = identity(path, segments)?;
    let codec = FrameCodec::new(id);
    let trim_point = read_position(&path.join(TRIM_POINT)).unwrap_or_default();
    read_headers(segments, id, trim_point, &codec)?;
    let last = match segments.last() {
        Some(newest) => {
            let found = scan(&newest.path, &codec)?.last;
            found.map_or(newest.previous, |found| found.max(newest.previous))
        }
        None => Position::START,
    };
    Ok((id, last.max(highest_previous(segments))))
}

/// What any header says was given, whatever a later one says: a record up to here must not be passed over.
fn highest_previous(segments: &[Segment]) -> Position {
    segments.iter().map(|segment| segment.previous).max().unwrap_or_default()
}

fn has_identity(path: &Path) -> bool {
    fs::exists(path.join(IDENTITY)).is_ok_and(|exists| exists)
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
