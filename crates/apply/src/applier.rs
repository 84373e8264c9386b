//! One applier's steps: read on in the log, apply, move the position.
//!
//! Invariants:
//! - A step that failed is repeated with the same records and the same positions. If its COMMIT did arrive and only the
//!   answer was lost, the repeat finds the position moved by this very process, and takes it as done.
//! - A position that is not where this log's records go on (`fencing`) halts the applier.
//! - A database that goes back is noticed within seconds, also while nothing comes in, and gets what it lacks again, where the
//!   log still has it.
//! - A record that the database refuses by itself is found among the others of its batch (`verdict`), and is on disk as a
//!   dead letter before the position passes it.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use weir_domain::Clock;
use weir_fail_points as fail_points;
use weir_log::{
    DeadLetter, DeadLetterQueue, DeadLetterReason, LogReader, LogRecord, Offsets, Position, ReadLimits, RecordBatch,
};
use weir_store::{Applied, Sink, Step, StoreError, within};

use super::backoff::Backoff;
use super::catch_up::CatchUp;
use super::dead_letters::DeadLetterWriter;
use super::decoded::Decoded;
use super::error::ApplyError;
use super::pipeline::{Pipeline, PipelineTurn, PreparedBatch};
use super::prefetch::Prefetch;
use super::verdict::{self, Verdict};
use super::{APPLY_TIMEOUT, ApplierPhase, ApplierState, ApplyObserver, Pacing, fencing, time};

/// The most payload bytes of one transaction.
const BATCH_BYTES: usize = 4 << 20;
/// How often a halted applier looks whether somebody has mended the position.
const HALTED_PAUSE: Duration = Duration::from_secs(10);
/// How often an applier that has nothing to apply asks the database where it stands.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// So many such looks in a row without an answer are an outage.
const LOOKS: u32 = 3;

/// What an applier is made of.
pub struct ApplierParts<S: Sink> {
    /// The database's name, in logs.
    pub database: &'static str,
    pub sink: Arc<S>,
    pub log: Box<dyn LogReader>,
    pub offsets: Arc<dyn Offsets>,
    pub dead_letters: Arc<dyn DeadLetterQueue>,
    pub state: Arc<ApplierState>,
    pub observer: Arc<dyn ApplyObserver>,
    pub clock: Arc<Clock>,
}

/// One log's way into one database.
pub struct Applier<S: Sink> {
    database: &'static str,
    sink: Arc<S>,
    prefetch: Prefetch,
    pipeline: Pipeline<S>,
    dead_letters: DeadLetterWriter,
    offsets: Arc<dyn Offsets>,
    /// What this applier calls itself in the database.
    id: Uuid,
    observer: Arc<dyn ApplyObserver>,
    state: Arc<ApplierState>,
    clock: Arc<Clock>,
    backoff: Backoff,
    pacing: Pacing,
    /// Where the database stands; `None` until it was asked.
    position: Option<Position>,
    /// The last reason to halt or to be blocked that the log has: an operator may mend one and find the next.
    halted_for: String,
    catch_up: Option<CatchUp>,
}

/// Records of a batch that are applied together.
struct Span {
    records: Range<usize>,
    through: Position,
}

impl<S: Sink> Applier<S> {
    /// An applier that has not begun.
    #[must_use]
    pub fn new(parts: ApplierParts<S>) -> Self {
        let ApplierParts { database, sink, log, offsets, dead_letters: queue, state, observer, clock } = parts;
        Self {
            database,
            prefetch: Prefetch::new(log),
            pipeline: Pipeline::new(Arc::clone(&sink), Arc::clone(&observer)),
            dead_letters: DeadLetterWriter {
                queue,
                database,
                observer: Arc::clone(&observer),
                clock: Arc::clone(&clock),
            },
            offsets,
            id: Uuid::new_v4(),
            position: None,
            halted_for: String::new(),
            catch_up: None,
            backoff: Backoff::default(),
            pacing: Pacing::new(sink.batch_records(), sink.min_commit_interval()),
            sink,
            observer,
            state,
            clock,
        }
    }

    fn log(&self) -> &dyn LogReader {
        self.prefetch.log()
    }

    /// Waits for records and applies one batch of them, or pauses after a failure. False when the log is closed
    /// and everything in it is applied.
    pub async fn step(&mut self) -> bool {
        match self.advance().await {
            Ok(more) => more,
            Err(error) => {
                self.pause(&error).await;
                true
            }
        }
    }

