//! The file of the next segment, written in zeros before its time, by a thread of its own.
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

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::format::{HEADER_BYTES, SegmentHeader};
use super::notes::sync_directory;
use crate::fail_points;

const FILE: &str = "spare";
/// How much is written before it is synced: what the records' own syncs may have to wait for.
const PIECE_BYTES: usize = 256 << 10;
static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// The longest pause between two pieces: whoever gives the file up waits for it.
const PAUSE: Duration = Duration::from_millis(50);

/// A file of zeros that is on disk as a whole.
pub(super) struct Spare {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Spare {
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

/// The one spare file of a journal. Dropping this removes it.
pub(super) struct SpareFile {
    path: PathBuf,
    making: Option<Making>,
}

struct Making {
    bytes: u64,
    given_up: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<File>>,
}

impl SpareFile {
    /// Of this directory, where one that a crash left is removed.
    pub fn of(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let _ = fs::remove_file(&path);
        Self { path, making: None }
    }

    /// Whether a path is that of a directory's spare file.
    pub fn is_at(path: &Path) -> bool {
        path.file_name().is_some_and(|name| name == FILE)
    }

    /// What the spare file in a directory takes, whoever made it.
    pub fn bytes_in(directory: &Path) -> u64 {
        fs::metadata(directory.join(FILE)).map_or(0, |metadata| metadata.len())
    }

    /// Begins to make one, where there is none.
    pub fn make(&mut self, bytes: u64) {
        if self.making.is_some() {
            return;
        }
        let given_up = Arc::new(AtomicBool::new(false));
        let (path, asked) = (self.path.clone(), Arc::clone(&given_up));
        let written = move || write_zeros(&path, bytes, &asked).inspect_err(|_| _ = fs::remove_file(&path));
        if let Ok(thread) = thread::Builder::new().name("journal-spare".to_owned()).spawn(written) {
            self.making = Some(Making { bytes, given_up, thread });
        }
    }

    /// What it takes on disk, or will when it is made.
    pub fn bytes(&self) -> u64 {
        self.making.as_ref().map_or(0, |making| making.bytes)
    }

    /// The file, where it is made. There is none from then on.
    pub fn take(&mut self) -> Option<Spare> {
        let Making { bytes, thread, .. } = self.making.take_if(|making| making.thread.is_finished())?;
        match thread.join() {
            Ok(Ok(file)) => Some(Spare { file, path: self.path.clone(), bytes }),
            Ok(Err(error)) => {
                tracing::debug!(path = %self.path.display(), %error, "a segment could not be written ahead");
                None
            }
            Err(_) => None,
        }
    }

    /// Gives it up and removes it. Waits for the piece that is being written.
    pub fn discard(&mut self) {
        if let Some(making) = self.making.take() {
            making.given_up.store(true, Ordering::Relaxed);
            let _ = making.thread.join();
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SpareFile {
    fn drop(&mut self) {
        self.discard();
    }
}

fn write_zeros(path: &Path, bytes: u64, given_up: &AtomicBool) -> io::Result<File> {
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        if given_up.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let began = Instant::now();
        let piece = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        file.write_all(&ZEROS[..piece])?;
        file.sync_all()?;
        left -= piece as u64;
        thread::sleep(began.elapsed().min(PAUSE));
    }
    Ok(file)
}
