//! Positions in a log, and how many records lie between two of them.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A record's place in its log: 1 is the first, 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(pub u64);

impl Position {
    /// Before the first record.
    pub const START: Self = Self(0);

    /// The last one that a database's column can name. A higher one was never given: what says it is corrupt.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The place right after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The random identity of a log, made with it. A database remembers how far it applied *this* log, so a wiped or exchanged
/// data directory cannot be mistaken for the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalId(pub Uuid);

impl fmt::Display for JournalId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How far positions go on after an unclean stop: more records than a segment, or an outage, can hold.
pub const POSITION_GAP: u64 = 1 << 32;

/// How many records were given positions after one and up to another. Every gap leaves out `POSITION_GAP - 1`, and what is
/// given between two gaps is far less, so their number can be told from the distance alone.
#[must_use]
pub fn records_between(after: Position, through: Position) -> u64 {
    let distance = through.0.saturating_sub(after.0);
    let gaps = distance.saturating_add(POSITION_GAP / 2) / POSITION_GAP;
    distance.saturating_sub(gaps * (POSITION_GAP - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_between_leaves_out_gaps() {
        let between = |after, through| records_between(Position(after), Position(through));
        assert_eq!(between(5, 5), 0);
        assert_eq!(between(6, 5), 0);
        assert_eq!(between(5, 9), 4);
        assert_eq!(between(5, 5 + POSITION_GAP), 1);
        assert_eq!(between(5, 9 + 2 * POSITION_GAP), 6);
        assert_eq!(between(0, Position::MAX.0), 0x7fff_ffff, "as many gaps as there can be");
    }
}
