//! How many dead letters wait for a decision, whoever adds them or takes them out.
//!
//! A command may take letters out while a server runs, so the file is what counts. It grows at its end, and is exchanged when
//! letters are taken out: only what was added is read again, unless the file is another one or shorter than before. Cost: one
//! look at the file's length and inode; 16 bytes a letter.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use weir_log::Position;

use super::disk::{self as fs, File};
use super::layout::DEAD_LETTERS;

/// What of a letter counts: one that was written twice is one.
#[derive(Deserialize)]
struct Waiting {
    position: Position,
}

/// The letters of one journal, counted.
#[derive(Default)]
pub(super) struct WaitingLetters {
    /// The file that was read, to compare.
    file: Option<File>,
    read_bytes: u64,
    positions: HashSet<Position>,
}

impl WaitingLetters {
    /// Counts them as they are now.
    ///
    /// # Errors
    /// When the file cannot be read; the next look begins afresh.
    pub fn look(&mut self, directory: &Path) -> io::Result<u64> {
        let path = directory.join(DEAD_LETTERS);
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *self = Self::default();
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        let is_same = self.file.as_ref().is_some_and(|file| fs::is_at(file, &path).unwrap_or(false));
        if !is_same || length < self.read_bytes {
            *self = Self { file: Some(File::open(&path)?), ..Self::default() };
        }
        if length > self.read_bytes
            && let Some(file) = &mut self.file
        {
            file.seek(SeekFrom::Start(self.read_bytes))?;
            let mut added = Vec::new();
            file.read_to_end(&mut added)?;
            // What is written just now is read as a whole next time.
            let whole = added.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let lines = added[..whole].split(|byte| *byte == b'\n');
            let letters = lines.filter_map(|line| serde_json::from_slice::<Waiting>(line).ok());
            self.positions.extend(letters.map(|letter| letter.position));
            self.read_bytes += whole as u64;
        }
        Ok(self.positions.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use weir_log::{DeadLetter, DeadLetterQueue, DeadLetterReason};

    use super::*;
    use crate::DeadLetters;

    fn letter(position: u64) -> DeadLetter {
        DeadLetter {
            position: Position(position),
            last: Position(position),
            reason: DeadLetterReason::Refused,
            detail: String::new(),
            record: "00".to_owned(),
            at_ms: 0,
        }
    }

    #[test]
    fn waiting_letters_are_counted_as_others_add_and_remove_them() {
        let directory = tempfile::tempdir().unwrap();
        let letters = DeadLetters::of(directory.path(), 1 << 20);
        let mut waiting = WaitingLetters::default();
        let mut look = || waiting.look(directory.path()).unwrap();
        assert_eq!(look(), 0);
        letters.add(&[letter(1), letter(2)]).unwrap();
        assert_eq!(look(), 2);
        letters.add(&[letter(2), letter(7)]).unwrap();
        assert_eq!(look(), 3, "one that was written twice is one");
        letters.remove(Position(2)).unwrap();
        assert_eq!(look(), 2);
        letters.add(&[letter(9)]).unwrap();
        assert_eq!(look(), 3);
        letters.remove_beyond(Position(0)).unwrap();
        assert_eq!(look(), 0);
    }
}