    async fn advance(&mut self) -> Result<bool, ApplyError> {
        let position = match self.position {
            Some(position) => position,
            None => self.attach().await.inspect_err(|error| {
                if let ApplyError::Store(error) = error {
                    self.count(error);
                }
            })?,
        };
        if !self.wait_beyond(position).await? {
            return Ok(true);
        }
        self.pacing.wait(self.whole_batch_waits(position)).await;
        let end = self.log().end();
        if end <= position {
            return Ok(false);
        }
        let limits = ReadLimits { records: self.pacing.batch_records(), bytes: BATCH_BYTES };
        let turn = match self.pipeline.next(position).await {
            Some(turn) => turn,
            None => PipelineTurn::Plain(self.prefetch.read(position, end, limits)?),
        };
        let (records, through, oldest_at_ms) = match &turn {
            PipelineTurn::Prepared(batch) => (batch.records, batch.through, batch.oldest_at_ms),
            PipelineTurn::Plain(batch) => (batch.records.len(), batch.through, batch.oldest_at_ms()),
        };
        if let Some(oldest_at_ms) = oldest_at_ms {
            self.offsets.set_oldest_unapplied(oldest_at_ms);
        }
        self.prepare_next(through, end, limits);
        self.pacing.begins(records, through, end);
        let applied = match turn {
            PipelineTurn::Prepared(batch) => self.commit_prepared(position, batch).await,
            PipelineTurn::Plain(batch) => self.apply_batch(position, &batch, 0).await,
        };
        self.prefetch.finish().await;
        if applied.is_err() {
            self.pipeline.give_up();
        }
        applied.map(|()| true)
    }

    /// Waits for records behind a position. Every few seconds, and when a reader doubts it, the database is asked whether it still
    /// stands there. False when it does not.
    async fn wait_beyond(&mut self, position: Position) -> Result<bool, ApplyError> {
        let mut failures = 0;
        loop {
            tokio::select! {
                biased;
                () = self.prefetch.log().wait_beyond(position) => return Ok(true),
                () = self.offsets.doubted() => {}
                () = time::sleep(LOOK_EVERY) => {}
            }
            match fencing::stands(self.sink.as_ref(), self.log().id()).await {
                Ok(found) if found == Some(position) => failures = 0,
                Ok(_) => {
                    // Attaching afresh judges why.
                    self.position = None;
                    self.pipeline.take_back();
                    return Ok(false);
                }
                // A connection may have been ended for being idle.
                Err(error) => {
                    failures += 1;
                    if failures >= LOOKS {
                        self.count(&error);
                        return Err(error.into());
                    }
                }
            }
        }
    }

    /// The database was restored, or another server has taken over.
    fn tell_rewind(&self, reached: Position, position: Position) {
        let records = self.log().records_between(position, reached);
        tracing::warn!(
            database = self.sink.describe(),
            was_at = reached.0,
            position = position.0,
            records,
            "database has gone back, what it lacks is applied again from the journal"
        );
        self.observer.rewound(records);
    }

    /// Prepares what may be prepared of what comes after a position, and reads on.
    fn prepare_next(&mut self, after: Position, end: Position, limits: ReadLimits) {
        loop {
            let behind = |from| self.prefetch.log().records_between(from, end);
            let Some(from) = self.pipeline.wants(after, &self.pacing, behind) else { break };
            // What cannot be read is reported in its turn.
            let Ok(batch) = self.prefetch.read(from, end, limits) else { break };
            self.pipeline.prepare(from, batch);
        }
        self.prefetch.begin(self.pipeline.ends_at(after), limits);
    }

    fn whole_batch_waits(&self, position: Position) -> bool {
        self.log().end().0.saturating_sub(position.0) >= self.pacing.batch_records() as u64
    }

    /// Brings the database to this version and asks where it stands.
    async fn attach(&mut self) -> Result<Position, ApplyError> {
        let (sink, offsets) = (self.sink.as_ref(), self.offsets.as_ref());
        let position = fencing::position(sink, self.database, self.log(), offsets, self.id, self.clock.now()).await?;
        let reached = self.offsets.reached();
        if position < reached {
            self.pipeline.take_back();
            // First of all nothing more is deleted, also where too much is.
            self.offsets.rewind(position);
        }
        fencing::not_deleted(self.log(), position)?;
        if position < reached {
            self.tell_rewind(reached, position);
        }
        self.dead_letters.take_back_beyond(position).map_err(ApplyError::DeadLetters)?;
        self.offsets.commit(position);
        self.position = Some(position);
        // An applier that was blocked is up when it has applied what blocked it, or has nothing to apply.
        let lag = self.log().records_between(position, self.log().end());
        if self.state.phase() != ApplierPhase::Blocked || lag == 0 {
            self.state.enter(ApplierPhase::Up);
            tracing::info!(database = self.sink.describe(), position = position.0, lag, "writer attached");
        }
        self.catch_up = CatchUp::begin(self.prefetch.log(), position);
        Ok(position)
    }

