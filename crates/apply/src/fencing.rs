//! The fencing check: where a database stands in a log, and whether the two belong together.
//!
//! Invariant: a position that a stranger moved, that lies behind what is deleted or beyond what was given, is never gone on
//! from: that would skip records or apply them twice.

use std::time::Duration;

use uuid::Uuid;

use weir_domain::UnixMillis;
use weir_log::{LogReader, Offsets, Position};
use weir_store::{Sink, within};

use super::error::ApplyError;

/// How long a look at a position may take.
const LOOK: Duration = Duration::from_secs(10);
/// How long a change of the schema may take.
const MIGRATE: Duration = Duration::from_mins(30);

/// Brings the database to this version and asks where it stands.
pub(super) async fn position<S: Sink>(
    sink: &S,
    log: &dyn LogReader,
    offsets: &dyn Offsets,
    applier: Uuid,
    now: UnixMillis,
) -> Result<Position, ApplyError> {
    within(MIGRATE, sink.migrate()).await?;
    let location = offsets.location();
    let written = offsets.remember_applier(applier);
    written.map_err(|source| ApplyError::Applier { path: location.clone(), source })?;
    let positions = sink.positions();
    let position = within(LOOK, positions.register(log.id(), applier, now)).await?;
    let mover = within(LOOK, positions.position(log.id())).await?.map(|(_, by)| by).unwrap_or_default();
    if !offsets.knows_applier(&mover) {
        return Err(ApplyError::Halted(format!(
            "the database's position of journal {} was moved to {position} by a process that never used {}: \
             is a copy of this data directory in use?",
            log.id(),
            location.display(),
        )));
    }
    let is_new = position == Position::START;
    let others = if is_new { within(LOOK, positions.other_journals(log.id())).await? } else { 0 };
    if others > 0 {
        tracing::warn!(
            database = sink.describe(),
            journal = %log.id(),
            others,
            "this journal is new to a database that knows others; what a replaced data directory had not applied is not here"
        );
    }
    let trim_point = log.trim_point();
    if position < trim_point {
        return Err(ApplyError::Halted(format!(
            "the database stands at position {position} of journal {}, but its records up to {trim_point} were \
             applied and deleted: was it restored from an older copy? To go on without them, set its position to \
             {trim_point} in journal_positions",
            log.id(),
        )));
    }
    let next = log.next_position();
    if position >= next {
        return Err(ApplyError::Halted(format!(
            "the database stands at position {position} of journal {}, which gives {next} next: what it takes up to \
             there would be skipped: is this an older copy of the data directory?",
            log.id(),
        )));
    }
    Ok(position)
}
