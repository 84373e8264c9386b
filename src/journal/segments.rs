//! The log as plain segment files: one write and one fdatasync a batch.
//!
//! Invariants:
//! - A segment's records end where the next segment begins, whatever else its file holds. So a failed append needs no
//!   clean-up that could itself fail: the next append goes to a new segment.
//! - A failed fsync is never tried again on the same file: the kernel may have dropped the very pages it failed on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::Histogram;

use super::directory::{Directory, JUMP, OpenError, Segment, SegmentIndex, sync_directory};
use super::format::{FRAME_HEAD_BYTES, FrameCodec, HEADER_BYTES, SegmentHeader};
use super::storage::{Storage, StorageError};
use super::{JournalId, JournalOptions, Position};

/// The segment files of one journal, from the appender's side.
pub struct SegmentStorage {
    directory: Directory,
    codec: FrameCodec,
    options: JournalOptions,
    fsync_seconds: Histogram,
    index: Arc<SegmentIndex>,
    last: Position,
    /// `None` after a failure, until a new segment stands.
    active: Option<Active>,
    frames: Vec<u8>,
}

struct Active {
    file: File,
    bytes: u64,
    /// False while it has no record.
    used: bool,
}

impl SegmentStorage {
    /// Opens or makes the journal in `path`. `fsync_seconds` takes the duration of every fdatasync.
    ///
    /// # Errors
    /// When the directory is in use, belongs to something else, or cannot be read or written.
    pub fn open(path: &std::path::Path, options: JournalOptions, fsync_seconds: Histogram) -> Result<Self, OpenError> {
        let mut directory = Directory::open(path)?;
        let index = Arc::new(std::mem::take(&mut directory.index));
        let codec = FrameCodec::new(directory.id);
        let last = directory.last;
        let mut storage =
            Self { directory, codec, options, fsync_seconds, index, last, active: None, frames: Vec::new() };
        let first_segment = storage.begin_first_segment();
        first_segment.map_err(|error| OpenError::Io {
            path: path.to_owned(),
            action: error.action,
            source: error.source,
        })?;
        Ok(storage)
    }

    /// The journal's identity.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.directory.id
    }

    /// How far segments were deleted in earlier runs because the database had applied them.
    #[must_use]
    pub fn released(&self) -> Position {
        self.directory.released
    }

    /// The lock on the directory, for whoever outlives this.
    pub(super) fn take_lock(&mut self) -> Option<std::fs::File> {
        self.directory.lock.take()
    }

    pub(super) fn index(&self) -> Arc<SegmentIndex> {
        Arc::clone(&self.index)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path.clone()
    }

    fn begin_first_segment(&mut self) -> Result<(), StorageError> {
        let newest = self.index.with(|segments| segments.last().cloned());
        match newest {
            Some(segment) if self.directory.clean => {
                let file = OpenOptions::new()
                    .append(true)
                    .open(&segment.path)
                    .map_err(StorageError::while_trying("open segment"))?;
                self.active = Some(Active { file, bytes: segment.bytes, used: segment.bytes > HEADER_BYTES as u64 });
                Ok(())
            }
            None if self.directory.clean => self.begin_segment(self.last.next()),
            newest => {
                // The file's name counts too: its records may all be unreadable.
                let base = newest.map_or(self.last, |segment| segment.first.max(self.last));
                self.begin_segment(Position(base.0 + JUMP))
            }
        }
    }

    fn begin_segment(&mut self, first: Position) -> Result<(), StorageError> {
        self.active = None;
        let path = Directory::segment_path(&self.directory.path, first);
        // A file of this name can only be left from an attempt that failed before its first record was durable. Not even
        // its pages are used again.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::while_trying("remove unused segment")(error));
            }
            _ => {}
        }
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(&path)
            .map_err(StorageError::while_trying("make segment"))?;
        let header = SegmentHeader { journal: self.directory.id, first, previous: self.last };
        file.write_all(&header.encode()).map_err(StorageError::while_trying("write segment header"))?;
        if self.options.fsync {
            file.sync_all().map_err(StorageError::while_trying("sync segment header"))?;
            sync_directory(&self.directory.path).map_err(StorageError::while_trying("sync directory"))?;
        }
        let bytes = HEADER_BYTES as u64;
        let segment = Segment { path, first, previous: self.last, first_at_ms: None, bytes };
        self.index.with(|segments| {
            segments.retain(|known| known.first != first);
            segments.push(segment);
        });
        self.active = Some(Active { file, bytes, used: false });
        Ok(())
    }

    /// The position that the next record gets: the active segment's first while it is empty (it may lie a jump ahead).
    fn next_position(&self) -> Position {
        let begun = self.index.with(|segments| segments.last().map_or(Position::START, |segment| segment.first));
        begun.max(self.last.next())
    }

    fn write_frames(&mut self, at_ms: u64) -> Result<(), StorageError> {
        let active = self.active.as_mut().ok_or_else(|| StorageError {
            action: "write records",
            source: std::io::Error::other("no segment is open"),
        })?;
        active.file.write_all(&self.frames).map_err(StorageError::while_trying("write records"))?;
        if self.options.fsync {
            let began = std::time::Instant::now();
            active.file.sync_data().map_err(StorageError::while_trying("sync records"))?;
            self.fsync_seconds.record(began.elapsed());
        }
        active.bytes += self.frames.len() as u64;
        active.used = true;
        let bytes = active.bytes;
        self.index.with(|segments| {
            if let Some(segment) = segments.last_mut() {
                segment.bytes = bytes;
                segment.first_at_ms.get_or_insert(at_ms);
            }
        });
        Ok(())
    }
}

impl Storage for SegmentStorage {
    fn last(&self) -> Position {
        self.last
    }

    fn append(&mut self, payloads: &[Vec<u8>]) -> Result<Position, StorageError> {
        self.probe()?;
        if self.active.as_ref().is_some_and(|active| active.bytes >= self.options.effective_segment_bytes()) {
            self.seal()?;
        }
        let at_ms = unix_millis();
        let first = self.next_position();
        self.frames.clear();
        let mut position = first;
        for payload in payloads {
            self.codec.encode(position, at_ms, payload, &mut self.frames);
            position = position.next();
        }
        if let Err(error) = self.write_frames(at_ms) {
            self.abandon();
            return Err(error);
        }
        self.last = Position(position.0 - 1);
        Ok(self.last)
    }

    fn abandon(&mut self) {
        if let Some(active) = self.active.take() {
            // Best effort: the next segment makes what follows void even when cutting fails.
            let durable = self.index.with(|segments| segments.last().map_or(active.bytes, |segment| segment.bytes));
            let _ = active.file.set_len(durable);
        }
    }

    fn probe(&mut self) -> Result<(), StorageError> {
        if self.active.is_some() { Ok(()) } else { self.begin_segment(self.next_position()) }
    }

    fn cost(&self, payload_bytes: usize) -> u64 {
        (FRAME_HEAD_BYTES + payload_bytes) as u64
    }

    fn disk_bytes(&self) -> u64 {
        // One header ahead: sealing must stay possible when the bound is reached.
        self.index.disk_bytes() + HEADER_BYTES as u64
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        if self.active.as_ref().is_some_and(|active| active.used) {
            self.begin_segment(self.last.next())?;
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Some(active) = self.active.take() {
            let closed = active.file.sync_all().and_then(|()| Directory::write_clean(&self.directory.path, self.last));
            if let Err(error) = closed {
                tracing::warn!(%error, "journal could not note its orderly end, the next start treats it as a crash");
            }
        }
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
