//! The fencing check: where a database stands in a log, and whether the two belong together.
//!
//! Invariants: a position that a stranger moved, that lies behind what is deleted or beyond what was given, is never gone on
//! from: that would skip records or apply them twice. Another database than before is not begun with until an operator has
//! accepted it.

use std::time::Duration;

use uuid::Uuid;

use weir_domain::UnixMillis;
use weir_log::{AcceptedDatabase, JournalId, LogReader, Offsets, Position};
use weir_store::{DatabaseIdentity, Sink, StoreError, within};

use super::error::ApplyError;

/// How long a look at a position may take.
const LOOK: Duration = Duration::from_secs(10);
/// How long a change of the schema may take.
const MIGRATE: Duration = Duration::from_mins(30);

/// Brings the database to this version and asks where it stands. `name` is what commands call it. Whether the log still has what
/// lies behind that is asked separately: [`not_deleted`].
pub(super) async fn position<S: Sink>(
    sink: &S,
    name: &str,
    log: &dyn LogReader,
    offsets: &dyn Offsets,
    applier: Uuid,
    now: UnixMillis,
) -> Result<Position, ApplyError> {
    within(MIGRATE, sink.migrate()).await?;
    let location = offsets.location();
    let control_file = |source| ApplyError::Applier { path: location.clone(), source };
    offsets.remember_applier(applier).map_err(control_file)?;
    let positions = sink.positions();
    let identity = within(LOOK, positions.identity()).await?;
    let stood = within(LOOK, positions.position(log.id())).await?;
    if !is_its_own(&identity, stood.is_some(), log, &offsets.databases().map_err(control_file)?, offsets.reached()) {
        let accepted = offsets.accepted_database().map_err(control_file)?.filter(|accepted| accepted.id == identity.id);
        let Some(AcceptedDatabase { from, .. }) = accepted else {
            return Err(ApplyError::Halted(format!(
                "this is not the database that journal {} was applied to: its id is {}: does its URL name another one, or was \
                 it made anew? To use it from now on, run: weir journal accept-database {name}",
                log.id(),
                identity.id,
            )));
        };
        offsets.rewind(from);
        within(LOOK, positions.register_at(log.id(), applier, from, now)).await?;
        tracing::warn!(database = sink.describe(), id = identity.id, from = from.0, "another database was accepted");
    }
    offsets.remember_database(&identity.id).map_err(control_file)?;
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

/// Where the database stands in the log; `None` when it does not know it.
pub(super) async fn stands<S: Sink>(sink: &S, log: JournalId) -> Result<Option<Position>, StoreError> {
    if !within(LOOK, sink.positions().is_writable()).await? {
        return Err(StoreError::Unavailable("the server is read-only, another one may have taken over".to_owned()));
    }
    Ok(within(LOOK, sink.positions().position(log)).await?.map(|(position, _)| position))
}

/// What lies behind the position must still be in the log.
pub(super) fn not_deleted(log: &dyn LogReader, position: Position) -> Result<(), ApplyError> {
    let trim_point = log.trim_point();
    if position >= trim_point {
        return Ok(());
    }
    Err(ApplyError::Halted(format!(
        "the database stands at position {position} of journal {}, but its records up to {trim_point} were \
         applied and deleted: was it restored from an older copy? To go on without them, set its position to \
         {trim_point} in journal_positions",
        log.id(),
    )))
}

/// Whether a log may be applied to this database without being asked. The first one is taken as it is, unless the log was applied
/// to some database before it was written down to which. A copy from before databases had ids is known by its position.
fn is_its_own(
    identity: &DatabaseIdentity,
    knows_log: bool,
    log: &dyn LogReader,
    databases: &[String],
    reached: Position,
) -> bool {
    match databases.last() {
        Some(used) if *used == identity.id => true,
        Some(_) => knows_log && identity.was_in_use && !databases.contains(&identity.id),
        None => knows_log || reached.max(log.trim_point()) == Position::START,
    }
}
