//! What a writer tells of itself. Health and metrics read it; nobody asks the actor.

use std::sync::{Mutex, PoisonError};

/// What a writer is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterPhase {
    /// The database was not seen yet in this run.
    Starting,
    /// Applying, or waiting for records.
    Up,
    /// The database is away; the writer tries again.
    Away,
    /// Something else is in the way: the journal's files, the dead letters, the schema. The writer tries again.
    Blocked,
    /// Somebody must look: going on could skip or double records.
    Halted,
}

impl WriterPhase {
    /// The word in answers of `/health/ready`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "ok",
            Self::Away => "unavailable",
            Self::Blocked => "blocked",
            Self::Halted => "halted",
        }
    }
}

/// The phase, shared.
#[derive(Debug)]
pub struct WriterState(Mutex<WriterPhase>);

impl Default for WriterState {
    fn default() -> Self {
        Self(Mutex::new(WriterPhase::Starting))
    }
}

impl WriterState {
    #[must_use]
    pub fn phase(&self) -> WriterPhase {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the phase; true when it is another one than before.
    pub(super) fn enter(&self, phase: WriterPhase) -> bool {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != phase;
        *current = phase;
        changed
    }
}
