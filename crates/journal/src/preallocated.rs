//! The preallocated segment: the file of the next one, written in zeros before it is needed, by a thread of its own.
//!
//! A file that is made, or made longer, waits for the file system's own log, which may be busy with what others wrote:
//! a tenth of a second where a database shares the disk. Whoever syncs records into a file that was written before waits
//! for its own bytes alone.
//!
//! Invariants: there is at most one, and the journal's directory is the only place that knows it; it never has a segment's
//! name before it has a segment's header. Whatever goes wrong with it, there is none, and the journal makes a segment
//! as if there had never been one.
//!
//! Cost: as much disk as a segment, while there is one. On a disk that others fill it takes its place before the records
//! do: the segment that follows a failed write begins in it. The thread takes half of the disk's time at most.

use super::disk::{self as fs, File, Worker};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::control_files::sync_directory;
use super::format::{HEADER_BYTES, SegmentHeader};
use super::layout::PREALLOCATED;
use weir_fail_points as fail_points;

/// How much is written before it is synced: what the records' own syncs may have to wait for.
const WRITE_BYTES: usize = 256 << 10;
static ZEROS: [u8; WRITE_BYTES] = [0; WRITE_BYTES];

/// The longest pause between two writes: whoever discards the file waits for it.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// A file of zeros that is on disk as a whole.
pub(super) struct Preallocated {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Preallocated {
    /// Makes it a segment with this header and name, and says how long that is.
    ///
    /// # Errors
    /// When the disk fails; there is no such segment then.
    pub fn begin_segment(self, header: &SegmentHeader, path: &Path) -> io::Result<(File, u64)> {
        match self.named(header, path) {
            Ok(()) => Ok((self.file, self.bytes.max(HEADER_BYTES as u64))),
            Err(error) => {
                let _ = fs::remove_file(&self.path);
                let _ = fs::remove_file(path);
                Err(error)
            }
        }
    }

    fn named(&self, header: &SegmentHeader, path: &Path) -> io::Result<()> {
        fail_points::disk("journal.segment")?;
        self.file.write_all_at(&header.encode(), 0)?;
        self.file.sync_data()?;
        fs::rename(&self.path, path)?;
        sync_directory(path.parent().unwrap_or(Path::new(".")))
    }
}

/// The one preallocated file of a journal. Dropping this removes it.
pub(super) struct Preallocator {
    path: PathBuf,
    making: Option<Making>,
}

struct Making {
    bytes: u64,
    discarded: Arc<AtomicBool>,
    thread: Worker<io::Result<File>>,
}

impl Preallocator {
    /// Of this directory, where one that a crash left is removed.
    pub fn of(directory: &Path) -> Self {
        let path = directory.join(PREALLOCATED);
        let _ = fs::remove_file(&path);
        Self { path, making: None }
    }

    /// Begins to make one, where there is none.
    pub fn make(&mut self, bytes: u64) {
        if self.making.is_some() {
            return;
        }
        let discarded = Arc::new(AtomicBool::new(false));
        let (path, asked) = (self.path.clone(), Arc::clone(&discarded));
        let written = move || write_zeros(&path, bytes, &asked).inspect_err(|_| _ = fs::remove_file(&path));
        if let Ok(thread) = fs::spawn("journal-prealloc", written) {
            self.making = Some(Making { bytes, discarded, thread });
        }
    }

    /// What it takes on disk, or will when it is made.
    pub fn bytes(&self) -> u64 {
        self.making.as_ref().map_or(0, |making| making.bytes)
    }

    /// The file, where it is made. There is none from then on.
    pub fn take(&mut self) -> Option<Preallocated> {
        let Making { bytes, thread, .. } = self.making.take_if(|making| making.thread.is_finished())?;
        match thread.join() {
            Ok(Ok(file)) => Some(Preallocated { file, path: self.path.clone(), bytes }),
            Ok(Err(error)) => {
                tracing::debug!(path = %self.path.display(), %error, "segment could not be preallocated");
                None
            }
            Err(_) => None,
        }
    }

    /// Discards it. Waits for the write that is under way.
    pub fn discard(&mut self) {
        if let Some(making) = self.making.take() {
            making.discarded.store(true, Ordering::Relaxed);
            let _ = making.thread.join();
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Preallocator {
    fn drop(&mut self) {
        self.discard();
    }
}

fn write_zeros(path: &Path, bytes: u64, discarded: &AtomicBool) -> io::Result<File> {
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        if discarded.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let began = Instant::now();
        let length = usize::try_from(left).map_or(WRITE_BYTES, |left| left.min(WRITE_BYTES));
        file.write_all(&ZEROS[..length])?;
        file.sync_all()?;
        left -= length as u64;
        fs::pause(began.elapsed().min(PAUSE_MAX));
    }
    Ok(file)
}
