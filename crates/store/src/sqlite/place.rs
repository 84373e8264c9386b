//! Whether a SQLite file still lies where it was opened.
//!
//! SQLite goes on with a file that was deleted or exchanged under it, and says nothing: its commits go to a file that nobody
//! finds again. So the file's place is looked at before and after each step, and before each use of a connection; it costs
//! two calls of `stat`. Its write-ahead log counts too: what is committed is in there until a checkpoint.
//!
//! No descriptor of the file's own is held: closing one would give up SQLite's locks on it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::StoreError;

/// A file as the file system knows it: device and inode.
type Identity = (u64, u64);

/// Where a database's file was found.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    log_path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    file: Option<Identity>,
    log: Option<Identity>,
}

impl Place {
    /// Of a file that was not opened yet. One in memory is never found, and never missed.
    pub fn of(path: &Path) -> Self {
        let mut log_path = path.as_os_str().to_owned();
        log_path.push("-wal");
        Self { path: path.to_owned(), log_path: log_path.into(), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the file was opened before.
    pub fn is_known(&self) -> bool {
        self.known().file.is_some()
    }

    /// Whether any file is there now.
    pub fn is_taken(&self) -> bool {
        identity(&self.path).is_some()
    }

    /// Remembers the file that a connection was opened to, if it is the first one.
    ///
    /// # Errors
    /// When it is another one than that of the connections before.
    pub fn note(&self) -> Result<(), StoreError> {
        if let Some(found) = identity(&self.path) {
            self.known().file.get_or_insert(found);
        }
        self.check()
    }

    /// The same, for the connection that writes. Before it was made there may have been none, and then the last one to go has
    /// taken the write-ahead log with it.
    ///
    /// # Errors
    /// As [`Self::note`].
    pub fn note_for_writer(&self) -> Result<(), StoreError> {
        self.known().log = None;
        self.note()
    }

    /// Remembers the write-ahead log that commits go to, if it is the first one.
    pub fn note_log(&self) {
        let mut known = self.known();
        if known.log.is_none() {
            known.log = identity(&self.log_path);
        }
    }

    /// Forgets what was opened, when nothing is open any more.
    pub fn forget(&self) {
        *self.known() = Known::default();
    }

    /// # Errors
    /// When the file, or its log, is not the one that is open.
    pub fn check(&self) -> Result<(), StoreError> {
        let Known { file, log } = *self.known();
        for (path, known) in [(&self.path, file), (&self.log_path, log)] {
            let Some(known) = known else { continue };
            match identity(path) {
                Some(found) if found == known => {}
                Some(_) => return Err(unlinked(path, "is another file than the one that is open")),
                None => return Err(unlinked(path, "was deleted or moved while it is open")),
            }
        }
        Ok(())
    }
}

fn unlinked(path: &Path, what: &str) -> StoreError {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    StoreError::Unlinked(format!("{name} {what}"))
}

fn identity(path: &Path) -> Option<Identity> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
