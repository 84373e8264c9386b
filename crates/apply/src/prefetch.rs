//! The next batch, read while the database still works on this one.
//!
//! Only where a whole batch more is durable already, that is while the writer catches up: taking what little there is
//! would make the next transaction a small one. Bounds: one batch, on one thread of the runtime's blocking pool.
//!
//! Invariant: what was prefetched is used only when it follows the position that was reached; after a failure, a restart
//! or a dead letter that is not so, it is read again.

use tokio::task::JoinHandle;

use weir_log::{LogReader, Position, ReadError, ReadLimits, RecordBatch};

/// What a reading ends with: the reader itself, and what it read.
type Reading = JoinHandle<(Box<dyn LogReader>, Result<RecordBatch, ReadError>)>;

/// A reader of a log, and the batch that it has prefetched.
pub(super) struct Prefetch {
    log: Box<dyn LogReader>,
    /// The reader that a reading has not taken along.
    reader: Option<Box<dyn LogReader>>,
    /// The position that is read from, and the reading.
    reading: Option<(Position, Reading)>,
    /// The position that it follows, and the batch.
    read: Option<(Position, RecordBatch)>,
}

impl Prefetch {
    pub fn new(log: Box<dyn LogReader>) -> Self {
        Self { log, reader: None, reading: None, read: None }
    }

    /// The log, for everything but reading records.
    pub fn log(&self) -> &dyn LogReader {
        self.log.as_ref()
    }

    /// What follows a position: the batch that was prefetched, or one that is read now.
    ///
    /// # Errors
    /// When a segment cannot be read; the call can be repeated.
    pub fn read(&mut self, after: Position, up_to: Position, limits: ReadLimits) -> Result<RecordBatch, ReadError> {
        match self.read.take() {
            Some((follows, batch)) if follows == after => Ok(batch),
            _ => self.reader.get_or_insert_with(|| self.log.fork()).read(after, up_to, limits),
        }
    }

    /// Begins to read what comes after a position, if that is a whole batch and not read already.
    pub fn begin(&mut self, after: Position, limits: ReadLimits) {
        let up_to = self.log.end();
        let is_read = self.read.as_ref().is_some_and(|(follows, _)| *follows == after);
        if is_read || up_to.0.saturating_sub(after.0) < limits.records as u64 {
            return;
        }
        let mut reader = self.reader.take().unwrap_or_else(|| self.log.fork());
        #[cfg(feature = "virtual-time")]
        if super::time::is_virtual() {
            // Nothing goes on beside: it is read at once.
            self.read = reader.read(after, up_to, limits).ok().map(|batch| (after, batch));
            self.reader = Some(reader);
            return;
        }
        let reading = tokio::task::spawn_blocking(move || {
            let batch = reader.read(after, up_to, limits);
            (reader, batch)
        });
        self.reading = Some((after, reading));
    }

    /// Waits for what [`Self::begin`] began.
    pub async fn finish(&mut self) {
        let Some((after, reading)) = self.reading.take() else { return };
        // A failure comes again, and is told, when the batch is read in its turn; so does a panic.
        if let Ok((reader, batch)) = reading.await {
            self.reader = Some(reader);
            self.read = batch.ok().map(|batch| (after, batch));
        }
    }
}
