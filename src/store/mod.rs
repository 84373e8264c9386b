//! The two databases, each on SQLite or PostgreSQL, behind one trait.
//!
//! A [`Sink`] takes a batch of records and the journal position they lead to in ONE transaction. That is the whole of
//! exactly-once: whatever is killed when, either both are there or neither. One conformance suite runs on all four.

mod error;
mod migrations;
mod position;
pub mod postgres;
pub mod settings;
pub mod sqlite;

use async_trait::async_trait;
use uuid::Uuid;

use crate::domain::{JournalRecord, UnixMillis};
use crate::journal::{JournalId, Position};

pub use error::StoreError;
pub use position::Positions;
pub use settings::SettingsTable;

/// One move of a journal's position.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub journal: JournalId,
    /// This process's writer; see `journal_positions.writer`.
    pub writer: Uuid,
    /// Where the database must stand; anything else rolls the step back.
    pub from: Position,
    /// Where it stands afterwards.
    pub through: Position,
}

/// What a step wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows by table.
    pub rows: Vec<(&'static str, u64)>,
}

/// What maintenance did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    pub partitions_made: u64,
    pub partitions_dropped: u64,
    pub rows_deleted: u64,
}

/// A database as a writer sees it.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// What the journal of this database carries.
    type Record: JournalRecord;

    /// Which database and which engine, for logs: `analytics on sqlite`.
    fn describe(&self) -> &'static str;

    /// The most records that are worth one transaction.
    fn batch_records(&self) -> usize;

    /// Brings the schema up to this version. Repeatable, and safe beside another instance.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// How far journals are applied here.
    fn positions(&self) -> &dyn Positions;

    /// Writes the records and moves the position, or does neither.
    async fn apply(&self, step: &Step, records: &[Self::Record]) -> Result<Applied, StoreError>;

    /// Makes what coming records need and drops what is past its retention (0 days: nothing).
    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError>;
}
