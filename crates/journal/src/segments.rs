//! The log as plain segment files: one write and one fdatasync a batch.
//!
//! Invariants:
//! - A segment's records end where the next segment begins, whatever else its file holds. So a failed append needs no
//!   clean-up that could itself fail: the next append goes to a new segment.
//! - A failed fsync is never tried again on the same file: the kernel may have dropped the very pages it failed on.
//! - A batch counts only when its file, after the fsync, still has its name in a directory that still has its own: what was
//!   deleted or moved meanwhile, no later start would find. It costs three calls of `stat`.
//!
//! Cost: an fsync that makes a file longer also commits the file system's own log, and costs twice what one costs that
//! only changes bytes. So the file runs ahead of its records, in zeros that are written with the batch that reaches the
//! end, and are cut when the segment is sealed, abandoned or closed. A crash leaves them; the next start cuts them. Once a
//! segment is half full, the whole file of the next is written so by another thread (`preallocated`).

use super::disk::{self as fs, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_fail_points as fail_points;

use super::control_files::{sync_directory, write_clean};
use super::directory::{Directory, check_same};
use super::error::OpenError;
use super::format::{FRAME_HEAD_BYTES, FrameCodec, HEADER_BYTES, SegmentHeader};
use super::index::{Segment, SegmentIndex};
use super::layout::segment_path;
use super::observer::JournalObserver;
use super::preallocated::Preallocator;
use super::reader::SegmentReader;
use super::storage::{Storage, StorageError};
use super::{JournalId, JournalOptions, Position};

/// What must fit when the bound is reached: the header of the segment that the next append begins, that of the one that
/// seals it or follows a crash, and the control files of an orderly end (three numbers).
const RESERVED_BYTES: u64 = 3 * HEADER_BYTES as u64;
/// How far a segment's file runs ahead of its records: some twenty batches under load, and no batch that pays for it is
/// seen among the others.
const AHEAD_BYTES: usize = 256 << 10;
static ZEROS: [u8; AHEAD_BYTES] = [0; AHEAD_BYTES];

/// The segment files of one journal, from the appender's side.
pub struct SegmentStorage {
    directory: Directory,
    codec: FrameCodec,
    options: JournalOptions,
    observer: Arc<dyn JournalObserver>,
    index: Arc<SegmentIndex>,
    last: Position,
    /// `None` after a failure, until a new segment stands.
    active: Option<Active>,
    /// What the next segment begins with, once this one is half full.
    preallocator: Preallocator,
    frames: Vec<u8>,
}

struct Active {
    file: File,
    /// Where the next record goes.
    end: u64,
    /// How long the file is; what follows the end is zeros.
    length: u64,
    /// False while it has no record.
    used: bool,
    /// Whether the next segment's file was asked for: once, whatever became of it.
    preallocation_asked: bool,
}

impl SegmentStorage {
    /// Opens or makes the journal in `path`. The observer is told how long every fdatasync takes.
    ///
    /// # Errors
    /// When the directory is in use, belongs to something else, or cannot be read or written.
    pub fn open(path: &Path, options: JournalOptions, observer: Arc<dyn JournalObserver>) -> Result<Self, OpenError> {
        let mut directory = Directory::open(path)?;
        let index = Arc::new(std::mem::take(&mut directory.index));
        let codec = FrameCodec::new(directory.id);
        let last = directory.last;
        let preallocator = Preallocator::of(path);
        let mut storage =
            Self { directory, codec, options, observer, index, last, active: None, preallocator, frames: Vec::new() };
        match storage.begin_first_segment() {
            Ok(()) => Ok(storage),
            // The backlog must flow all the same: what is applied and deleted makes room.
            Err(error) if error.source.kind() == std::io::ErrorKind::StorageFull => {
                tracing::error!(journal = %path.display(), %error, "disk is full, records are refused until there is room");
                Ok(storage)
            }
            Err(StorageError { action, source }) => Err(OpenError::Io { path: path.to_owned(), action, source }),
        }
    }

    /// Whether a segment is open for the next record.
    pub(super) fn is_writable(&self) -> bool {
        self.active.is_some()
    }

    /// The journal's identity.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.directory.id
    }

    /// How far segments were deleted in earlier runs because the database had applied them.
    #[must_use]
    pub fn trim_point(&self) -> Position {
        self.directory.trim_point
    }

    /// How far the database was when the last run ended in order.
    pub(super) fn applied_before(&self) -> Position {
        self.directory.applied_before
    }

    /// The lock on the directory, for whoever outlives this.
    pub(super) fn take_lock(&mut self) -> Option<File> {
        self.directory.lock.take()
    }

    pub(super) fn index(&self) -> Arc<SegmentIndex> {
        Arc::clone(&self.index)
    }

    /// A reader of what was appended.
    #[must_use]
    pub fn reader(&self) -> SegmentReader {
        SegmentReader::new(self.id(), self.index())
    }

    /// The file of the segment that records go to, and how long it is, in bytes.
    #[must_use]
    pub fn newest_segment(&self) -> Option<(PathBuf, u64)> {
        self.index.with(|segments| segments.last().map(|newest| (newest.path.clone(), newest.bytes)))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path.clone()
    }

    fn begin_first_segment(&mut self) -> Result<(), StorageError> {
        let newest = self.index.with(|segments| segments.last().cloned());
        let first = match &newest {
            Some(segment) if self.is_continued(segment) => {
                let opened = OpenOptions::new().write(true).open(&segment.path);
                let file = opened.map_err(StorageError::while_trying("open segment"))?;
                let end = segment.bytes;
                self.active = Some(Active {
                    file,
                    end,
                    length: end,
                    used: end > HEADER_BYTES as u64,
                    preallocation_asked: false,
                });
                return Ok(());
            }
            _ if self.directory.clean => self.next_position(),
            _ => self.directory.leave_gap(newest.as_ref()),
        };
        self.begin_segment(first)?;
        match newest {
            Some(segment) if segment.first < first && segment.bytes <= HEADER_BYTES as u64 => {
                self.remove_empty(&segment)
            }
            _ => Ok(()),
        }
    }

    fn begin_segment(&mut self, first: Position) -> Result<(), StorageError> {
        self.active = None;
        Self::check_positions_left(first)?;
        self.directory.write_gap().map_err(StorageError::while_trying("write the end of the gap"))?;
        let path = segment_path(&self.directory.path, first);
        // A file of this name can only be left from an attempt that failed before its first record was durable. Not even
        // its pages are used again.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::while_trying("remove unused segment")(error));
            }
            _ => {}
        }
        let (file, length) = self.new_file(&path, first)?;
        let segment =
            Segment { path, first, previous: self.last, first_at_ms: None, bytes: length, applied_since: None };
        self.index.with(|segments| {
            segments.retain(|known| known.first != first);
            segments.push(segment);
        });
        self.active = Some(Active { file, end: HEADER_BYTES as u64, length, used: false, preallocation_asked: false });
        Ok(())
    }

    /// A file with a header, and how long it is.
    fn new_file(&mut self, path: &Path, first: Position) -> Result<(File, u64), StorageError> {
        let header = SegmentHeader { journal: self.directory.id, first, previous: self.last };
        let preallocated = self.preallocator.take();
        self.count_preallocated();
        if let Some(preallocated) = preallocated {
            match preallocated.begin_segment(&header, path) {
                Ok(begun) => return Ok(begun),
                Err(error) => tracing::debug!(%error, "preallocated segment is of no use"),
            }
        }
        let file = self.make_file(path, &header).inspect_err(|_| {
            // Half a header would look like damage.
            let _ = fs::remove_file(path);
        })?;
        Ok((file, HEADER_BYTES as u64))
    }

    fn make_file(&self, path: &Path, header: &SegmentHeader) -> Result<File, StorageError> {
        let made = fail_points::disk("journal.segment")
            .and_then(|()| OpenOptions::new().create_new(true).write(true).open(path));
        let mut file = made.map_err(StorageError::while_trying("make segment"))?;
        file.write_all(&header.encode()).map_err(StorageError::while_trying("write segment header"))?;
        if self.options.fsync {
            file.sync_all().map_err(StorageError::while_trying("sync segment header"))?;
            sync_directory(&self.directory.path).map_err(StorageError::while_trying("sync directory"))?;
        }
        Ok(file)
    }

    /// Whether the next record goes into this segment. A file that ends within its header would take records where nobody
    /// looks for them; and one from before a gap would take positions that were given after it.
    fn is_continued(&self, newest: &Segment) -> bool {
        let next = newest.first.max(self.last.next());
        self.directory.clean && newest.bytes >= HEADER_BYTES as u64 && next >= self.directory.gap_end
    }

    /// A segment without a record, when the next one stands: a process that dies again and again must not fill a journal
    /// that has no room with headers.
    fn remove_empty(&self, segment: &Segment) -> Result<(), StorageError> {
        fs::remove_file(&segment.path).map_err(StorageError::while_trying("remove empty segment"))?;
        self.index.with(|segments| segments.retain(|known| known.first != segment.first));
        Ok(())
    }

    /// # Errors
    /// When no position is left up to here. No journal lives so long: something in its directory names a wild one.
    fn check_positions_left(last: Position) -> Result<(), StorageError> {
        if last <= Position::MAX {
            return Ok(());
        }
        Err(StorageError { action: "give a position", source: std::io::Error::other("none is left") })
    }

    /// The position that the next record gets: the active segment's first while it is empty (it may lie a gap ahead).
    fn next_position(&self) -> Position {
        let begun = self.index.with(|segments| segments.last().map_or(Position::START, |segment| segment.first));
        begun.max(self.last.next()).max(self.directory.gap_end)
    }

    /// Has the next segment's file written, once this one is half full and where there is room for it.
    fn preallocate(&mut self) {
        let segment_bytes = self.options.effective_segment_bytes();
        // What a batch goes past the end by finds its place there too.
        let bytes = segment_bytes + segment_bytes / 64;
        let room = self.options.max_bytes.saturating_sub(self.index.disk_bytes() + RESERVED_BYTES);
        let Some(active) = &mut self.active else { return };
        if self.options.fsync && active.end >= segment_bytes / 2 && !active.preallocation_asked {
            active.preallocation_asked = true;
            if bytes <= room {
                self.preallocator.make(bytes);
                self.count_preallocated();
            }
        }
    }

    /// Near the bound the next segment's file gives way to records.
    fn make_room(&mut self) {
        let all = self.index.disk_bytes() + RESERVED_BYTES + self.frames.len() as u64;
        let ahead = self.active.as_ref().map_or(0, |active| active.length - active.end);
        if self.preallocator.bytes() > 0 && all.saturating_sub(ahead) > self.options.max_bytes {
            self.preallocator.discard();
            self.count_preallocated();
        }
    }

    fn count_preallocated(&self) {
        self.index.preallocated_bytes.store(self.preallocator.bytes(), Ordering::Relaxed);
    }

    /// The zeros that are to be written behind the next records: none while there are some, or where nothing is synced.
    fn zeros_ahead(&self) -> &'static [u8] {
        let Some(active) = &self.active else { return &[] };
        let end = active.end + self.frames.len() as u64;
        if !self.options.fsync || end < active.length {
            return &[];
        }
        let segment = self.options.effective_segment_bytes().saturating_sub(end);
        let others = self.index.disk_bytes().saturating_sub(active.length);
        let disk = self.options.max_bytes.saturating_sub(others + end + RESERVED_BYTES);
        &ZEROS[..usize::try_from(segment.min(disk)).map_or(AHEAD_BYTES, |room| room.min(AHEAD_BYTES))]
    }

    fn write_frames(&mut self, at_ms: u64) -> Result<(), StorageError> {
        let zeros = self.zeros_ahead();
        let active = self.active.as_mut().ok_or_else(|| StorageError {
            action: "write records",
            source: std::io::Error::other("no segment is open"),
        })?;
        let end = active.end + self.frames.len() as u64;
        let written =
            fail_points::disk("journal.write").and_then(|()| active.file.write_all_at(&self.frames, active.end));
        written.map_err(StorageError::while_trying("write records"))?;
        let length = active.length.max(end);
        let length = length + run_ahead(&active.file, length, zeros);
        if self.options.fsync {
            let began = std::time::Instant::now();
            let synced = fail_points::disk("journal.sync").and_then(|()| active.file.sync_data());
            synced.map_err(StorageError::while_trying("sync records"))?;
            self.observer.synced(began.elapsed());
        }
        self.check_in_place()?;
        let Some(active) = &mut self.active else { return Ok(()) };
        (active.end, active.length, active.used) = (end, length, true);
        self.index.with(|segments| {
            if let Some(segment) = segments.last_mut() {
                segment.bytes = length;
                segment.first_at_ms.get_or_insert(at_ms);
            }
        });
        Ok(())
    }

    /// Cuts what the active segment's file has beyond its records.
    fn trim(&mut self) -> std::io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        active.file.set_len(active.end)?;
        active.length = active.end;
        let end = active.end;
        self.index.with(|segments| {
            if let Some(segment) = segments.last_mut() {
                segment.bytes = end;
            }
        });
        Ok(())
    }
}

