//! Reading a journal back in order, as a consumer of a replicated log would.
//!
//! Invariants: nothing past the durable position is read; a corrupt range is reported with its file, its offset and
//! the positions it cost, and what is whole on both sides of it is delivered.
//! Cost: one read of about what the batch will hold, or of one record where that is longer; up to `ReadLimits::bytes` at a
//! time through a corrupt range, however long it is; payloads are slices of that buffer, nothing is copied.

use super::disk::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use weir_log::{BoxFuture, CorruptRange, LogReader, LogRecord, ReadError, ReadLimits, RecordBatch};

use super::format::{FRAME_HEAD_BYTES, Frame, FrameCodec, HEADER_BYTES, Parsed};
use super::index::{Segment, SegmentIndex};
use super::shared::Shared;
use super::{JournalId, Position};

/// A reader of one journal with a place of its own.
pub struct JournalReader {
    shared: Arc<Shared>,
    segments: SegmentReader,
}

impl JournalReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let segments = SegmentReader::new(shared.id, Arc::clone(&shared.index));
        Self { shared, segments }
    }

    /// Which of a process's journals this is, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.shared.name
    }
}

impl LogReader for JournalReader {
    fn id(&self) -> JournalId {
        self.shared.id
    }

    fn end(&self) -> Position {
        self.shared.durable()
    }

    fn next_position(&self) -> Position {
        let segments = &self.shared.index;
        let begun = segments.with(|segments| segments.last().map_or(Position::START, |segment| segment.first));
        begun.max(self.end().next())
    }

    fn trim_point(&self) -> Position {
        self.shared.trim_point()
    }

    fn records_between(&self, after: Position, through: Position) -> u64 {
        self.shared.index.records_between(after, through)
    }

    fn wait_beyond(&self, position: Position) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            loop {
                let moved = shared.durable_moved.notified();
                if shared.durable() > position || shared.is_closed() {
                    return;
                }
                moved.await;
            }
        })
    }

    fn read(&mut self, after: Position, up_to: Position, limits: ReadLimits) -> Result<RecordBatch, ReadError> {
        self.segments.read(after, up_to, limits)
    }

    fn fork(&self) -> Box<dyn LogReader> {
        Box::new(Self::new(Arc::clone(&self.shared)))
    }
}

/// Reads segments, whoever appends to them.
pub struct SegmentReader {
    codec: FrameCodec,
    index: Arc<SegmentIndex>,
    cursor: Option<Cursor>,
}

/// The least that is read at once.
const READ_MIN_BYTES: usize = 64 << 10;

/// A place in an open segment: everything up to `passed` lies before `offset`.
struct Cursor {
    path: PathBuf,
    file: File,
    offset: u64,
    passed: Position,
    /// What a frame took in the last read: an estimate of what the next ones take, so that a batch is read once.
    frame_bytes: usize,
}

impl Cursor {
    /// How much to read for so many records.
    fn estimate(&self, records: u64, most: usize) -> usize {
        let bytes = usize::try_from(records).unwrap_or(usize::MAX).saturating_mul(self.frame_bytes);
        bytes.saturating_add(bytes / 8).max(READ_MIN_BYTES).min(most)
    }
}

impl SegmentReader {
    pub(super) fn new(id: JournalId, index: Arc<SegmentIndex>) -> Self {
        Self { codec: FrameCodec::new(id), index, cursor: None }
    }

    /// As [`LogReader::read`].
    ///
    /// # Errors
    /// When a file cannot be opened or read; the call can be repeated.
    pub fn read(&mut self, after: Position, up_to: Position, limits: ReadLimits) -> Result<RecordBatch, ReadError> {
        let mut batch = RecordBatch { through: after, ..RecordBatch::default() };
        while batch.through < up_to && batch.records.is_empty() {
            let Some((segment, end)) = self.segment_after(batch.through) else { break };
            let end = end.unwrap_or(up_to).min(up_to);
            lose(&mut batch, &segment.path, 0, segment.previous.min(up_to));
            if batch.through >= up_to {
                break;
            }
            let mut cursor = self.cursor_in(&segment, batch.through)?;
            let read = fill(&self.codec, &mut cursor, &mut batch, &segment, end, limits);
            read.map_err(|source| ReadError { path: segment.path.clone(), source })?;
            self.cursor = Some(cursor);
        }
        Ok(batch)
    }

