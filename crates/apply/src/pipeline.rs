//! Pipelined apply: batches that are prepared before their turn, so that a database works on several of them while a backlog
//! is applied.
//!
//! Bounds: as many as the sink says, 4 MiB each, and none unless many batches are behind: what little there is makes one
//! transaction. Invariants: turns come in the order of positions; only [`Sink::commit_prepared`], in its turn, moves the position; a
//! batch is used only when it follows the position that was reached.
//!
//! What is prepared waits in this process for the step before it, and that step may wait in the database for what is prepared: a
//! counter of an operator's trigger is enough. No database sees that circle, only its bound on waiting for a lock ends
//! it. So a failure takes back everything that is prepared, and for a while there is one step at a time.
//!
//! Each batch has a task from its beginning to the end of its turn: its records are borrowed from it, and are decoded once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

use weir_log::{Position, RecordBatch};
use weir_store::{Applied, Sink, Step, StoreError, within};

use super::decoded::Decoded;
use super::{APPLY_TIMEOUT, ApplyObserver, Pacing};

/// So many batches behind, or more, are a backlog.
const BACKLOG_BATCHES: u64 = 4;
/// How long preparing a step may take; its turn waits for it.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long nothing is prepared after a failure.
const REST: Duration = Duration::from_secs(30);

/// The batches of one writer that are prepared, the next one first.
pub(super) struct Pipeline<S: Sink> {
    sink: Arc<S>,
    observer: Arc<dyn ApplyObserver>,
    batches: VecDeque<PreparedBatch>,
    rests_until: Option<Instant>,
}

/// A batch that was to be prepared, when its turn has come.
pub(super) enum PipelineTurn {
    Prepared(PreparedBatch),
    /// It could not be, or there was nothing to begin.
    Plain(RecordBatch),
}

/// A batch with the position that it follows and the one that it leads to. Dropped, what of it was written is taken back.
pub(super) struct PreparedBatch {
    after: Position,
    pub through: Position,
    pub records: usize,
    /// When its first record was acknowledged.
    pub oldest_at_ms: Option<u64>,
    prepared: oneshot::Receiver<Result<bool, StoreError>>,
    turn: Option<oneshot::Sender<Step>>,
    task: JoinHandle<(RecordBatch, Option<Result<Applied, StoreError>>)>,
}

impl PreparedBatch {
    /// Does the rest, and moves the position. The batch comes back with what became of it.
    ///
    /// # Errors
    /// When its task ended without it.
    ///
    /// # Panics
    /// When its task panicked: to whoever supervises the writer it is the same.
    pub async fn commit(mut self, step: Step) -> Result<(RecordBatch, Result<Applied, StoreError>), StoreError> {
        if let Some(turn) = self.turn.take() {
            // A task that is gone says so below.
            let _ = turn.send(step);
        }
        match self.end().await {
            // A guard: only what is prepared is given a turn.
            Ok((batch, None)) => Ok((batch, Err(StoreError::Unavailable("a step was not prepared".to_owned())))),
            Ok((batch, Some(applied))) => Ok((batch, applied)),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(StoreError::Unavailable(format!("a step's task ended: {error}"))),
            },
        }
    }

    async fn end(&mut self) -> Result<(RecordBatch, Option<Result<Applied, StoreError>>), JoinError> {
        (&mut self.task).await
    }
}

impl Drop for PreparedBatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<S: Sink> Pipeline<S> {
    pub fn new(sink: Arc<S>, observer: Arc<dyn ApplyObserver>) -> Self {
        Self { sink, observer, batches: VecDeque::new(), rests_until: None }
    }

    /// The batch that follows a position, if it is among them; waits until it is prepared.
    pub async fn next(&mut self, after: Position) -> Option<PipelineTurn> {
        let mut next = self.batches.pop_front()?;
        if next.after != after {
            self.take_back();
            return None;
        }
        match (&mut next.prepared).await {
            Ok(Ok(true)) => return Some(PipelineTurn::Prepared(next)),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => self.cannot_prepare(&error),
            Err(_) => self.rest(),
        }
        // Without a turn it ends by itself.
        next.turn = None;
        match next.end().await {
            Ok((batch, _)) => Some(PipelineTurn::Plain(batch)),
            Err(error) => {
                // In its turn it is written in another way, so that nobody has to die of this.
                tracing::error!(database = self.sink.describe(), %error, "batch could not be prepared before its turn");
                self.observer.pipelined(false);
                self.take_back();
                None
            }
        }
    }

