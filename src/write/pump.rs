//! One writer's steps: read on in the journal, apply, move the position.
//!
//! Invariants:
//! - A step that failed is repeated with the same records and the same positions. If its COMMIT did arrive and only the
//!   answer was lost, the repeat finds the position moved by this very process, and takes it as done.
//! - A position that is not where this journal's records go on (`attach`) halts the writer.
//! - A record that the database refuses by itself is found by halving its batch, and is on disk as a dead letter before
//!   the position passes it.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::ahead::Ahead;
use super::aside::Aside;
use super::attach;
use super::backoff::Backoff;
use super::batch_size::BatchSize;
use super::catch_up::CatchUp;
use super::decoded::Decoded;
use super::distance::Distance;
use super::early::{Early, EarlyChunk, EarlyTurn};
use super::{WriterPhase, WriterState};
use crate::domain::Clock;
use crate::fail_points;
use crate::journal::{Chunk, DeadLetter, DeadLetterReason, Entry, FeedError, Journal, Position, ReadLimits};
use crate::store::{Applied, Sink, Step, StoreError, within};
use crate::telemetry::{Telemetry, WriterMetrics, name};

/// The most payload bytes of one transaction.
const BATCH_BYTES: usize = 4 << 20;
/// How long a transaction may take before its database counts as away. Longer than the server's own bound on a statement.
pub(super) const APPLY: Duration = Duration::from_secs(35);
/// How often a halted writer looks whether somebody has mended the position.
const HALTED_PAUSE: Duration = Duration::from_secs(10);

/// Why a writer pauses.
#[derive(Debug, thiserror::Error)]
pub(super) enum PumpError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error("dead letters cannot be written: {0}")]
    DeadLetters(std::io::Error),
    #[error("{0}")]
    Halted(String),
}

/// The state of one writer.
pub struct Pump<S: Sink> {
    sink: Arc<S>,
    journal: Journal,
    ahead: Ahead,
    early: Early<S>,
    aside: Aside,
    writer: Uuid,
    database: &'static str,
    metrics: WriterMetrics,
    telemetry: Arc<Telemetry>,
    state: Arc<WriterState>,
    backoff: Backoff,
    batch_size: BatchSize,
    distance: Distance,
    /// Where the database stands; `None` until it was asked.
    position: Option<Position>,
    /// The last reason to halt that the log has: an operator may mend one and find the next.
    halted_for: String,
    catch_up: Option<CatchUp>,
}

/// Records of a chunk that are applied together.
struct Span {
    records: Range<usize>,
    through: Position,
}

impl<S: Sink> Pump<S> {
    /// A pump for one journal and its database.
    #[must_use]
    pub fn new(
        sink: Arc<S>,
        journal: Journal,
        state: Arc<WriterState>,
        telemetry: Arc<Telemetry>,
        clock: Arc<Clock>,
    ) -> Self {
        let database = journal.name();
        Self {
            ahead: Ahead::default(),
            early: Early::of(Arc::clone(&sink), database, Arc::clone(&telemetry)),
            aside: Aside::of(&journal, Arc::clone(&telemetry), clock),
            writer: Uuid::new_v4(),
            metrics: telemetry.writer(database),
            position: None,
            halted_for: String::new(),
            catch_up: None,
            backoff: Backoff::default(),
            batch_size: BatchSize::of(sink.batch_records()),
            distance: Distance::of(sink.transactions_apart()),
            database,
            sink,
            journal,
            telemetry,
            state,
        }
    }

    /// Waits for records and applies one chunk of them, or pauses after a failure. False when the journal is closed
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

    async fn advance(&mut self) -> Result<bool, PumpError> {
        let position = match self.position {
            Some(position) => position,
            None => self.attach().await.inspect_err(|error| {
                if let PumpError::Store(error) = error {
                    self.count(error);
                }
            })?,
        };
        self.journal.wait_beyond(position).await;
        self.distance.keep(self.whole_batch_waits(position)).await;
        let durable = self.journal.durable();
        if durable <= position {
            return Ok(false);
        }
        let limits = ReadLimits { records: self.batch_size.records(), bytes: BATCH_BYTES };
        let turn = match self.early.next(position).await {
            Some(turn) => turn,
            None => EarlyTurn::Plain(self.ahead.read(&self.journal, position, durable, limits)?),
        };
        let (records, through, oldest_at_ms) = match &turn {
            EarlyTurn::Begun(chunk) => (chunk.records, chunk.through, chunk.oldest_at_ms),
            EarlyTurn::Plain(chunk) => (chunk.entries.len(), chunk.through, chunk.oldest_at_ms()),
        };
        if let Some(oldest_at_ms) = oldest_at_ms {
            self.journal.note_unapplied_since(oldest_at_ms);
        }
        self.begin_early(through, durable, limits);
        self.distance.begins(records, through, durable);
        let applied = match turn {
            EarlyTurn::Begun(chunk) => self.finish_chunk(position, chunk).await,
            EarlyTurn::Plain(chunk) => self.apply_chunk(position, &chunk, 0).await,
        };
        self.ahead.finish().await;
        if applied.is_err() {
            self.early.give_up();
        }
        applied.map(|()| true)
    }

