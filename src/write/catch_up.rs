//! Catching up, as the log tells it: a line every few seconds while there is much to apply, one when it is done.
//!
//! Told by the writer itself, batch by batch: while its database is away nothing is applied, and nothing is told here.

use std::time::{Duration, Instant};

use crate::journal::{Journal, Position};
use crate::telemetry::progress::Pace;

/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// A writer that had something to catch up with.
pub(super) struct CatchUp {
    /// What was there at the beginning.
    until: Position,
    at: Position,
    applied: u64,
    applying: Pace,
    behind: Pace,
    began: Instant,
    told: Instant,
}

impl CatchUp {
    /// Begins at a position, unless everything is applied.
    pub fn begin(journal: &Journal, at: Position) -> Option<Self> {
        let (until, now) = (journal.durable(), Instant::now());
        let (mut applying, mut behind) = (Pace::default(), Pace::default());
        applying.note(now, 0);
        behind.note(now, journal.records_between(at, until));
        (at < until).then_some(Self { until, at, applied: 0, applying, behind, began: now, told: now })
    }

    /// The database is further. True when it has caught up: it has what was there at the beginning, and no more than a
    /// batch is left of what came in meanwhile.
    pub fn reached(&mut self, journal: &Journal, position: Position, batch: usize) -> bool {
        self.applied += journal.records_between(self.at, position);
        self.at = position;
        let (now, durable) = (Instant::now(), journal.durable());
        let is_due = now.duration_since(self.told) >= TELL_EVERY;
        if position < self.until && !is_due {
            return false;
        }
        let behind = journal.records_between(position, durable);
        let (database, records) = (journal.name(), self.applied);
        if position >= self.until && behind <= batch as u64 {
            let seconds = now.duration_since(self.began).as_secs_f64();
            tracing::info!(database, records, behind, seconds, "caught up");
            return true;
        }
        if is_due {
            self.told = now;
            self.applying.note(now, records);
            self.behind.note(now, behind);
            let per_second = self.applying.per_second().map(f64::round);
            let seconds_left = self.behind.time_left().map(|left| left.as_secs());
            tracing::info!(database, behind, records, per_second, seconds_left, "catching up");
        }
        false
    }
}
