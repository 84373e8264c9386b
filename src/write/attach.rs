//! Where a database stands in a journal, and whether the two belong together.
//!
//! Invariant: a position that a stranger moved, that lies behind what is deleted or beyond what was given, is never gone on
//! from: that would skip records or apply them twice.

use std::time::Duration;

use uuid::Uuid;

use super::pump::PumpError;
use crate::journal::{FeedError, Journal, Position};
use crate::store::{Sink, within};

/// How long a look at a position may take.
const LOOK: Duration = Duration::from_secs(10);
/// How long a change of the schema may take.
const MIGRATE: Duration = Duration::from_mins(30);

/// Brings the database to this version and asks where it stands.
pub(super) async fn position<S: Sink>(sink: &S, journal: &Journal, writer: Uuid) -> Result<Position, PumpError> {
    within(MIGRATE, sink.migrate()).await?;
    journal.remember_writer(writer).map_err(|source| FeedError { path: journal.path().to_owned(), source })?;
    let positions = sink.positions();
    let position = within(LOOK, positions.register(journal.id(), writer)).await?;
    let mover = within(LOOK, positions.position(journal.id())).await?.map(|(_, by)| by).unwrap_or_default();
    if !journal.knows_writer(&mover) {
        return Err(PumpError::Halted(format!(
            "the database's position of journal {} was moved to {position} by a process that never used {}: \
             is a copy of this data directory in use?",
            journal.id(),
            journal.path().display(),
        )));
    }
    let is_new = position == Position::START;
    let others = if is_new { within(LOOK, positions.other_journals(journal.id())).await? } else { 0 };
    if others > 0 {
        tracing::warn!(
            database = sink.describe(),
            journal = %journal.id(),
            others,
            "this journal is new to a database that knows others; what a replaced data directory had not applied is not here"
        );
    }
    let released = journal.released();
    if position < released {
        return Err(PumpError::Halted(format!(
            "the database stands at position {position} of journal {}, but its records up to {released} were \
             applied and deleted: was it restored from an older copy? To go on without them, set its position to \
             {released} in journal_positions",
            journal.id(),
        )));
    }
    let next = journal.next_position();
    if position >= next {
        return Err(PumpError::Halted(format!(
            "the database stands at position {position} of journal {}, which gives {next} next: what it takes up to \
             there would be skipped: is this an older copy of the data directory?",
            journal.id(),
        )));
    }
    Ok(position)
}
