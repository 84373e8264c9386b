//! Chunks that are begun before their turn, so that a database works on several of them while a backlog is applied.
//!
//! Bounds: as many as the sink says, 4 MiB each, and none unless many batches are behind: what little there is makes one
//! transaction. Invariants: turns come in the order of positions; only [`Sink::finish`], in its turn, moves the position; a
//! chunk is used only when it follows the position that was reached.
//!
//! What is begun waits in this process for the step before it, and that step may wait in the database for what is begun: a
//! counter of an operator's trigger is enough. No database sees that circle, only its bound on waiting for a lock ends
//! it. So a failure takes back everything that is begun, and for a while there is one step at a time.
//!
//! Each chunk has a task from its beginning to the end of its turn: its records are borrowed from it, and are taken apart once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

use super::batch_size::BatchSize;
use super::decoded::Decoded;
use super::pump::APPLY;
use crate::journal::{Chunk, Position};
use crate::store::{Applied, Sink, Step, StoreError, within};
use crate::telemetry::{Telemetry, name};

/// So many batches behind, or more, are a backlog.
const BACKLOG_BATCHES: u64 = 4;
/// How long beginning a step may take; its turn waits for it.
const BEGIN: Duration = Duration::from_secs(10);
/// For how long nothing is begun after a failure.
const REST: Duration = Duration::from_secs(30);

/// What became of a chunk that was to be begun, as a metric's label has it.
const BEGUN: &str = "begun";
const FAILED: &str = "failed";

/// The chunks of one writer that are begun, the next one first.
pub(super) struct Early<S: Sink> {
    sink: Arc<S>,
    database: &'static str,
    telemetry: Arc<Telemetry>,
    chunks: VecDeque<EarlyChunk>,
    rests_until: Option<Instant>,
}

/// A chunk that was to be begun, when its turn has come.
pub(super) enum EarlyTurn {
    Begun(EarlyChunk),
    /// It could not be, or there was nothing to begin.
    Plain(Chunk),
}

/// A chunk with the position that it follows and the one that it leads to. Dropped, what of it was written is taken back.
pub(super) struct EarlyChunk {
    after: Position,
    pub through: Position,
    pub records: usize,
    /// When its first record was acknowledged.
    pub oldest_at_ms: Option<u64>,
    begun: oneshot::Receiver<Result<bool, StoreError>>,
    turn: Option<oneshot::Sender<Step>>,
    task: JoinHandle<(Chunk, Option<Result<Applied, StoreError>>)>,
}

impl EarlyChunk {
    /// Does the rest, and moves the position. The chunk comes back with what became of it.
    ///
    /// # Errors
    /// When its task ended without it.
    ///
    /// # Panics
    /// When its task panicked: to whoever supervises the writer it is the same.
    pub async fn finish(mut self, step: Step) -> Result<(Chunk, Result<Applied, StoreError>), StoreError> {
        if let Some(turn) = self.turn.take() {
            // A task that is gone says so below.
            let _ = turn.send(step);
        }
        match self.end().await {
            // A guard: only what is begun is given a turn.
            Ok((chunk, None)) => Ok((chunk, Err(StoreError::Unavailable("a step was not begun".to_owned())))),
            Ok((chunk, Some(applied))) => Ok((chunk, applied)),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(StoreError::Unavailable(format!("a step's task ended: {error}"))),
            },
        }
    }

    async fn end(&mut self) -> Result<(Chunk, Option<Result<Applied, StoreError>>), JoinError> {
        (&mut self.task).await
    }
}

impl Drop for EarlyChunk {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<S: Sink> Early<S> {
    pub fn of(sink: Arc<S>, database: &'static str, telemetry: Arc<Telemetry>) -> Self {
        Self { sink, database, telemetry, chunks: VecDeque::new(), rests_until: None }
    }

