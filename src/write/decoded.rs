//! The records of a chunk, taken apart where they lie: their texts are borrowed from the chunk.

use crate::domain::{DecodeError, JournalRecord};
use crate::journal::{Entry, Position};

/// What the bytes of a chunk say.
pub(super) struct Decoded<'a, R> {
    pub records: Vec<R>,
    /// Those of the records, one for one.
    pub entries: Vec<&'a Entry>,
    pub undecodable: Vec<(&'a Entry, DecodeError)>,
    /// A record that only another version knows; none behind it is among the records.
    pub foreign: Option<(Position, DecodeError)>,
}

impl<'a, R: JournalRecord<'a>> Decoded<'a, R> {
    /// Whether the records are all that the bytes say.
    pub fn is_whole(&self) -> bool {
        self.undecodable.is_empty() && self.foreign.is_none()
    }

    pub fn of(entries: &'a [Entry]) -> Self {
        let mut decoded = Self {
            records: Vec::with_capacity(entries.len()),
            entries: Vec::with_capacity(entries.len()),
            undecodable: Vec::new(),
            foreign: None,
        };
        for entry in entries {
            match R::decode(&entry.payload) {
                Ok(record) => {
                    decoded.records.push(record);
                    decoded.entries.push(entry);
                }
                Err(error @ DecodeError::UnknownKind { .. }) => {
                    decoded.foreign = Some((entry.position, error));
                    break;
                }
                Err(error) => decoded.undecodable.push((entry, error)),
            }
        }
        decoded
    }
}
