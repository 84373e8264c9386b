//! Replay: a dead letter's second chance, when an operator has mended what it was refused for.
//!
//! Invariant: a letter is applied once, also when the process dies between the database's commit and the letter's
//! removal: each letter is a journal of its own, of one record, whose position is committed with it. Trying again finds
//! it there. A letter whose record the applier has not passed is the applier's to judge again.

use std::time::Duration;

use uuid::Uuid;

use weir_domain::{DecodeError, JournalRecord, UnixMillis, sha256};
use weir_log::{DeadLetter, DeadLetterQueue, JournalId, Position};
use weir_store::{Sink, Step, StoreError};

/// Why a letter stays one.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("it is damage, and has no record")]
    NoRecord,
    #[error("its database has not passed it yet, and will judge it again")]
    NotPassed,
    #[error("its record is not readable: {0}")]
    Unreadable(#[from] DecodeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("it is applied, and could not be taken out: {0}")]
    Remove(#[from] std::io::Error),
}

/// Applies a letter of the journal `of` and takes it out.
///
/// # Errors
/// When it was not applied, or not taken out; both can be tried again.
pub async fn replay<S: Sink>(
    sink: &S,
    of: JournalId,
    letters: &dyn DeadLetterQueue,
    letter: &DeadLetter,
    now: UnixMillis,
) -> Result<(), ReplayError> {
    let bytes = hex::decode(&letter.record).unwrap_or_default();
    if bytes.is_empty() {
        return Err(ReplayError::NoRecord);
    }
    let record = <S::Record<'_>>::decode(&bytes)?;
    let passed = sink.positions().position(of).await?.is_some_and(|(position, _)| position >= letter.last);
    if !passed {
        return Err(ReplayError::NotPassed);
    }
    let (journal, writer) = (journal_of(of, letter.position), Uuid::new_v4());
    let step = Step {
        journal,
        writer,
        from: Position::START,
        through: Position::START.next(),
        at: now,
        pacing_window: Duration::ZERO,
        is_replay: true,
    };
    let position = sink.positions().register(journal, writer, now).await?;
    // Somebody else may have applied it and taken it out since it was listed; then this journal is a new one.
    let is_there = letters.list()?.iter().any(|listed| listed.position == letter.position);
    if position == Position::START && is_there {
        sink.apply(&step, &[record]).await?;
    }
    letters.remove(letter.position)?;
    Ok(sink.positions().forget(journal).await?)
}

/// The same letter is always the same journal.
fn journal_of(of: JournalId, position: Position) -> JournalId {
    let digest = sha256(&[b"dead letter", of.0.as_bytes(), &position.0.to_be_bytes()]);
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    JournalId(uuid::Builder::from_custom_bytes(half).into_uuid())
}