    /// The chunk that follows a position, if it is among them; waits until it is begun.
    pub async fn next(&mut self, after: Position) -> Option<EarlyTurn> {
        let mut next = self.chunks.pop_front()?;
        if next.after != after {
            self.take_back();
            return None;
        }
        match (&mut next.begun).await {
            Ok(Ok(true)) => return Some(EarlyTurn::Begun(next)),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => self.cannot_begin(&error),
            Err(_) => self.rest(),
        }
        // Without a turn it ends by itself.
        next.turn = None;
        match next.end().await {
            Ok((chunk, _)) => Some(EarlyTurn::Plain(chunk)),
            Err(error) => {
                // In its turn it is written in another way, so that nobody has to die of this.
                tracing::error!(database = self.sink.describe(), %error, "a batch could not be begun before its turn");
                self.count(FAILED);
                self.take_back();
                None
            }
        }
    }

    /// From where on another chunk is to be begun, if so many records as are durable behind that are a backlog; `after` is
    /// where the chunk ends whose turn it is. A database that is too slow for a whole batch gets one at a time.
    pub fn wants(
        &self,
        after: Position,
        batch: &BatchSize,
        records_behind: impl FnOnce(Position) -> u64,
    ) -> Option<Position> {
        let from = self.ends_at(after);
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        let has_room = self.chunks.len() < self.sink.begun_at_most();
        let is_backlog = |from| records_behind(from) >= BACKLOG_BATCHES * batch.records() as u64;
        (has_room && batch.is_whole() && !rests && is_backlog(from)).then_some(from)
    }

    /// Where the last chunk that is begun ends, or `after` when there is none.
    pub fn ends_at(&self, after: Position) -> Position {
        self.chunks.back().map_or(after, |last| last.through)
    }

    /// Begins the chunk that follows a position.
    pub fn begin(&mut self, after: Position, chunk: Chunk) {
        let (through, records) = (chunk.through, chunk.entries.len());
        let oldest_at_ms = chunk.oldest_at_ms();
        let ((says_begun, begun), (turn, its_turn)) = (oneshot::channel(), oneshot::channel());
        let task = tokio::spawn(lead(Arc::clone(&self.sink), chunk, says_begun, its_turn));
        let chunk = EarlyChunk { after, through, records, oldest_at_ms, begun, turn: Some(turn), task };
        self.chunks.push_back(chunk);
    }

    /// Takes back what is begun: it is read and applied again.
    pub fn take_back(&mut self) {
        self.chunks.clear();
    }

    /// Takes back what is begun, and begins nothing for a while, because a step has failed.
    pub fn give_up(&mut self) {
        if !self.chunks.is_empty() {
            self.rest();
        }
        self.take_back();
    }

    /// What was begun is applied.
    pub fn finished(&self) {
        self.count(BEGUN);
    }

    /// What was begun is to be applied as if it had not been.
    pub fn not_finished(&self, error: &StoreError) {
        tracing::info!(database = self.sink.describe(), %error, "a batch that was begun before its turn is applied afresh");
        self.count(FAILED);
    }

    /// A verdict on a record comes again in its turn. Anything else may have been for want of a connection or a lock.
    fn cannot_begin(&mut self, error: &StoreError) {
        self.count(FAILED);
        tracing::debug!(database = self.sink.describe(), %error, "a batch could not be begun before its turn");
        if !matches!(error, StoreError::Refused(_) | StoreError::Repeated) {
            self.rest();
        }
    }

    fn rest(&mut self) {
        self.rests_until = Some(Instant::now() + REST);
    }