/// Writes zeros to the end of a file, and says how many. Where there is no room for them, none.
fn run_ahead(file: &File, length: u64, zeros: &[u8]) -> u64 {
    if file.write_all_at(zeros, length).is_ok() {
        return zeros.len() as u64;
    }
    // What was written of them is as good as none; what cannot be cut is cut with the rest.
    let _ = file.set_len(length);
    0
}

impl Storage for SegmentStorage {
    fn last(&self) -> Position {
        self.last
    }

    fn append(&mut self, payloads: &[Vec<u8>]) -> Result<Position, StorageError> {
        self.probe()?;
        if self.active.as_ref().is_some_and(|active| active.end >= self.options.effective_segment_bytes()) {
            self.seal()?;
        }
        let at_ms = fs::unix_millis();
        let first = self.next_position();
        Self::check_positions_left(Position(first.0 + payloads.len() as u64))?;
        self.frames.clear();
        let mut position = first;
        for payload in payloads {
            self.codec.encode(position, at_ms, payload, &mut self.frames);
            position = position.next();
        }
        self.make_room();
        if let Err(error) = self.write_frames(at_ms) {
            self.abandon();
            return Err(error);
        }
        self.last = Position(position.0 - 1);
        self.preallocate();
        Ok(self.last)
    }

    fn abandon(&mut self) {
        // Best effort: the next segment makes what follows void even when cutting fails. Synced, because until that
        // segment stands a power cut could bring back whole what its senders are told is not stored.
        let cut = self.trim();
        if let Some(active) = self.active.take() {
            let _ = cut.and_then(|()| active.file.sync_all());
        }
    }

