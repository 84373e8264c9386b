//! Connections that know a schema as it was. A server plans a prepared statement anew after an operator's DDL, but refuses
//! one whose result has another type now, on this connection for as long as it lives.
//!
//! One such answer makes every connection of a pool that is older due: each is closed before it is used again. The moment is
//! one for the whole process: a renewal that was not needed costs a few connections, and the error does not say whose it was.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The SQLSTATE of "cached plan must not change result type".
pub(in super::super) const PLAN_IS_OLD: &str = "0A000";

static DUE_SINCE: Mutex<Option<Instant>> = Mutex::new(None);

/// Every connection that stands now is to be replaced.
pub(in super::super) fn is_due_now() {
    *DUE_SINCE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

/// Whether a connection of this age is from before.
pub(super) fn is_due(age: Duration) -> bool {
    DUE_SINCE.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| age > since.elapsed())
}
