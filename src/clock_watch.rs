//! What is known of the clock: by how much it differs from each database's, and whether retention believes it.
//!
//! Maintenance writes it, health and metrics read it. A clock that is off is named, and takes nothing out of service:
//! records are kept and applied whatever it says.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// From here on a difference is more than a network and a busy machine make.
pub const SKEW_MS: i64 = 60_000;

/// Not looked at yet.
const UNKNOWN: i64 = i64::MIN;

/// The clock as one database sees it.
#[derive(Debug)]
pub struct ClockWatch {
    skew_ms: AtomicI64,
    retention_refused: AtomicBool,
}

impl Default for ClockWatch {
    fn default() -> Self {
        Self { skew_ms: AtomicI64::new(UNKNOWN), retention_refused: AtomicBool::new(false) }
    }
}

impl ClockWatch {
    /// By how much the clock is ahead. Whether that is a step: from close to far, or back.
    pub fn set_skew_ms(&self, skew_ms: i64) -> bool {
        let was_skewed = self.is_skewed();
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
        was_skewed != self.is_skewed()
    }

    /// Whether retention waits for an operator. Whether that is new.
    pub fn set_retention_refused(&self, is_refused: bool) -> bool {
        self.retention_refused.swap(is_refused, Ordering::Relaxed) != is_refused
    }

    /// By how much the clock is ahead, in milliseconds, once it is known.
    #[must_use]
    pub fn skew_ms(&self) -> Option<i64> {
        Some(self.skew_ms.load(Ordering::Relaxed)).filter(|skew_ms| *skew_ms != UNKNOWN)
    }

    /// Whether it is off by more than a minute.
    #[must_use]
    pub fn is_skewed(&self) -> bool {
        self.skew_ms().is_some_and(|skew_ms| skew_ms.saturating_abs() > SKEW_MS)
    }

    /// Whether retention waits for an operator.
    #[must_use]
    pub fn is_retention_refused(&self) -> bool {
        self.retention_refused.load(Ordering::Relaxed)
    }
}