    /// The segment that holds the record after `after`, and its own last position (`None`: it is the newest).
    fn segment_after(&self, after: Position) -> Option<(Segment, Option<Position>)> {
        self.index.with(|segments| {
            let at = segments.windows(2).take_while(|pair| pair[1].previous <= after).count();
            Some((segments.get(at)?.clone(), segments.get(at + 1).map(|next| next.previous)))
        })
    }

    fn cursor_in(&mut self, segment: &Segment, through: Position) -> Result<Cursor, ReadError> {
        if let Some(cursor) = self.cursor.take_if(|cursor| cursor.path == segment.path && cursor.passed <= through) {
            return Ok(cursor);
        }
        let path = segment.path.clone();
        let file = File::open(&path).map_err(|source| ReadError { path: path.clone(), source })?;
        Ok(Cursor { path, file, offset: HEADER_BYTES as u64, passed: Position::START, frame_bytes: 512 })
    }
}

/// Names everything between what was read and `last` as corrupt.
fn lose(batch: &mut RecordBatch, file: &Path, offset: u64, last: Position) {
    if last > batch.through {
        batch.corrupt.push(CorruptRange { file: file.to_owned(), offset, first: batch.through.next(), last });
        batch.through = last;
    }
}

/// Reads from the cursor on until something was found, or the segment's end is reached.
fn fill(
    codec: &FrameCodec,
    cursor: &mut Cursor,
    batch: &mut RecordBatch,
    segment: &Segment,
    end: Position,
    limits: ReadLimits,
) -> io::Result<()> {
    // A jump before the segment's first position is no loss.
    batch.through = batch.through.max(Position(segment.first.0 - 1)).min(end);
    let records = (end.0 - batch.through.0).min(limits.records as u64);
    let mut want = cursor.estimate(records, limits.bytes).max(FRAME_HEAD_BYTES);
    let mut corrupt_from = None;
    while batch.through < end && batch.records.is_empty() {
        let (buffer, at_end) = read_at(&mut cursor.file, cursor.offset, want)?;
        let mut at = 0;
        while batch.through < end && batch.records.len() < limits.records {
            match codec.parse(&buffer[at..]) {
                Parsed::Whole(frame) => {
                    let offset = corrupt_from.take().unwrap_or(cursor.offset + at as u64);
                    if frame.position > end {
                        // Beyond the segment's own end: left over from a batch that failed.
                        lose(batch, &segment.path, offset, end);
                        break;
                    }
                    let payload = buffer.slice(at + FRAME_HEAD_BYTES..at + frame.disk_bytes());
                    take(batch, &segment.path, offset, &frame, payload);
                    cursor.passed = cursor.passed.max(frame.position);
                    at += frame.disk_bytes();
                }
                Parsed::Short(needed) if !at_end => {
                    want = want.max(needed);
                    break;
                }
                Parsed::Short(_) | Parsed::Damaged => {
                    let from = *corrupt_from.get_or_insert(cursor.offset + at as u64);
                    match codec.find(&buffer, at + 1) {
                        Ok(found) => at = found,
                        Err(_) if at_end => lose(batch, &segment.path, from, end),
                        // With records in hand the stretch is left to the next batch, which names it.
                        Err(_) if !batch.records.is_empty() => break,
                        Err(begun) => {
                            at = begun;
                            want = want.max(limits.bytes);
                            break;
                        }
                    }
                }
            }
        }
        cursor.offset += at as u64;
        if let Some(frame_bytes) = at.checked_div(batch.records.len()) {
            cursor.frame_bytes = frame_bytes;
        }
    }
    Ok(())
}

fn take(batch: &mut RecordBatch, file: &Path, offset: u64, frame: &Frame<'_>, payload: Bytes) {
    if frame.position > batch.through {
        lose(batch, file, offset, Position(frame.position.0 - 1));
        batch.records.push(LogRecord { position: frame.position, appended_at_ms: frame.appended_at_ms, payload });
        batch.through = frame.position;
    }
}

fn read_at(file: &mut File, offset: u64, want: usize) -> io::Result<(Bytes, bool)> {
    file.seek(SeekFrom::Start(offset))?;
    // Not a vector of zeros to read into: clearing it would cost more than all else here.
    let mut buffer = Vec::with_capacity(want);
    file.take(want as u64).read_to_end(&mut buffer)?;
    let at_end = buffer.len() < want;
    Ok((Bytes::from(buffer), at_end))
}
