//! Chunks that are begun before their turn, so that a database works on several of them while a backlog is applied.
//!
//! Bounds: as many as the sink says, 4 MiB each, and none unless many batches are behind: what little there is makes one
//! transaction. Invariants: turns come in the order of positions; only [`Sink::finish`], in its turn, moves the position; a
//! chunk is used only when it follows the position that was reached, and all that are begun are taken back when one fails,
//! because it may be tried again for long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::decoded::Decoded;
use crate::journal::{Chunk, Position};
use crate::store::{Sink, within};

/// So many batches behind, or more, are a backlog.
const BACKLOG_BATCHES: usize = 4;

/// A chunk whose turn it is, and what of it is written already.
pub(super) struct Turn<S: Sink> {
    pub chunk: Chunk,
    pub begun: Option<S::Begun>,
}

impl<S: Sink> Turn<S> {
    pub const fn of(chunk: Chunk) -> Self {
        Self { chunk, begun: None }
    }

    /// Begins what is whole; anything else is judged in its turn.
    async fn begin(sink: Arc<S>, chunk: Chunk, limit: Duration) -> Self {
        let begun = {
            let decoded = Decoded::<S::Record<'_>>::of(&chunk.entries);
            if decoded.is_whole() && chunk.damage.is_empty() {
                // A failure comes again in its turn, and is told then.
                within(limit, sink.begin(&decoded.records)).await.ok().flatten()
            } else {
                None
            }
        };
        Self { chunk, begun }
    }
}

/// The chunks of one writer that are begun, the next one first.
pub(super) struct Early<S: Sink> {
    sink: Arc<S>,
    begun: VecDeque<Begun<S>>,
}

/// A chunk with the position that it follows and the one that it leads to. It ends with whoever waits for it.
struct Begun<S: Sink> {
    after: Position,
    through: Position,
    turn: JoinHandle<Turn<S>>,
}

impl<S: Sink> Drop for Begun<S> {
    fn drop(&mut self) {
        self.turn.abort();
    }
}

impl<S: Sink> Early<S> {
    pub fn of(sink: Arc<S>) -> Self {
        Self { sink, begun: VecDeque::new() }
    }

    /// The chunk that follows a position, if it was begun; waits until it is.
    pub async fn next(&mut self, after: Position) -> Option<Turn<S>> {
        let mut next = self.begun.pop_front()?;
        let turn = if next.after == after { (&mut next.turn).await.ok() } else { None };
        if turn.is_none() {
            self.take_back();
        }
        turn
    }

    /// From where on another chunk is to be begun, if so many records up to `durable` are a backlog of batches of `batch`
    /// records; `after` is where the chunk ends whose turn it is.
    pub fn wants(&self, after: Position, durable: Position, batch: usize) -> Option<Position> {
        let from = self.ends_at(after);
        let behind = durable.0.saturating_sub(from.0);
        (self.begun.len() < self.sink.begun_at_most() && behind >= (BACKLOG_BATCHES * batch) as u64).then_some(from)
    }

    /// Where the last chunk that is begun ends, or `after` when there is none.
    pub fn ends_at(&self, after: Position) -> Position {
        self.begun.back().map_or(after, |last| last.through)
    }

    /// Begins the chunk that follows a position, within a time.
    pub fn begin(&mut self, after: Position, chunk: Chunk, limit: Duration) {
        let through = chunk.through;
        let turn = tokio::spawn(Turn::begin(Arc::clone(&self.sink), chunk, limit));
        self.begun.push_back(Begun { after, through, turn });
    }

    /// Takes back what is begun: it is read and applied again.
    pub fn take_back(&mut self) {
        self.begun.clear();
    }
}
