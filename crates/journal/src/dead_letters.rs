//! The dead-letter queue in a file: records that will not reach their database, with the reason.
//!
//! One JSON object a line in `dead-letters` beside the segments. Invariants: a letter is on disk before the database's
//! position passes its record, so nothing is ever set aside and forgotten; a letter written twice (the process died in
//! between) names the same position, so it counts once. Its bytes count against `journal.max_bytes`. Writing and removing
//! hold a lock on a file of their own, so that an operator can remove letters while a server adds some.

use super::disk::{self as fs, File, OpenOptions};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_log::{DeadLetter, DeadLetterQueue};

use super::control_files::{sync_directory, write_durably};
use super::index::SegmentIndex;
use super::layout::{DEAD_LETTERS, DEAD_LETTERS_LOCK, other_bytes};
use super::{Position, ballast};

/// Letters take at most this share of `journal.max_bytes`: a database that refuses everything must not turn its whole
/// backlog into letters, and leave no room for records.
const BOUND_SHARE: u64 = 8;

/// The dead letters of one journal.
pub struct DeadLetters {
    directory: PathBuf,
    max_bytes: u64,
    index: Option<Arc<SegmentIndex>>,
}

impl DeadLetters {
    /// Those of the journal in this directory, whose bound is `max_bytes`.
    #[must_use]
    pub fn of(directory: &Path, max_bytes: u64) -> Self {
        Self { directory: directory.to_owned(), max_bytes, index: None }
    }

    /// Counts what they take in a journal that runs.
    pub(super) fn counted_in(mut self, index: Arc<SegmentIndex>) -> Self {
        self.index = Some(index);
        self
    }

    fn path(&self) -> PathBuf {
        self.directory.join(DEAD_LETTERS)
    }

    /// The bytes that they take.
    fn bytes(&self) -> u64 {
        fs::metadata(self.path()).map_or(0, |metadata| metadata.len())
    }

    fn take_out(&self, is_out: impl Fn(&DeadLetter) -> bool) -> io::Result<usize> {
        let _lock = self.lock()?;
        let letters = self.list()?;
        let (out, kept): (Vec<_>, Vec<_>) = letters.into_iter().partition(is_out);
        if out.is_empty() {
            return Ok(0);
        }
        let mut lines = Vec::new();
        for letter in &kept {
            serde_json::to_writer(&mut lines, letter)?;
            lines.push(b'\n');
        }
        write_durably(&self.directory, DEAD_LETTERS, &lines)?;
        Ok(out.len())
    }

    /// Held while the file is changed; given back when it is dropped.
    fn lock(&self) -> io::Result<File> {
        let path = self.directory.join(DEAD_LETTERS_LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    }
}

impl DeadLetterQueue for DeadLetters {
    fn add(&self, letters: &[DeadLetter]) -> io::Result<()> {
        let mut lines = Vec::new();
        for letter in letters {
            // Begins on a line of its own even when the last write was torn.
            lines.push(b'\n');
            serde_json::to_writer(&mut lines, letter)?;
            lines.push(b'\n');
        }
        let _lock = self.lock()?;
        let bound = self.max_bytes / BOUND_SHARE;
        let bytes = self.bytes();
        if bytes + lines.len() as u64 > bound {
            return Err(io::Error::other(format!("they have reached their bound of {bound} bytes")));
        }
        if bytes == 0 {
            // Before anything is in it: the file's name must survive a power cut as well.
            OpenOptions::new().create(true).append(true).open(self.path())?;
            sync_directory(&self.directory)?;
        }
        ballast::write_with(&self.directory, || {
            let mut file = OpenOptions::new().create(true).append(true).open(self.path())?;
            file.write_all(&lines)?;
            file.sync_all()
        })?;
        if let Some(index) = &self.index {
            index.other_bytes.store(other_bytes(&self.directory), Ordering::Relaxed);
        }
        Ok(())
    }

    fn remove(&self, position: Position) -> io::Result<bool> {
        Ok(self.take_out(|letter| letter.position == position)? > 0)
    }

    fn remove_beyond(&self, position: Position) -> io::Result<usize> {
        self.take_out(|letter| letter.position > position)
    }

    /// A torn last line is passed over: its record was not passed by the database either.
    fn list(&self) -> io::Result<Vec<DeadLetter>> {
        let file = match File::open(self.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut letters = BTreeMap::new();
        for line in BufReader::new(file).split(b'\n') {
            if let Ok(letter) = serde_json::from_slice::<DeadLetter>(&line?) {
                letters.insert(letter.position, letter);
            }
        }
        Ok(letters.into_values().collect())
    }
}