    fn probe(&mut self) -> Result<(), StorageError> {
        if self.active.is_some() {
            return Ok(());
        }
        // A directory that was made anew holds neither this journal's lock nor its other files.
        let gone = StorageError::while_trying("find the journal where it was opened");
        self.directory.check_in_place().map_err(gone)?;
        self.begin_segment(self.next_position())
    }

    fn check_in_place(&self) -> Result<(), StorageError> {
        let gone = StorageError::while_trying("find the journal where it was opened");
        self.directory.check_in_place().map_err(&gone)?;
        let Some(active) = &self.active else { return Ok(()) };
        let path = self.index.with(|segments| segments.last().map(|newest| newest.path.clone()));
        path.map_or(Ok(()), |path| check_same(&active.file, &path)).map_err(&gone)
    }

    fn cost(&self, payload_bytes: usize) -> u64 {
        (FRAME_HEAD_BYTES + payload_bytes) as u64
    }

    fn disk_bytes(&self) -> u64 {
        // What lies ahead of the records is theirs to take.
        let ahead = self.active.as_ref().map_or(0, |active| active.length - active.end);
        (self.index.disk_bytes() + RESERVED_BYTES).saturating_sub(ahead + self.preallocator.bytes())
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        if self.active.as_ref().is_some_and(|active| active.used) {
            // Zeros at a segment's end hide nothing: where its records end, the next one says.
            let _ = self.trim();
            self.begin_segment(self.last.next())?;
        }
        Ok(())
    }

    fn close(&mut self) {
        self.preallocator.discard();
        self.count_preallocated();
        let cut = self.trim();
        if let Some(active) = self.active.take() {
            let closed =
                cut.and_then(|()| active.file.sync_all()).and_then(|()| write_clean(&self.directory.path, self.last));
            if let Err(error) = closed {
                tracing::warn!(%error, "journal could not mark its orderly end, the next start treats it as a crash");
            }
        }
    }
}