    /// Begins what may be begun of what comes after a position, and to read on.
    fn begin_early(&mut self, after: Position, durable: Position, limits: ReadLimits) {
        let behind = |from| self.journal.records_between(from, durable);
        while let Some(from) = self.early.wants(after, &self.batch_size, behind) {
            // What cannot be read is told of in its turn.
            let Ok(chunk) = self.ahead.read(&self.journal, from, durable, limits) else { break };
            self.early.begin(from, chunk);
        }
        self.ahead.begin(&self.journal, self.early.ends_at(after), limits);
    }

    fn whole_batch_waits(&self, position: Position) -> bool {
        self.journal.durable().0.saturating_sub(position.0) >= self.batch_size.records() as u64
    }

    /// Brings the database to this version and asks where it stands.
    async fn attach(&mut self) -> Result<Position, PumpError> {
        let position = attach::position(self.sink.as_ref(), &self.journal, self.writer).await?;
        self.aside.take_back_beyond(position).map_err(PumpError::DeadLetters)?;
        self.journal.note_applied(position);
        self.position = Some(position);
        // A writer that was blocked is up when it has applied what blocked it, or has nothing to apply.
        let lag = self.journal.status().lag_records;
        if self.state.phase() != WriterPhase::Blocked || lag == 0 {
            self.state.enter(WriterPhase::Up);
            tracing::info!(database = self.sink.describe(), position = position.0, lag, "writer attached");
        }
        self.catch_up = CatchUp::begin(&self.journal, position);
        Ok(position)
    }

    /// Finishes a chunk that was begun. Where that fails it is applied as if it had not been: its connection was idle until
    /// its turn, and may have been ended for that alone.
    async fn finish_chunk(&mut self, from: Position, chunk: EarlyChunk) -> Result<(), PumpError> {
        let step = self.step_between(from, chunk.through);
        let (began, records) = (Instant::now(), chunk.records);
        let (chunk, applied) = chunk.finish(step).await?;
        match applied.inspect_err(|error| self.count(error)) {
            Ok(applied) => {
                fail_points::step("writer.committed");
                self.early.finished();
                self.applied(&step, records, &applied, began.elapsed());
                Ok(())
            }
            Err(error @ StoreError::Unavailable(_)) => {
                self.early.not_finished(&error);
                self.early.give_up();
                self.metrics.retries.increment(1);
                self.apply_chunk(from, &chunk, 1).await
            }
            Err(error @ StoreError::Refused(_)) => {
                self.early.not_finished(&error);
                self.apply_chunk(from, &chunk, 0).await
            }
            Err(error) => Err(error.into()),
        }
    }

    fn step_between(&self, from: Position, through: Position) -> Step {
        Step { journal: self.journal.id(), writer: self.writer, from, through, unhurried: Duration::ZERO }
    }