    /// Commits a batch that was prepared. Where that fails it is applied as if it had not been: its connection was idle until
    /// its turn, and may have been ended for that alone.
    async fn commit_prepared(&mut self, from: Position, batch: PreparedBatch) -> Result<(), ApplyError> {
        let step = self.step_between(from, batch.through);
        let (began, records) = (Instant::now(), batch.records);
        let (batch, applied) = batch.commit(step).await?;
        match applied.inspect_err(|error| self.count(error)) {
            Ok(applied) => {
                fail_points::step("writer.committed");
                self.pipeline.committed();
                self.applied(&step, records, &applied, began.elapsed());
                Ok(())
            }
            Err(error @ StoreError::Unavailable(_)) => {
                self.pipeline.not_committed(&error);
                self.pipeline.give_up();
                self.observer.retried();
                self.apply_batch(from, &batch, 1).await
            }
            Err(error) if error.is_verdict() => {
                self.pipeline.not_committed(&error);
                self.apply_batch(from, &batch, 0).await
            }
            Err(error) => Err(error.into()),
        }
    }

    fn step_between(&self, from: Position, through: Position) -> Step {
        Step {
            journal: self.log().id(),
            writer: self.id,
            from,
            through,
            at: self.clock.now(),
            pacing_window: Duration::ZERO,
            is_replay: false,
        }
    }

    /// Applies a batch that was tried as a whole so many times.
    async fn apply_batch(&mut self, from: Position, batch: &RecordBatch, attempts: u32) -> Result<(), ApplyError> {
        let Decoded { mut records, mut sources, undecodable, foreign } = Decoded::<S::Record<'_>>::of(&batch.records);
        // Whole, and not ours to judge: a later version wrote it, and will read it.
        if let Some((position, error)) = foreign {
            return Err(ApplyError::Halted(format!(
                "the record at position {position} was written by another version of weir: {error}; start that version",
            )));
        }
        let corrupt = batch.corrupt.iter().map(|range| self.dead_letters.of_range(range));
        let undecodable = undecodable.iter().map(|(source, error)| {
            self.dead_letters.of_record(source, DeadLetterReason::Undecodable, error.to_string())
        });
        self.set_aside(&corrupt.chain(undecodable).collect::<Vec<_>>())?;
        let step = Step { pacing_window: self.pacing.window(), ..self.step_between(from, batch.through) };
        let error = match self.apply(&step, &records, attempts).await {
            Err(error) if error.is_verdict() && !records.is_empty() => error,
            applied => return Ok(applied?),
        };
        // Finding the record takes its time, and what is prepared would be idle for as long.
        self.pipeline.take_back();
        let found = within(APPLY_TIMEOUT, self.sink.sift(&step, &records)).await.inspect_err(|error| self.count(error));
        let Verdict { refused, stuck } = match found {
            Ok(found) if !found.is_empty() => verdict::of(found, &sources),
            // Taken one by one, or not to be told in one transaction: a trigger may have ended it.
            _ if matches!(error, StoreError::Refused(_)) => Verdict::default(),
            _ => return Err(error.into()),
        };
        let mut through = batch.through;
        if let Some((stuck, _)) = &stuck {
            through = stuck.checked_sub(1).map_or(from, |before| sources[before].position);
            records.truncate(*stuck);
            sources.truncate(*stuck);
        }
        let letters = refused.iter().map(|(place, reason)| {
            self.dead_letters.of_record(sources[*place], DeadLetterReason::Refused, reason.clone())
        });
        self.set_aside(&letters.collect::<Vec<_>>())?;
        let is_kept: Vec<bool> = (0..records.len()).map(|place| !refused.contains_key(&place)).collect();
        let (mut of_record, mut of_source) = (is_kept.iter(), is_kept.iter());
        records.retain(|_| of_record.next() == Some(&true));
        sources.retain(|_| of_source.next() == Some(&true));
        if through > from {
            self.apply_halving(from, &records, &sources, through).await?;
        }
        stuck.map_or(Ok(()), |(_, error)| Err(error.into()))
    }

