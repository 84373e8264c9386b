//! Deletes the segments that the database has applied.
//!
//! Away from the commit thread: unlinking 64 MiB takes milliseconds. Invariant: how far segments are deleted is on
//! disk before the first of them is, so that a database restored from an older copy is noticed, not silently skipped.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Supervised};

use super::directory::Directory;
use super::notes::other_bytes;
use super::{Journal, Position, reserve};
use crate::actor::Lifeline;

/// How often applied segments are looked for.
const EVERY: Duration = Duration::from_millis(500);

/// The supervised actor that sweeps one journal.
pub struct Keeper {
    journal: Journal,
    lifeline: Lifeline,
}

impl Keeper {
    #[must_use]
    pub fn new(journal: Journal, lifeline: Lifeline) -> Self {
        Self { journal, lifeline }
    }

    /// Deletes every segment whose records are all applied, never the newest. Blocks.
    ///
    /// # Errors
    /// When a file cannot be written or removed; what is left is found by the next sweep.
    pub fn sweep(journal: &Journal) -> std::io::Result<()> {
        reserve::hold(journal.path());
        // Letters may have been added, or taken away by hand.
        journal.index().other_bytes.store(other_bytes(journal.path()), Ordering::Relaxed);
        let applied = journal.applied();
        let index = journal.index();
        let done = index.with(|segments| segments.windows(2).take_while(|pair| pair[1].previous <= applied).count());
        if done == 0 {
            return Ok(());
        }
        let (paths, through): (Vec<_>, Position) = index.with(|segments| {
            let paths = segments.iter().take(done).map(|segment| segment.path.clone()).collect();
            (paths, segments.get(done).map_or(Position::START, |next| next.previous))
        });
        Directory::write_released(journal.path(), through)?;
        journal.note_released(through);
        for path in paths {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => index.with(|segments| segments.retain(|segment| segment.path != path)),
            }
        }
        journal.note_room();
        Ok(())
    }
}

impl Actor for Keeper {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(EVERY, |keeper, context| {
            let journal = keeper.journal.clone();
            keeper.lifeline.guard(context, move || {
                if let Err(error) = Self::sweep(&journal) {
                    tracing::warn!(journal = journal.name(), %error, "applied journal segments could not be deleted");
                }
            });
        });
    }
}

impl Supervised for Keeper {}