    /// From where on another batch is to be prepared, if so many records as are durable behind that are a backlog; `after` is
    /// where the batch ends whose turn it is. A database that is too slow for a whole batch gets one at a time.
    pub fn wants(
        &self,
        after: Position,
        pacing: &Pacing,
        records_behind: impl FnOnce(Position) -> u64,
    ) -> Option<Position> {
        let from = self.ends_at(after);
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        let has_room = self.batches.len() < self.sink.pipeline_depth();
        let is_backlog = |from| records_behind(from) >= BACKLOG_BATCHES * pacing.batch_records() as u64;
        (has_room && pacing.batch_is_whole() && !rests && is_backlog(from)).then_some(from)
    }

    /// Where the last batch that is prepared ends, or `after` when there is none.
    pub fn ends_at(&self, after: Position) -> Position {
        self.batches.back().map_or(after, |last| last.through)
    }

    /// Begins the batch that follows a position.
    pub fn prepare(&mut self, after: Position, batch: RecordBatch) {
        let (through, records) = (batch.through, batch.records.len());
        let oldest_at_ms = batch.oldest_at_ms();
        let ((says_prepared, prepared), (turn, its_turn)) = (oneshot::channel(), oneshot::channel());
        let task = tokio::spawn(lead(Arc::clone(&self.sink), batch, says_prepared, its_turn));
        let batch = PreparedBatch { after, through, records, oldest_at_ms, prepared, turn: Some(turn), task };
        self.batches.push_back(batch);
    }

    /// Takes back what is prepared: it is read and applied again.
    pub fn take_back(&mut self) {
        self.batches.clear();
    }

    /// Takes back what is prepared, and begins nothing for a while, because a step has failed.
    pub fn give_up(&mut self) {
        if !self.batches.is_empty() {
            self.rest();
        }
        self.take_back();
    }

    /// What was prepared is committed.
    pub fn committed(&self) {
        self.observer.pipelined(true);
    }

    /// What was prepared is to be applied as if it had not been.
    pub fn not_committed(&self, error: &StoreError) {
        tracing::info!(database = self.sink.describe(), %error, "batch that was prepared before its turn is applied afresh");
        self.observer.pipelined(false);
    }

    /// A verdict on a record comes again in its turn. Anything else may have been for want of a connection or a lock.
    fn cannot_prepare(&mut self, error: &StoreError) {
        self.observer.pipelined(false);
        tracing::debug!(database = self.sink.describe(), %error, "batch could not be prepared before its turn");
        if !error.is_verdict() && !matches!(error, StoreError::Repeated) {
            self.rest();
        }
    }

    fn rest(&mut self) {
        self.rests_until = Some(Instant::now() + REST);
    }
}