    /// Applies records, halving what is refused down to single ones.
    async fn apply_halving(
        &mut self,
        mut from: Position,
        records: &[S::Record<'_>],
        sources: &[&LogRecord],
        through: Position,
    ) -> Result<(), ApplyError> {
        let mut spans = vec![Span { records: 0..records.len(), through }];
        while let Some(span) = spans.pop() {
            let step = self.step_between(from, span.through);
            match self.apply(&step, &records[span.records.clone()], 0).await {
                Ok(()) => from = span.through,
                Err(StoreError::Refused(_)) if span.records.len() > 1 => {
                    spans.extend(halves(&span, sources));
                }
                Err(StoreError::Refused(reason)) if span.records.len() == 1 => {
                    let source = sources[span.records.start];
                    self.set_aside(&[self.dead_letters.of_record(source, DeadLetterReason::Refused, reason)])?;
                    spans.push(Span { records: span.records.end..span.records.end, through: span.through });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Applies one step that was tried so many times, again and again while the database is away.
    async fn apply(&mut self, step: &Step, records: &[S::Record<'_>], mut attempts: u32) -> Result<(), StoreError> {
        loop {
            let began = Instant::now();
            let applied = within(APPLY_TIMEOUT, self.sink.apply(step, records)).await;
            let rows = match applied.inspect_err(|error| self.count(error)) {
                Ok(applied) => {
                    fail_points::step("writer.committed");
                    applied
                }
                Err(StoreError::Moved { found, by, .. })
                    if attempts > 0 && found == step.through && by == self.id.to_string() =>
                {
                    tracing::info!(
                        database = self.sink.describe(),
                        position = found.0,
                        "a commit whose answer was lost had arrived"
                    );
                    Applied::default()
                }
                Err(StoreError::Unavailable(reason)) => {
                    attempts += 1;
                    tracing::debug!(database = self.sink.describe(), reason, attempts, "step failed, it is repeated");
                    self.pipeline.give_up();
                    self.observer.retried();
                    if self.pacing.failed_after(began.elapsed()) {
                        return Err(StoreError::Unavailable(format!("{reason}; taking fewer records at once")));
                    }
                    self.away(&reason);
                    time::sleep(self.backoff.next_pause()).await;
                    // Another server may have taken over; where there is none, the next attempt says so.
                    let _ = within(APPLY_TIMEOUT, self.sink.find_server()).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.applied(step, records.len(), &rows, began.elapsed());
            return Ok(());
        }
    }

    fn applied(&mut self, step: &Step, records: usize, applied: &Applied, took: Duration) {
        self.position = Some(step.through);
        self.offsets.commit(step.through);
        self.backoff.reset();
        if self.state.enter(ApplierPhase::Up) {
            tracing::info!(database = self.sink.describe(), "database is back");
            self.catch_up = CatchUp::begin(self.prefetch.log(), step.through);
        }
        self.pacing.committed_after(took);
        let (database, log, batch) = (self.database, self.prefetch.log(), self.pacing.batch_records());
        if self.catch_up.as_mut().is_some_and(|catch_up| catch_up.reached(database, log, step.through, batch)) {
            self.catch_up = None;
        }
        self.observer.applied(records, applied, took);
    }

    fn count(&self, error: &StoreError) {
        self.observer.failed(error);
    }

    fn away(&self, reason: &str) {
        if self.state.enter_for(ApplierPhase::Away, reason) {
            tracing::warn!(database = self.sink.describe(), reason, "database is away, records stay in the journal");
        }
    }

    async fn pause(&mut self, error: &ApplyError) {
        // Whatever happened, the database is asked afresh where it stands.
        self.position = None;
        let database = self.sink.describe();
        let pause = match error {
            ApplyError::Halted(reason) => {
                let is_new = self.state.enter_for(ApplierPhase::Halted, reason);
                if is_new || self.halted_for != *reason {
                    tracing::error!(database, reason, "writer halted, records stay in the journal");
                    self.halted_for.clone_from(reason);
                }
                HALTED_PAUSE
            }
            // Attaching afresh judges whose move it was.
            ApplyError::Store(error @ StoreError::Moved { .. }) => {
                tracing::warn!(database, %error, "position was moved under the writer");
                self.backoff.next_pause()
            }
            ApplyError::Store(StoreError::Unavailable(reason)) => {
                self.away(reason);
                self.backoff.next_pause()
            }
            error => {
                let reason = error.to_string();
                let is_new = self.state.enter_for(ApplierPhase::Blocked, &reason);
                if is_new || self.halted_for != reason {
                    tracing::error!(database, %error, "writer is blocked, records stay in the journal");
                    self.halted_for = reason;
                }
                self.backoff.next_pause()
            }
        };
        self.observer.retried();
        time::sleep(pause).await;
    }

    fn set_aside(&self, letters: &[DeadLetter]) -> Result<(), ApplyError> {
        self.dead_letters.add(letters).map_err(ApplyError::DeadLetters)
    }
}

/// A span's two halves, the earlier one on top of the stack.
fn halves(span: &Span, sources: &[&LogRecord]) -> [Span; 2] {
    let middle = span.records.start + span.records.len() / 2;
    let first = Span { records: span.records.start..middle, through: sources[middle - 1].position };
    [Span { records: middle..span.records.end, through: span.through }, first]
}
