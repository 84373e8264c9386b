//! Journal, applier and sink in a simulation: what drills find by luck, this finds by search.
//!
//! A seed is a [`plan::Plan`]: some instances, and what befalls them in which order. [`run`] does it on virtual disks, with a
//! virtual database and virtual pauses, on one thread: no file, no socket, no wait. What runs is the service's own code: the
//! journal with its recovery, commits, readers, collector and dead letters; the applier; the store's fold. What is virtual is
//! the disk ([`disk`]), the database's tables and transactions ([`database`]), and time.
//!
//! When a run has ended everything is mended, everybody works until nothing is left, and then must hold: what was acknowledged
//! is in the database or among the dead letters, once; what was refused is in neither; a keyed item is there once; counters of
//! sessions are what was applied to them.
//!
//! A [`Mutation`] takes one of the rules away by which this is so: a search that does not find it is worth nothing.
//!
//! Cost: some tens of microseconds a seed.

pub mod database;
pub mod disk;
mod ledger;
mod mutation;
pub mod plan;
pub mod random;
pub mod records;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use mutation::Mutation;
use plan::Plan;
use world::World;

/// Does what is planned. Must be called within a tokio runtime's context; no timer of it is waited for.
///
/// # Errors
/// What promise was not kept.
pub fn run(plan: Plan, mutation: Option<Mutation>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| World::new(plan, mutation).run())).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        Err(format!("panicked: {}", said.unwrap_or_default()))
    })
}

/// A run that did not keep a promise.
#[derive(Clone, Debug)]
pub struct Found {
    pub plan: Plan,
    pub what: String,
}

/// The first of these seeds whose run does not keep a promise.
///
/// # Panics
/// When there is no memory for a runtime.
#[must_use]
pub fn search(seeds: Range<u64>, mutation: Option<Mutation>) -> Option<Found> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime of one thread");
    let _entered = runtime.enter();
    seeds.map(Plan::of).find_map(|plan| {
        let what = run(plan.clone(), mutation).err()?;
        Some(Found { plan, what })
    })
}

/// The same failure with as few steps as can be.
///
/// # Panics
/// As [`search`].
#[must_use]
pub fn shortened(found: Found, mutation: Option<Mutation>) -> Found {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime of one thread");
    let _entered = runtime.enter();
    let mut shortest = found;
    let mut length = shortest.plan.steps.len();
    while length > 0 {
        let mut at = 0;
        while at + length <= shortest.plan.steps.len() {
            let mut plan = shortest.plan.clone();
            plan.steps.drain(at..at + length);
            match run(plan.clone(), mutation) {
                Err(what) => shortest = Found { plan, what },
                Ok(()) => at += 1,
            }
        }
        length /= 2;
    }
    shortest
}