/// One batch's way: prepared, if all of it is whole; finished in its turn, if there is one. Anything else is for a plain turn.
async fn lead<S: Sink>(
    sink: Arc<S>,
    batch: RecordBatch,
    says_prepared: oneshot::Sender<Result<bool, StoreError>>,
    turn: oneshot::Receiver<Step>,
) -> (RecordBatch, Option<Result<Applied, StoreError>>) {
    let applied = async {
        let decoded = Decoded::<S::Record<'_>>::of(&batch.records);
        let prepared = if decoded.is_whole() && batch.corrupt.is_empty() {
            within(PREPARE_TIMEOUT, sink.prepare(&decoded.records)).await
        } else {
            Ok(None)
        };
        let (prepared, said) = match prepared {
            Ok(prepared) => {
                let is_prepared = prepared.is_some();
                (prepared, Ok(is_prepared))
            }
            Err(error) => (None, Err(error)),
        };
        // Whoever does not listen does not give a turn either.
        let _ = says_prepared.send(said);
        let (prepared, step) = (prepared?, turn.await.ok()?);
        Some(within(APPLY_TIMEOUT, sink.commit_prepared(&step, &decoded.records, prepared)).await)
    };
    let applied = applied.await;
    (batch, applied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_store::postgres::PostgresAnalytics;
    use weir_store::sqlite::SqliteAnalytics;

    const BATCH: u64 = 100;
    /// As many behind as there can be.
    const MANY: fn(Position) -> u64 = |_| u64::MAX;

    fn pipeline<S: Sink>(sink: S) -> Pipeline<S> {
        Pipeline::new(Arc::new(sink), Arc::new(()))
    }

    fn nowhere() -> PostgresAnalytics {
        PostgresAnalytics::open("postgres://nobody@127.0.0.1:1/nothing").unwrap()
    }

    fn batch(through: u64) -> RecordBatch {
        RecordBatch { through: Position(through), ..RecordBatch::default() }
    }

    #[tokio::test]
    async fn pipelined_apply_prepares_backlog_up_to_sink_limit() {
        let pacing = Pacing::new(100, Duration::ZERO);
        let mut pipeline = pipeline(nowhere());
        assert_eq!(pipeline.wants(Position(10), &pacing, |_| 4 * BATCH - 1), None);
        let up_to = |durable: u64| move |from: Position| durable - from.0;
        assert_eq!(pipeline.wants(Position(10), &pacing, up_to(10 + 5 * BATCH)), Some(Position(10)));
        pipeline.prepare(Position(10), batch(10 + BATCH));
        assert_eq!(pipeline.wants(Position(10), &pacing, up_to(10 + 5 * BATCH)), Some(Position(10 + BATCH)));
        pipeline.prepare(Position(10 + BATCH), batch(10 + 2 * BATCH));
        assert_eq!(pipeline.wants(Position(10), &pacing, MANY), None, "two are prepared");

        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("file.db").display());
        let pipeline = self::pipeline(SqliteAnalytics::open(&url).unwrap());
        assert_eq!(pipeline.wants(Position(10), &pacing, MANY), None, "SQLite has one writer");
    }

    #[tokio::test]
    async fn pipelined_apply_stops_while_batch_size_is_reduced() {
        let mut pacing = Pacing::new(100, Duration::ZERO);
        let pipeline = pipeline(nowhere());
        pacing.failed_after(Duration::from_secs(30));
        assert_eq!(pipeline.wants(Position(0), &pacing, MANY), None);
        pacing.committed_after(Duration::from_millis(1));
        assert_eq!(pipeline.wants(Position(0), &pacing, MANY), Some(Position(0)));
    }

    #[tokio::test]
    async fn pipelined_apply_pauses_after_failure_with_prepared_batches() {
        let pacing = Pacing::new(100, Duration::ZERO);
        let mut pipeline = pipeline(nowhere());
        let wants = |pipeline: &Pipeline<_>| pipeline.wants(Position(0), &pacing, MANY).is_some();
        pipeline.give_up();
        assert!(wants(&pipeline), "nothing was prepared, so nothing of it can be why");
        pipeline.prepare(Position(0), batch(BATCH));
        pipeline.take_back();
        assert!(wants(&pipeline), "a record was refused");
        pipeline.prepare(Position(0), batch(BATCH));
        pipeline.give_up();
        assert!(!wants(&pipeline));
        pipeline.rests_until = Some(Instant::now());
        assert!(wants(&pipeline));
    }

    #[tokio::test]
    async fn pipelined_apply_that_cannot_prepare_applies_in_turn() {
        let pacing = Pacing::new(100, Duration::ZERO);
        let mut pipeline = pipeline(nowhere());
        pipeline.prepare(Position(0), batch(BATCH));
        let turn = pipeline.next(Position(0)).await;
        assert!(matches!(turn, Some(PipelineTurn::Plain(batch)) if batch.through == Position(BATCH)));
        pipeline.cannot_prepare(&StoreError::Repeated);
        assert!(pipeline.wants(Position(0), &pacing, MANY).is_some(), "that was a verdict");
        pipeline.cannot_prepare(&StoreError::Unavailable("no places left".to_owned()));
        assert_eq!(pipeline.wants(Position(0), &pacing, MANY), None);
    }

    #[tokio::test]
    async fn pipelined_apply_discards_batch_that_does_not_follow() {
        let mut pipeline = pipeline(nowhere());
        pipeline.prepare(Position(0), batch(BATCH));
        pipeline.prepare(Position(BATCH), batch(2 * BATCH));
        assert!(pipeline.next(Position(1)).await.is_none());
        assert_eq!(pipeline.ends_at(Position(1)), Position(1), "what follows it does not follow either");
    }
}
