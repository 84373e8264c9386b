//! Records that will not reach their database, with the reason.

use std::io;

use serde::{Deserialize, Serialize};

use super::{Position, records_between};

/// Why a record is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterReason {
    /// The database refused this very record.
    Refused,
    /// The log's bytes are corrupt. The name in files and metrics is the first one that it had.
    #[serde(rename = "damaged")]
    Corrupt,
    /// The record's kind or version is unknown to this version of Weir.
    Undecodable,
}

impl DeadLetterReason {
    /// The metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Corrupt => "damaged",
            Self::Undecodable => "undecodable",
        }
    }
}

/// One record, or one corrupt range, that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The record's position, or the first one that a corrupt range cost.
    pub position: Position,
    /// The last position that a corrupt range cost; the same as `position` for a record.
    pub last: Position,
    pub reason: DeadLetterReason,
    /// What the database or the reader said, e.g. the SQLSTATE and the constraint. Never a value of the record.
    pub detail: String,
    /// The record's bytes in hexadecimal, as the log had them; empty for a corrupt range.
    pub record: String,
    /// When it was set aside, in milliseconds since 1970.
    pub at_ms: i64,
}

impl DeadLetter {
    /// How many records it stands for.
    #[must_use]
    pub fn records(&self) -> u64 {
        records_between(Position(self.position.0.saturating_sub(1)), self.last)
    }
}

/// The dead letters of one log.
pub trait DeadLetterQueue: Send + Sync + 'static {
    /// Writes letters and makes them durable.
    ///
    /// # Errors
    /// When they cannot be written, or their bound is reached; the records must then stay unapplied.
    fn add(&self, letters: &[DeadLetter]) -> io::Result<()>;

    /// Takes one letter out, durably. False when there is none at this position.
    ///
    /// # Errors
    /// When that cannot be written; the letters are as they were then.
    fn remove(&self, position: Position) -> io::Result<bool>;

    /// Takes out the letters of records that the database has not passed: they are read and judged again.
    ///
    /// # Errors
    /// When that cannot be written; the letters are as they were then.
    fn remove_beyond(&self, position: Position) -> io::Result<usize>;

    /// All letters by position.
    ///
    /// # Errors
    /// When they cannot be read.
    fn list(&self) -> io::Result<Vec<DeadLetter>>;
}
