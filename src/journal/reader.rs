//! Reading a journal back in order, as a consumer of a replicated log would.
//!
//! Invariants: nothing past the durable position is read; a damaged stretch is reported with its file, its offset and
//! the positions it cost, and what is whole on both sides of it is delivered.
//! Cost: one read of about what the chunk will hold, or of one record where that is longer; up to `ReadLimits::bytes` at a
//! time through a damaged stretch, however long it is; payloads are slices of that buffer, nothing is copied.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::format::{FRAME_HEAD_BYTES, Frame, FrameCodec, HEADER_BYTES, Parsed};
use super::index::{Segment, SegmentIndex, given_between};
use super::{JournalId, Position};

/// One record of a chunk.
#[derive(Clone, Debug)]
pub struct Entry {
    pub position: Position,
    /// When it was acknowledged, in milliseconds since 1970.
    pub appended_at_ms: u64,
    pub payload: Bytes,
}

/// A stretch of a journal that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file.
    pub file: PathBuf,
    /// Where in the file the stretch begins.
    pub offset: u64,
    /// The first and last position that it cost. The last one is before the first when no record was in it.
    pub first: Position,
    pub last: Position,
}

impl Damage {
    /// How many records the stretch cost; positions that were jumped over are none.
    #[must_use]
    pub fn records(&self) -> u64 {
        given_between(Position(self.first.0.saturating_sub(1)), self.last)
    }
}

/// The next records after a position.
#[derive(Debug, Default)]
pub struct Chunk {
    pub entries: Vec<Entry>,
    pub damage: Vec<Damage>,
    /// Everything up to here is in this chunk, or was before it.
    pub through: Position,
}

/// How much one chunk may hold.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    pub records: usize,
    /// At least one record is read even when it is larger.
    pub bytes: usize,
}

/// Why reading failed. Trying again later is right: nothing was skipped.
#[derive(Debug, thiserror::Error)]
#[error("read journal segment {path}: {source}")]
pub struct FeedError {
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

/// A reader of one journal with a place of its own.
pub struct Feed {
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
    /// What a frame took in the last read: an estimate of what the next ones take, so that a chunk is read once.
    frame_bytes: usize,
}

impl Cursor {
    /// How much to read for so many records.
    fn estimate(&self, records: u64, most: usize) -> usize {
        let bytes = usize::try_from(records).unwrap_or(usize::MAX).saturating_mul(self.frame_bytes);
        bytes.saturating_add(bytes / 8).max(READ_MIN_BYTES).min(most)
    }
}

impl Feed {
    pub(super) fn new(id: JournalId, index: Arc<SegmentIndex>) -> Self {
        Self { codec: FrameCodec::new(id), index, cursor: None }
    }

    /// Reads on after `after`, at most up to `up_to`, which must be durable.
    ///
    /// # Errors
    /// When a file cannot be opened or read; the call can be repeated.
    pub fn read(&mut self, after: Position, up_to: Position, limits: ReadLimits) -> Result<Chunk, FeedError> {
        let mut chunk = Chunk { through: after, ..Chunk::default() };
        while chunk.through < up_to && chunk.entries.is_empty() {
            let Some((segment, end)) = self.segment_after(chunk.through) else { break };
            let end = end.unwrap_or(up_to).min(up_to);
            chunk.lose(&segment.path, 0, segment.previous.min(up_to));
            if chunk.through >= up_to {
                break;
            }
            let mut cursor = self.cursor_in(&segment, chunk.through)?;
            let read = fill(&self.codec, &mut cursor, &mut chunk, &segment, end, limits);
            read.map_err(|source| FeedError { path: segment.path.clone(), source })?;
            self.cursor = Some(cursor);
        }
        Ok(chunk)
    }

