//! The applier: brings the records of any log into any sink, in order, exactly once.
//!
//! An [`Applier`] follows a [`weir_log::LogReader`], hands batches of decoded records to a [`weir_store::Sink`], and tells
//! [`weir_log::Offsets`] how far the database is. The sink commits the rows *and* the log's position in one transaction: that
//! is the whole of exactly-once, whatever is killed when.
//!
//! - `applier`: the loop's steps: read on, apply with the position, retry, bisect, set aside.
//! - `fencing`: where the database stands, and whether that is this log's.
//! - `prefetch`, `decoded`: the next records, read and decoded.
//! - `pipeline`: batches of a backlog that are written in part before their turn.
//! - `pacing`, `backoff`: when the next transaction begins, with how many records, over how long.
//! - `dead_letters`: what cannot be applied; `replay`: one dead letter's second chance.
//! - `time`: its pauses, which a simulation does not wait for.
//! - `catch_up`, `state`, `observer`, `throughput`: what of it others see.
//!
//! Invariants: the position in the database moves only with the records that it covers; a dead database holds up nothing but
//! its own log; memory holds a handful of batches, however long the outage was. It knows no HTTP and no actor, and nothing of
//! what a log is made of.

mod applier;
mod backoff;
mod catch_up;
mod dead_letters;
mod decoded;
mod error;
mod fencing;
mod observer;
mod pacing;
mod pipeline;
mod prefetch;
mod replay;
mod state;
mod throughput;
mod time;
mod verdict;

pub use applier::{Applier, ApplierParts};
pub use backoff::Backoff;
pub use observer::ApplyObserver;
pub use pacing::Pacing;
pub use replay::{ReplayError, replay};
pub use state::{ApplierPhase, ApplierState};
pub use throughput::Throughput;
#[cfg(feature = "virtual-time")]
pub use time::{VirtualTime, with_time};

/// How long a transaction may take before its database counts as away. Longer than the server's own bound on a statement.
const APPLY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(35);
