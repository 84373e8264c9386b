//! The records of a batch, decoded where they lie: their texts are borrowed from the batch.

use weir_domain::{DecodeError, JournalRecord};
use weir_log::{LogRecord, Position};

/// What the bytes of a batch say.
pub(super) struct Decoded<'a, R> {
    pub records: Vec<R>,
    /// Those of the records, one for one.
    pub sources: Vec<&'a LogRecord>,
    pub undecodable: Vec<(&'a LogRecord, DecodeError)>,
    /// A record that only another version knows; none behind it is among the records.
    pub foreign: Option<(Position, DecodeError)>,
}

impl<'a, R: JournalRecord<'a>> Decoded<'a, R> {
    /// Whether the records are all that the bytes say.
    pub fn is_whole(&self) -> bool {
        self.undecodable.is_empty() && self.foreign.is_none()
    }

    pub fn of(sources: &'a [LogRecord]) -> Self {
        let mut decoded = Self {
            records: Vec::with_capacity(sources.len()),
            sources: Vec::with_capacity(sources.len()),
            undecodable: Vec::new(),
            foreign: None,
        };
        for source in sources {
            match R::decode(&source.payload) {
                Ok(record) => {
                    decoded.records.push(record);
                    decoded.sources.push(source);
                }
                Err(error @ (DecodeError::UnknownKind { .. } | DecodeError::UnknownField { .. })) => {
                    decoded.foreign = Some((source.position, error));
                    break;
                }
                Err(error) => decoded.undecodable.push((source, error)),
            }
        }
        decoded
    }
}