    /// The segment that holds the record after `after`, and its own last position (`None`: it is the newest).
    fn segment_after(&self, after: Position) -> Option<(Segment, Option<Position>)> {
        self.index.with(|segments| {
            let at = segments.windows(2).take_while(|pair| pair[1].previous <= after).count();
            Some((segments.get(at)?.clone(), segments.get(at + 1).map(|next| next.previous)))
        })
    }

    fn cursor_in(&mut self, segment: &Segment, through: Position) -> Result<Cursor, FeedError> {
        if let Some(cursor) = self.cursor.take_if(|cursor| cursor.path == segment.path && cursor.passed <= through) {
            return Ok(cursor);
        }
        let path = segment.path.clone();
        let file = File::open(&path).map_err(|source| FeedError { path: path.clone(), source })?;
        Ok(Cursor { path, file, offset: HEADER_BYTES as u64, passed: Position::START, frame_bytes: 512 })
    }
}

impl Chunk {
    /// When the first of its records was acknowledged.
    #[must_use]
    pub fn oldest_at_ms(&self) -> Option<u64> {
        self.entries.first().map(|entry| entry.appended_at_ms)
    }

    /// Names everything between what was read and `last` as lost.
    fn lose(&mut self, file: &std::path::Path, offset: u64, last: Position) {
        if last > self.through {
            self.damage.push(Damage { file: file.to_owned(), offset, first: self.through.next(), last });
            self.through = last;
        }
    }
}

/// Reads from the cursor on until something was found, or the segment's end is reached.
fn fill(
    codec: &FrameCodec,
    cursor: &mut Cursor,
    chunk: &mut Chunk,
    segment: &Segment,
    end: Position,
    limits: ReadLimits,
) -> io::Result<()> {
    // A jump before the segment's first position is no loss.
    chunk.through = chunk.through.max(Position(segment.first.0 - 1)).min(end);
    let records = (end.0 - chunk.through.0).min(limits.records as u64);
    let mut want = cursor.estimate(records, limits.bytes).max(FRAME_HEAD_BYTES);
    let mut damaged_from = None;
    while chunk.through < end && chunk.entries.is_empty() {
        let (buffer, at_end) = read_at(&mut cursor.file, cursor.offset, want)?;
        let mut at = 0;
        while chunk.through < end && chunk.entries.len() < limits.records {
            match codec.parse(&buffer[at..]) {
                Parsed::Whole(frame) => {
                    let offset = damaged_from.take().unwrap_or(cursor.offset + at as u64);
                    if frame.position > end {
                        // Beyond the segment's own end: left over from a batch that failed.
                        chunk.lose(&segment.path, offset, end);
                        break;
                    }
                    let payload = buffer.slice(at + FRAME_HEAD_BYTES..at + frame.disk_bytes());
                    take(chunk, &segment.path, offset, &frame, payload);
                    cursor.passed = cursor.passed.max(frame.position);
                    at += frame.disk_bytes();
                }
                Parsed::Short(needed) if !at_end => {
                    want = want.max(needed);
                    break;
                }
                Parsed::Short(_) | Parsed::Damaged => {
                    let from = *damaged_from.get_or_insert(cursor.offset + at as u64);
                    match codec.find(&buffer, at + 1) {
                        Ok(found) => at = found,
                        Err(_) if at_end => chunk.lose(&segment.path, from, end),
                        // With records in hand the stretch is left to the next chunk, which names it.
                        Err(_) if !chunk.entries.is_empty() => break,
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
        if let Some(frame_bytes) = at.checked_div(chunk.entries.len()) {
            cursor.frame_bytes = frame_bytes;
        }
    }
    Ok(())
}

fn take(chunk: &mut Chunk, file: &std::path::Path, offset: u64, frame: &Frame<'_>, payload: Bytes) {
    if frame.position > chunk.through {
        chunk.lose(file, offset, Position(frame.position.0 - 1));
        chunk.entries.push(Entry { position: frame.position, appended_at_ms: frame.appended_at_ms, payload });
        chunk.through = frame.position;
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
