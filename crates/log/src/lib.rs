//! The seam between a log and those who follow it: positions, records, corrupt ranges, dead letters.
//!
//! An applier reads a log through [`LogReader`], tells it through [`Offsets`] how far its database is, and sets aside in a
//! [`DeadLetterQueue`] what its database will never take. Weir's own journal implements the three; whatever else is an ordered
//! log of bytes can. Nothing here does I/O, and nothing here knows a database.
//!
//! Invariants, which every log keeps:
//! - Positions grow and are never given twice. They may leave a gap of [`POSITION_GAP`]; nothing else is left out.
//! - What was read once is read again as it was, until it is trimmed.
//! - Nothing beyond [`LogReader::end`] is ever read: it is not durable yet.

mod dead_letter;
mod position;
mod reader;

pub use dead_letter::{DeadLetter, DeadLetterQueue, DeadLetterReason};
pub use position::{JournalId, POSITION_GAP, Position, records_between};
pub use reader::{AcceptedDatabase, CorruptRange, LogReader, LogRecord, Offsets, ReadError, ReadLimits, RecordBatch};

/// A future in a box: the traits here are used as objects, once a batch.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