    /// Applies a chunk that was tried as a whole so many times.
    async fn apply_chunk(&mut self, from: Position, chunk: &Chunk, mut attempts: u32) -> Result<(), PumpError> {
        let Decoded { records, entries, undecodable, foreign } = Decoded::<S::Record<'_>>::of(&chunk.entries);
        // Whole, and not ours to judge: a later version wrote it, and will read it.
        if let Some((position, error)) = foreign {
            return Err(PumpError::Halted(format!(
                "the record at position {position} was written by another version of weir: {error}; start that version",
            )));
        }
        let damaged = chunk.damage.iter().map(|damage| self.aside.letter_of_damage(damage));
        let undecodable = undecodable
            .iter()
            .map(|(entry, error)| self.aside.letter(entry, DeadLetterReason::Undecodable, error.to_string()));
        self.set_aside(&damaged.chain(undecodable).collect::<Vec<_>>())?;
        let mut spans = vec![Span { records: 0..records.len(), through: chunk.through }];
        let (mut from, mut unhurried) = (from, self.distance.unhurried());
        while let Some(span) = spans.pop() {
            // The first span is the whole of the chunk.
            let step = Step { unhurried: std::mem::take(&mut unhurried), ..self.step_between(from, span.through) };
            match self.apply(&step, &records[span.records.clone()], std::mem::take(&mut attempts)).await {
                Ok(()) => from = span.through,
                Err(StoreError::Refused(_)) if span.records.len() > 1 => {
                    // Finding the record takes many transactions, and what is begun would be idle for as long.
                    self.early.take_back();
                    spans.extend(halves(&span, &entries));
                }
                Err(StoreError::Refused(reason)) if span.records.len() == 1 => {
                    let entry = entries[span.records.start];
                    self.set_aside(&[self.aside.letter(entry, DeadLetterReason::Refused, reason)])?;
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
            let applied = within(APPLY, self.sink.apply(step, records)).await;
            let rows = match applied.inspect_err(|error| self.count(error)) {
                Ok(applied) => {
                    fail_points::step("writer.committed");
                    applied
                }
                Err(StoreError::Moved { found, by, .. })
                    if attempts > 0 && found == step.through && by == self.writer.to_string() =>
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
                    self.early.give_up();
                    self.metrics.retries.increment(1);
                    if self.batch_size.failed_after(began.elapsed()) {
                        return Err(StoreError::Unavailable(format!("{reason}; taking fewer records at once")));
                    }
                    self.away(&reason);
                    tokio::time::sleep(self.backoff.next_pause()).await;
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
        self.journal.note_applied(step.through);
        self.backoff.reset();
        if self.state.enter(WriterPhase::Up) {
            tracing::info!(database = self.sink.describe(), "database is back");
            self.catch_up = CatchUp::begin(&self.journal, step.through);
        }
        self.batch_size.went_through(took);
        let (journal, batch) = (&self.journal, self.batch_size.records());
        if self.catch_up.as_mut().is_some_and(|catch_up| catch_up.reached(journal, step.through, batch)) {
            self.catch_up = None;
        }
        self.metrics.apply_seconds.record(took);
        self.metrics.batch_records.record_number(records);
        self.metrics.records.increment(records as u64);
        for (table, rows) in &applied.rows {
            self.telemetry.count(name::WRITER_ROWS, &[("database", self.database), ("table", table)], *rows);
        }
    }

    fn count(&self, error: &StoreError) {
        let labels = [("database", self.database), ("kind", error.kind())];
        self.telemetry.count(name::WRITER_ERRORS, &labels, 1);
    }

    fn away(&self, reason: &str) {
        if self.state.enter(WriterPhase::Away) {
            tracing::warn!(database = self.sink.describe(), reason, "database is away, records stay in the journal");
        }
    }

    async fn pause(&mut self, error: &PumpError) {
        // Whatever happened, the database is asked afresh where it stands.
        self.position = None;
        let database = self.sink.describe();
        let pause = match error {
            PumpError::Halted(reason) => {
                let is_new = self.state.enter(WriterPhase::Halted);
                if is_new || self.halted_for != *reason {
                    tracing::error!(database, reason, "writer halted, records stay in the journal");
                    self.halted_for.clone_from(reason);
                }
                HALTED_PAUSE
            }
            // Attaching afresh judges whose move it was.
            PumpError::Store(error @ StoreError::Moved { .. }) => {
                tracing::warn!(database, %error, "position was moved under the writer");
                self.backoff.next_pause()
            }
            PumpError::Store(StoreError::Unavailable(reason)) => {
                self.away(reason);
                self.backoff.next_pause()
            }
            error => {
                if self.state.enter(WriterPhase::Blocked) {
                    tracing::error!(database, %error, "writer is blocked, records stay in the journal");
                }
                self.backoff.next_pause()
            }
        };
        self.metrics.retries.increment(1);
        tokio::time::sleep(pause).await;
    }

    fn set_aside(&self, letters: &[DeadLetter]) -> Result<(), PumpError> {
        self.aside.put(letters).map_err(PumpError::DeadLetters)
    }
}

/// A span's two halves, the earlier one on top of the stack.
fn halves(span: &Span, entries: &[&Entry]) -> [Span; 2] {
    let middle = span.records.start + span.records.len() / 2;
    let first = Span { records: span.records.start..middle, through: entries[middle - 1].position };
    [Span { records: middle..span.records.end, through: span.through }, first]
}