    fn count(&self, result: &'static str) {
        self.telemetry.count(name::WRITER_EARLY_BATCHES, &[("database", self.database), ("result", result)], 1);
    }
}

/// One chunk's way: begun, if all of it is whole; finished in its turn, if there is one. Anything else is for a plain turn.
async fn lead<S: Sink>(
    sink: Arc<S>,
    chunk: Chunk,
    says_begun: oneshot::Sender<Result<bool, StoreError>>,
    turn: oneshot::Receiver<Step>,
) -> (Chunk, Option<Result<Applied, StoreError>>) {
    let applied = async {
        let decoded = Decoded::<S::Record<'_>>::of(&chunk.entries);
        let begun = if decoded.is_whole() && chunk.damage.is_empty() {
            within(BEGIN, sink.begin(&decoded.records)).await
        } else {
            Ok(None)
        };
        let (begun, said) = match begun {
            Ok(begun) => {
                let is_begun = begun.is_some();
                (begun, Ok(is_begun))
            }
            Err(error) => (None, Err(error)),
        };
        // Whoever does not listen does not give a turn either.
        let _ = says_begun.send(said);
        let (begun, step) = (begun?, turn.await.ok()?);
        Some(within(APPLY, sink.finish(&step, &decoded.records, begun)).await)
    };
    let applied = applied.await;
    (chunk, applied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::PostgresAnalytics;
    use crate::store::sqlite::SqliteAnalytics;

    const BATCH: u64 = 100;
    /// As many behind as there can be.
    const MANY: fn(Position) -> u64 = |_| u64::MAX;

    fn early<S: Sink>(sink: S) -> Early<S> {
        Early::of(Arc::new(sink), "analytics", Telemetry::new())
    }

    fn nowhere() -> PostgresAnalytics {
        PostgresAnalytics::open("postgres://nobody@127.0.0.1:1/nothing").unwrap()
    }

    fn chunk(through: u64) -> Chunk {
        Chunk { through: Position(through), ..Chunk::default() }
    }

    #[tokio::test]
    async fn only_a_backlog_is_begun_and_no_more_of_it_than_the_sink_says() {
        let batch = BatchSize::of(100);
        let mut early = early(nowhere());
        assert_eq!(early.wants(Position(10), &batch, |_| 4 * BATCH - 1), None);
        let up_to = |durable: u64| move |from: Position| durable - from.0;
        assert_eq!(early.wants(Position(10), &batch, up_to(10 + 5 * BATCH)), Some(Position(10)));
        early.begin(Position(10), chunk(10 + BATCH));
        assert_eq!(early.wants(Position(10), &batch, up_to(10 + 5 * BATCH)), Some(Position(10 + BATCH)));
        early.begin(Position(10 + BATCH), chunk(10 + 2 * BATCH));
        assert_eq!(early.wants(Position(10), &batch, MANY), None, "two are begun");

        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("file.db").display());
        let early = self::early(SqliteAnalytics::open(&url).unwrap());
        assert_eq!(early.wants(Position(10), &batch, MANY), None, "SQLite has one writer");
    }

    #[tokio::test]
    async fn a_database_that_is_too_slow_for_a_batch_gets_one_at_a_time() {
        let mut batch = BatchSize::of(100);
        let early = early(nowhere());
        batch.failed_after(Duration::from_secs(30));
        assert_eq!(early.wants(Position(0), &batch, MANY), None);
        batch.went_through(Duration::from_millis(1));
        assert_eq!(early.wants(Position(0), &batch, MANY), Some(Position(0)));
    }

    #[tokio::test]
    async fn after_a_failure_that_took_back_what_was_begun_there_is_one_step_at_a_time() {
        let batch = BatchSize::of(100);
        let mut early = early(nowhere());
        let wants = |early: &Early<_>| early.wants(Position(0), &batch, MANY).is_some();
        early.give_up();
        assert!(wants(&early), "nothing was begun, so nothing of it can be why");
        early.begin(Position(0), chunk(BATCH));
        early.take_back();
        assert!(wants(&early), "a record was refused");
        early.begin(Position(0), chunk(BATCH));
        early.give_up();
        assert!(!wants(&early));
        early.rests_until = Some(Instant::now());
        assert!(wants(&early));
    }

    #[tokio::test]
    async fn what_cannot_be_begun_has_its_turn_all_the_same() {
        let batch = BatchSize::of(100);
        let mut early = early(nowhere());
        early.begin(Position(0), chunk(BATCH));
        let turn = early.next(Position(0)).await;
        assert!(matches!(turn, Some(EarlyTurn::Plain(chunk)) if chunk.through == Position(BATCH)));
        early.cannot_begin(&StoreError::Repeated);
        assert!(early.wants(Position(0), &batch, MANY).is_some(), "that was a verdict");
        early.cannot_begin(&StoreError::Unavailable("no places left".to_owned()));
        assert_eq!(early.wants(Position(0), &batch, MANY), None);
    }

    #[tokio::test]
    async fn a_chunk_that_does_not_follow_is_read_again() {
        let mut early = early(nowhere());
        early.begin(Position(0), chunk(BATCH));
        early.begin(Position(BATCH), chunk(2 * BATCH));
        assert!(early.next(Position(1)).await.is_none());
        assert_eq!(early.ends_at(Position(1)), Position(1), "what follows it does not follow either");
    }
}
