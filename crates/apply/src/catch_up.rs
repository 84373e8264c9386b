//! Catching up, as the log tells it: a line every few seconds while there is much to apply, one when it is done.
//!
//! Logged by the applier itself, batch by batch: while its database is away nothing is applied, and nothing is told here.

use std::time::{Duration, Instant};

use weir_log::{LogReader, Position};

use super::Throughput;

/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// An applier that had something to catch up with.
pub(super) struct CatchUp {
    /// What was there at the beginning.
    until: Position,
    at: Position,
    applied: u64,
    applying: Throughput,
    behind: Throughput,
    began: Instant,
    told: Instant,
}

impl CatchUp {
    /// Begins at a position, unless everything is applied.
    pub fn begin(log: &dyn LogReader, at: Position) -> Option<Self> {
        let (until, now) = (log.end(), Instant::now());
        let (mut applying, mut behind) = (Throughput::default(), Throughput::default());
        applying.note(now, 0);
        behind.note(now, log.records_between(at, until));
        (at < until).then_some(Self { until, at, applied: 0, applying, behind, began: now, told: now })
    }

    /// The database is further. True when it has caught up: it has what was there at the beginning, and no more than a
    /// batch is left of what came in meanwhile.
    pub fn reached(&mut self, database: &str, log: &dyn LogReader, position: Position, batch: usize) -> bool {
        self.applied += log.records_between(self.at, position);
        self.at = position;
        let (now, durable) = (Instant::now(), log.end());
        let is_due = now.duration_since(self.told) >= TELL_EVERY;
        if position < self.until && !is_due {
            return false;
        }
        let behind = log.records_between(position, durable);
        let records = self.applied;
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
