//! What an applier cannot apply becomes a dead letter, on disk, counted and logged.
//!
//! Invariant: when [`DeadLetterWriter::add`] succeeds, the letters are durable, so the position may pass their records.

use std::io;
use std::sync::Arc;

use weir_domain::Clock;
use weir_log::{CorruptRange, DeadLetter, DeadLetterQueue, DeadLetterReason, LogRecord, Position};

use crate::ApplyObserver;

/// Writes one applier's dead letters.
pub(super) struct DeadLetterWriter {
    pub queue: Arc<dyn DeadLetterQueue>,
    pub database: &'static str,
    pub observer: Arc<dyn ApplyObserver>,
    pub clock: Arc<Clock>,
}

impl DeadLetterWriter {
    /// Forgets what was set aside and not passed: it comes again, and may be taken this time.
    pub fn take_back_beyond(&self, position: Position) -> io::Result<()> {
        self.queue.remove_beyond(position).map(drop)
    }

    /// Keeps letters. After an error some of them may be there, and are taken back at the next fencing check.
    pub fn add(&self, letters: &[DeadLetter]) -> io::Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        self.queue.add(letters)?;
        let database = self.database;
        for letter in letters {
            let records = letter.records();
            self.observer.dead_letter(letter.reason, records);
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
    pub fn of_record(&self, record: &LogRecord, reason: DeadLetterReason, detail: String) -> DeadLetter {
        DeadLetter {
            position: record.position,
            last: record.position,
            reason,
            detail,
            record: hex::encode(&record.payload),
            at_ms: self.clock.now().0,
        }
    }

    /// The records that a corrupt range of the log held, whose bytes are gone.
    pub fn of_range(&self, range: &CorruptRange) -> DeadLetter {
        DeadLetter {
            position: range.first,
            last: range.last,
            reason: DeadLetterReason::Corrupt,
            detail: format!("{} is damaged from offset {}", range.file.display(), range.offset),
            record: String::new(),
            at_ms: self.clock.now().0,
        }
    }
}
