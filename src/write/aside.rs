//! Records that are set aside: what a writer cannot apply becomes a dead letter, on disk, counted and logged.
//!
//! Invariant: when [`Aside::put`] succeeds, the letters are durable, so the position may pass their records.

use std::io;
use std::sync::Arc;

use crate::domain::Clock;
use crate::journal::{Damage, DeadLetter, DeadLetterReason, DeadLetters, Entry, Journal, Position};
use crate::telemetry::{Telemetry, name};

/// The place for what one journal's writer sets aside.
pub(super) struct Aside {
    journal: Journal,
    letters: DeadLetters,
    telemetry: Arc<Telemetry>,
    clock: Arc<Clock>,
}

impl Aside {
    pub fn of(journal: &Journal, telemetry: Arc<Telemetry>, clock: Arc<Clock>) -> Self {
        Self { letters: DeadLetters::of(journal.path()), journal: journal.clone(), telemetry, clock }
    }

    /// Forgets what was set aside and not passed: it comes again, and may be taken this time.
    pub fn take_back_beyond(&self, position: Position) -> io::Result<()> {
        self.letters.remove_beyond(position).map(drop)
    }

    /// Keeps letters. After an error some of them may be there, and are taken back when the writer attaches again.
    pub fn put(&self, letters: &[DeadLetter]) -> io::Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        self.letters.add(&self.journal, letters)?;
        let database = self.journal.name();
        for letter in letters {
            let records = letter.records();
            let labels = [("database", database), ("reason", letter.reason.label())];
            self.telemetry.count(name::DEAD_LETTERS, &labels, records);
            tracing::error!(
                database,
                reason = letter.reason.label(),
                position = letter.position.0,
                records,
                detail = letter.detail,
                "record set aside as a dead letter"
            );
        }
        Ok(())
    }

    /// A record as a letter.
    pub fn letter(&self, entry: &Entry, reason: DeadLetterReason, detail: String) -> DeadLetter {
        DeadLetter {
            position: entry.position,
            last: entry.position,
            reason,
            detail,
            record: hex::encode(&entry.payload),
            at_ms: self.clock.now().0,
        }
    }

    /// The records that a damaged part of the journal held, whose bytes nobody can tell.
    pub fn letter_of_damage(&self, damage: &Damage) -> DeadLetter {
        DeadLetter {
            position: damage.first,
            last: damage.last,
            reason: DeadLetterReason::Damaged,
            detail: format!("{} is damaged from offset {}", damage.file.display(), damage.offset),
            record: String::new(),
            at_ms: self.clock.now().0,
        }
    }
}
