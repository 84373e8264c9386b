//! What an applier tells of itself. Health and metrics read it, without asking the applier.

use std::sync::{Mutex, PoisonError};

/// What an applier is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplierPhase {
    /// The database was not seen yet in this run.
    Starting,
    /// Applying, or waiting for records.
    Up,
    /// The database is away; the applier tries again.
    Away,
    /// Something else is in the way: the journal's files, the dead letters, the schema. The applier tries again.
    Blocked,
    /// Somebody must look: going on could skip or double records.
    Halted,
}

impl ApplierPhase {
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

/// The phase, shared, and why it is one in which nothing is applied.
#[derive(Debug)]
pub struct ApplierState(Mutex<(ApplierPhase, String)>);

impl Default for ApplierState {
    fn default() -> Self {
        Self(Mutex::new((ApplierPhase::Starting, String::new())))
    }
}

impl ApplierState {
    #[must_use]
    pub fn phase(&self) -> ApplierPhase {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Why the applier is blocked or halted; empty while it is not.
    #[must_use]
    pub fn reason(&self) -> String {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            (ApplierPhase::Blocked | ApplierPhase::Halted, reason) => reason.clone(),
            _ => String::new(),
        }
    }

    /// Sets the phase; true when it is another one than before.
    pub(super) fn enter(&self, phase: ApplierPhase) -> bool {
        self.enter_for(phase, "")
    }

    /// Sets the phase, and why; true when the phase is another one than before.
    pub(super) fn enter_for(&self, phase: ApplierPhase, reason: &str) -> bool {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = current.0 != phase;
        *current = (phase, reason.to_owned());
        changed
    }
}
