//! Records that will not reach their database, with the reason: refused by it, or damaged on the way.
//!
//! One JSON object a line in `dead-letters` beside the segments. Invariants: a letter is on disk before the database's
//! position passes its record, so nothing is ever set aside and forgotten; a letter written twice (the process died in
//! between) names the same position, so it counts once. Its bytes count against `journal.max_bytes`. Writing and removing
//! hold a lock on a file of their own, so that an operator can remove letters while a server adds some.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::index::given_between;
use super::notes::{other_bytes, write_durably};
use super::{Journal, Position, reserve};

const FILE: &str = "dead-letters";
const LOCK: &str = "dead-letters.lock";
/// Letters take at most this share of `journal.max_bytes`: a database that refuses everything must not turn its whole
/// backlog into letters, and leave no room for records.
const BOUND_SHARE: u64 = 8;

/// Why a record is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterReason {
    /// The database refused this very record.
    Refused,
    /// The journal's bytes are damaged.
    Damaged,
    /// The record's kind or version is unknown to this version of Weir.
    Undecodable,
}

impl DeadLetterReason {
    /// The metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Damaged => "damaged",
            Self::Undecodable => "undecodable",
        }
    }
}

/// One record, or one damaged stretch, that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The record's position, or the first one that a damaged stretch cost.
    pub position: Position,
    /// The last position that a damaged stretch cost; the same as `position` for a record.
    pub last: Position,
    pub reason: DeadLetterReason,
    /// What the database or the reader said, e.g. the SQLSTATE and the constraint. Never a value of the record.
    pub detail: String,
    /// The record's bytes in hexadecimal, as the journal had them; empty for damage.
    pub record: String,
    /// When it was set aside, in milliseconds since 1970.
    pub at_ms: i64,
}

impl DeadLetter {
    /// How many records it stands for.
    #[must_use]
    pub fn records(&self) -> u64 {
        given_between(Position(self.position.0.saturating_sub(1)), self.last)
    }
}

/// The dead letters of one journal.
pub struct DeadLetters {
    path: PathBuf,
}

impl DeadLetters {
    /// The bytes that the letters in this directory take.
    fn bytes_in(directory: &Path) -> u64 {
        std::fs::metadata(directory.join(FILE)).map_or(0, |metadata| metadata.len())
    }

    /// Those of the journal in this directory.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        Self { path: directory.join(FILE) }
    }

    /// Writes letters and makes them durable.
    ///
    /// # Errors
    /// When the file cannot be written or is at its bound; the records must then stay unapplied.
    pub fn add(&self, journal: &Journal, letters: &[DeadLetter]) -> io::Result<()> {
        let mut lines = Vec::new();
        for letter in letters {
            // Begins on a line of its own even when the last write was torn.
            lines.push(b'\n');
            serde_json::to_writer(&mut lines, letter)?;
            lines.push(b'\n');
        }
        let _lock = self.lock()?;
        let bound = journal.options().max_bytes / BOUND_SHARE;
        if Self::bytes_in(journal.path()) + lines.len() as u64 > bound {
            return Err(io::Error::other(format!("they have reached their bound of {bound} bytes")));
        }
        reserve::write_with(journal.path(), || {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            file.write_all(&lines)?;
            file.sync_all()
        })?;
        journal.index().other_bytes.store(other_bytes(journal.path()), Ordering::Relaxed);
        Ok(())
    }

    /// Takes one letter out, durably. False when there is none at this position.
    ///
    /// # Errors
    /// When the file cannot be written anew; it is as it was then.
    pub fn remove(&self, position: Position) -> io::Result<bool> {
        Ok(self.take_out(|letter| letter.position == position)? > 0)
    }

    /// Takes out the letters of records that the database has not passed: they are read and judged again.
    ///
    /// # Errors
    /// When the file cannot be written anew; it is as it was then.
    pub fn remove_beyond(&self, position: Position) -> io::Result<usize> {
        self.take_out(|letter| letter.position > position)
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
        let directory = self.path.parent().unwrap_or(Path::new("."));
        write_durably(directory, FILE, &lines)?;
        Ok(out.len())
    }

    /// Held while the file is changed; given back when it is dropped.
    fn lock(&self) -> io::Result<File> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.path.with_file_name(LOCK))?;
        file.lock()?;
        Ok(file)
    }

    /// All letters by position. A torn last line is passed over: its record was not passed by the database either.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn list(&self) -> io::Result<Vec<DeadLetter>> {
        let file = match File::open(&self.path) {
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
