//! Reading a log, and telling it how far its database is.

use std::path::PathBuf;

use bytes::Bytes;
use uuid::Uuid;

use super::{BoxFuture, JournalId, Position, records_between};

/// One record of a batch.
#[derive(Clone, Debug)]
pub struct LogRecord {
    pub position: Position,
    /// When it was acknowledged, in milliseconds since 1970.
    pub appended_at_ms: u64,
    pub payload: Bytes,
}

/// A stretch of a log that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorruptRange {
    /// The file, or whatever the log calls the place.
    pub file: PathBuf,
    /// Where in the file the stretch begins, in bytes.
    pub offset: u64,
    /// The first and last position that it cost. The last one is before the first when no record was in it.
    pub first: Position,
    pub last: Position,
}

impl CorruptRange {
    /// How many records the stretch cost; positions in a gap are none.
    #[must_use]
    pub fn records(&self) -> u64 {
        records_between(Position(self.first.0.saturating_sub(1)), self.last)
    }
}

/// The next records after a position.
#[derive(Debug, Default)]
pub struct RecordBatch {
    pub records: Vec<LogRecord>,
    pub corrupt: Vec<CorruptRange>,
    /// Everything up to here is in this batch, or was before it.
    pub through: Position,
}

impl RecordBatch {
    /// When the first of its records was acknowledged, in milliseconds since 1970.
    #[must_use]
    pub fn oldest_at_ms(&self) -> Option<u64> {
        self.records.first().map(|record| record.appended_at_ms)
    }
}

/// How much one batch may hold.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    pub records: usize,
    /// At least one record is read even when it is larger.
    pub bytes: usize,
}

/// Why reading failed. Trying again later is right: nothing was skipped.
#[derive(Debug, thiserror::Error)]
#[error("read {path}: {source}")]
pub struct ReadError {
    pub path: PathBuf,
    #[source]
    pub source: std::io::Error,
}

/// A reader of one log with a place of its own.
pub trait LogReader: Send + 'static {
    /// The log's identity.
    fn id(&self) -> JournalId;

    /// The last durable position.
    fn end(&self) -> Position;

    /// The position that the next record gets, or an earlier one. After a crash it lies a gap ahead of what is durable.
    fn next_position(&self) -> Position;

    /// How far records were trimmed. A database that stands before it was restored from an older copy.
    fn trim_point(&self) -> Position;

    /// How many records were given positions after one and up to another.
    fn records_between(&self, after: Position, through: Position) -> u64;

    /// Completes when the end is past `position`, or when nothing more will come.
    fn wait_beyond(&self, position: Position) -> BoxFuture<'static, ()>;

    /// Reads on after `after`, at most up to `up_to`, which must be durable. Blocks for as long as a read takes.
    ///
    /// # Errors
    /// When a file cannot be opened or read; the call can be repeated.
    fn read(&mut self, after: Position, up_to: Position, limits: ReadLimits) -> Result<RecordBatch, ReadError>;

    /// Another reader of the same log, at no place yet.
    fn fork(&self) -> Box<dyn LogReader>;
}

/// Another database than before, as an operator has accepted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedDatabase {
    pub id: String,
    /// What is not applied to it: it begins behind this.
    pub from: Position,
}

/// How far a log's database is: what the log may trim, what a read waits for, and who moved the offset.
pub trait Offsets: Send + Sync + 'static {
    /// The database has applied everything up to here.
    fn commit(&self, position: Position);

    /// How far the database was, in this process or, as far as that was written down, in an earlier one.
    fn reached(&self) -> Position;

    /// The database went back, and has applied no more than this. Nothing behind it is trimmed from here on.
    fn rewind(&self, position: Position);

    /// Completes when a reader finds the database further back than it is said to be here.
    fn doubted(&self) -> BoxFuture<'static, ()>;

    /// When the oldest record that is not applied was acknowledged, in milliseconds since 1970.
    fn set_oldest_unapplied(&self, appended_at_ms: u64);

    /// Writes down, durably, that an applier of this log calls itself so. See [`Self::knows_applier`].
    ///
    /// # Errors
    /// When it cannot be written; the applier must then not move any offset.
    fn remember_applier(&self, applier: Uuid) -> std::io::Result<()>;

    /// Whether an applier of this name ever followed this log. An offset that was moved by another one means that a copy of
    /// the log is in use somewhere. The empty name is an operator's, who set the offset by hand.
    fn knows_applier(&self, applier: &str) -> bool;

    /// The ids of the databases that this log was applied to; the last one is in use.
    ///
    /// # Errors
    /// When they cannot be read.
    fn databases(&self) -> std::io::Result<Vec<String>>;

    /// Writes down, durably, that the log is applied to this database from now on.
    ///
    /// # Errors
    /// When it cannot be written; nothing must then be applied.
    fn remember_database(&self, id: &str) -> std::io::Result<()>;

    /// What an operator has said: the log is to be applied to this database from now on, from behind a position.
    ///
    /// # Errors
    /// When it cannot be read.
    fn accepted_database(&self) -> std::io::Result<Option<AcceptedDatabase>>;

    /// Where the log is kept, for what an operator is told.
    fn location(&self) -> PathBuf;
}
