//! What is found in a directory: its segments, where they begin and end, and a torn tail, which is cut.
//!
//! Invariant: corruption costs what it hits. A header that is gone is made up for by the frames, which name themselves.

use super::disk::{self as fs, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::control_files::write_durably;
use super::error::OpenError;
use super::format::{FRAME_HEAD_BYTES, FrameCodec, HEADER_BYTES, HeaderError, Parsed, SegmentHeader};
use super::index::Segment;
use super::layout::{TORN_TAIL, is_segment};
use super::{JournalId, Position};
use weir_log::records_between;

pub(super) fn list(path: &Path) -> Result<Vec<Segment>, OpenError> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(path).map_err(OpenError::io(path, "list"))? {
        let entry = entry.map_err(OpenError::io(path, "list"))?;
        let path = entry.path();
        if !is_segment(&path) {
            continue;
        }
        let first = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let Some(first) = first.filter(|first| (1..=Position::MAX.0).contains(first)) else {
            return Err(OpenError::Segment { path, reason: "its name is no position".to_owned() });
        };
        let bytes = match entry.metadata() {
            Ok(metadata) => metadata.len(),
            // Deleted since, by the collector of a running server.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(OpenError::io(&path, "look at")(error)),
        };
        let first = Position(first);
        segments.push(Segment {
            path,
            first,
            previous: Position(first.0 - 1),
            first_at_ms: None,
            bytes,
            applied_since: None,
        });
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// A segment's header: `None` when it is damaged, an error when it is whole and of a format that this version does not read.
pub(super) fn header_of(path: &Path) -> Result<Option<SegmentHeader>, OpenError> {
    let mut bytes = [0; HEADER_BYTES];
    let mut file = File::open(path).map_err(OpenError::io(path, "open"))?;
    match file.read_exact(&mut bytes) {
        Ok(()) => match SegmentHeader::decode(&bytes) {
            Err(error @ HeaderError::Version(_)) => {
                Err(OpenError::Segment { path: path.to_owned(), reason: error.to_string() })
            }
            decoded => Ok(decoded.ok()),
        },
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(source) => Err(OpenError::Io { path: path.to_owned(), action: "read", source }),
    }
}

/// Takes over what the headers say. A damaged header costs nothing: every frame names itself, and where the segment before
/// ended is found there. Returns how many bytes were read for that.
pub(super) fn read_headers(
    segments: &mut [Segment],
    id: JournalId,
    trim_point: Position,
    codec: &FrameCodec,
) -> Result<u64, OpenError> {
    let mut scanned_bytes = 0;
    for number in 0..segments.len() {
        let (before, rest) = segments.split_at_mut(number);
        let segment = &mut rest[0];
        segment.previous = match header_of(&segment.path)? {
            Some(SegmentHeader { journal: found, .. }) if found != id => {
                return Err(OpenError::ForeignSegment { path: segment.path.clone(), found, expected: id });
            }
            Some(header) if header.first == segment.first => header.previous,
            // The header of another segment tells nothing of this one.
            _ => {
                tracing::error!(segment = %segment.path.display(), "journal segment header is corrupt, its frames are read without it");
                let ended = match before.last() {
                    Some(before) => {
                        let found = scan(&before.path, codec)?;
                        scanned_bytes += found.bytes;
                        found.last.unwrap_or(before.previous)
                    }
                    None => trim_point,
                };
                // A gap is no loss; anything else before the first position may be one.
                let last = Position(segment.first.0 - 1);
                if records_between(ended, last) == 0 { ended.min(last) } else { last }
            }
        };
    }
    Ok(scanned_bytes)
}

pub(super) fn first_frame_at_ms(path: &Path, codec: &FrameCodec) -> Result<Option<u64>, OpenError> {
    let most = FRAME_HEAD_BYTES + super::MAX_RECORD_BYTES;
    let mut bytes = Vec::with_capacity(most);
    let mut file = File::open(path).map_err(OpenError::io(path, "open"))?;
    let found = file.seek(SeekFrom::Start(HEADER_BYTES as u64));
    found.and_then(|_| file.take(most as u64).read_to_end(&mut bytes)).map_err(OpenError::io(path, "read"))?;
    Ok(match codec.parse(&bytes) {
        Parsed::Whole(frame) => Some(frame.appended_at_ms),
        _ => None,
    })
}

pub(super) struct Scan {
    /// The highest position, which is not the last one in the file where the disk wrote a block to another's place.
    pub last: Option<Position>,
    /// Where the last whole frame ends.
    end: usize,
    /// How much was read.
    pub bytes: u64,
}

pub(super) fn scan(path: &Path, codec: &FrameCodec) -> Result<Scan, OpenError> {
    let bytes = fs::read(path).map_err(OpenError::io(path, "read"))?;
    let mut found = Scan { last: None, end: HEADER_BYTES, bytes: bytes.len() as u64 };
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        match codec.parse(&bytes[at..]) {
            Parsed::Whole(frame) => {
                at += frame.disk_bytes();
                found = Scan { last: found.last.max(Some(frame.position)), end: at, ..found };
            }
            Parsed::Short(_) | Parsed::Damaged => match codec.find(&bytes, at + 1) {
                Ok(next) => at = next,
                Err(_) => break,
            },
        }
    }
    Ok(found)
}

/// Cuts what follows the last whole frame: zeros that the file ran ahead with, or the rest of an append that was never
/// acknowledged.
pub(super) fn cut_tail(segment: &mut Segment, codec: &FrameCodec) -> Result<Scan, OpenError> {
    let path = &segment.path;
    let found = scan(path, codec)?;
    let end = found.end as u64;
    if segment.bytes > end {
        let (offset, torn) = torn_bytes(path, found.end)?;
        if !torn.is_empty() {
            tracing::warn!(segment = %path.display(), offset, cut_bytes = torn.len(), "journal ends in a torn record, cut");
            // Damage in the last acknowledged record looks like a torn append: what is cut is kept for whoever must tell
            // them apart, until the next cut.
            let directory = path.parent().unwrap_or(Path::new("."));
            if let Err(error) = write_durably(directory, TORN_TAIL, &torn) {
                tracing::warn!(%error, "the torn tail could not be kept aside");
            }
        }
        let file = OpenOptions::new().write(true).open(path).map_err(OpenError::io(path, "open"))?;
        file.set_len(end).and_then(|()| file.sync_all()).map_err(OpenError::io(path, "cut the torn tail of"))?;
        segment.bytes = end;
    }
    Ok(found)
}

/// What there is from here on but zeros, and where that begins.
fn torn_bytes(path: &Path, from: usize) -> Result<(usize, Vec<u8>), OpenError> {
    let bytes = fs::read(path).map_err(OpenError::io(path, "read"))?;
    let tail = bytes.get(from..).unwrap_or_default();
    let begin = tail.iter().position(|byte| *byte != 0).unwrap_or(tail.len());
    let end = tail.iter().rposition(|byte| *byte != 0).map_or(begin, |last| last + 1);
    Ok((from + begin, tail[begin..end].to_vec()))
}
