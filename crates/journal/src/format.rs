//! The bytes of a segment: a header of 64 bytes, then frames.
//!
//! Header: magic, format version, journal id, position of the first frame, last position before this segment, crc.
//! Frame: magic, length, position, time, crc, payload; all integers little-endian. The crc covers everything but the
//! magic and starts from the journal's id, so a frame of another journal, or one that a client smuggled into a string,
//! is no frame of this one. Every frame names its own position: after damage the reader finds the next whole frame and
//! knows how many are missing.
//!
//! Invariant: a layout once released is only ever read; a change takes the next `FORMAT_VERSION`.

use super::{JournalId, MAX_RECORD_BYTES, Position};
use uuid::Uuid;

/// The layout that this build writes.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of a segment before its first frame.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a frame before its payload.
pub const FRAME_HEAD_BYTES: usize = 28;

const SEGMENT_MAGIC: [u8; 8] = *b"WEIRJRNL";
const FRAME_MAGIC: [u8; 4] = *b"WREC";

/// The first 64 bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub journal: JournalId,
    /// The position of the segment's first frame, when it has one.
    pub first: Position,
    /// The last position given before `first`. Positions between the two were never given: after an unclean stop the
    /// journal jumps ahead, so that no position is ever used twice.
    pub previous: Position,
}

/// Why 64 bytes are no header.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeaderError {
    #[error("not a journal segment")]
    Foreign,
    #[error("journal format {0} is not one this version reads")]
    Version(u32),
    #[error("the header's checksum does not match")]
    Checksum,
    #[error("the header names positions that were never given")]
    Positions,
}

impl SegmentHeader {
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(self.journal.0.as_bytes());
        bytes[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.previous.0.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        if bytes[0..8] != SEGMENT_MAGIC {
            return Err(HeaderError::Foreign);
        }
        if crc32fast::hash(&bytes[..60]).to_le_bytes() != bytes[60..64] {
            return Err(HeaderError::Checksum);
        }
        let version = u32_at(bytes, 8);
        if version != FORMAT_VERSION {
            return Err(HeaderError::Version(version));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[16..32]);
        let (first, previous) = (Position(u64_at(bytes, 32)), Position(u64_at(bytes, 40)));
        if previous >= first || first > Position::MAX {
            return Err(HeaderError::Positions);
        }
        Ok(Self { journal: JournalId(Uuid::from_bytes(id)), first, previous })
    }
}

/// A frame found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub position: Position,
    /// When it was appended, in milliseconds since 1970.
    pub appended_at_ms: u64,
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// The frame's whole length on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> usize {
        FRAME_HEAD_BYTES + self.payload.len()
    }
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    Whole(Frame<'a>),
    /// So far it may be a frame; it needs this many bytes in all.
    Short(usize),
    Damaged,
}

/// Reads and writes the frames of one journal.
#[derive(Clone)]
pub struct FrameCodec {
    seed: crc32fast::Hasher,
}

impl FrameCodec {
    #[must_use]
    pub fn new(journal: JournalId) -> Self {
        let mut seed = crc32fast::Hasher::new();
        seed.update(journal.0.as_bytes());
        Self { seed }
    }

    /// Appends a frame.
    ///
    /// # Panics
    /// When the payload is longer than 4 GiB; a journal refuses what is over [`MAX_RECORD_BYTES`].
    pub fn encode(&self, position: Position, appended_at_ms: u64, payload: &[u8], out: &mut Vec<u8>) {
        let length = u32::try_from(payload.len()).expect("append refuses payloads over MAX_RECORD_BYTES");
        let start = out.len();
        out.extend(FRAME_MAGIC);
        out.extend(length.to_le_bytes());
        out.extend(position.0.to_le_bytes());
        out.extend(appended_at_ms.to_le_bytes());
        let crc = self.crc(&out[start + 4..start + 24], payload);
        out.extend(crc.to_le_bytes());
        out.extend(payload);
    }

    #[must_use]
    pub fn parse<'a>(&self, bytes: &'a [u8]) -> Parsed<'a> {
        let known = bytes.len().min(4);
        if bytes[..known] != FRAME_MAGIC[..known] {
            return Parsed::Damaged;
        }
        if bytes.len() < FRAME_HEAD_BYTES {
            return Parsed::Short(FRAME_HEAD_BYTES);
        }
        let length = u32_at(bytes, 4) as usize;
        if length > MAX_RECORD_BYTES {
            return Parsed::Damaged;
        }
        let whole = FRAME_HEAD_BYTES + length;
        if bytes.len() < whole {
            return Parsed::Short(whole);
        }
        let payload = &bytes[FRAME_HEAD_BYTES..whole];
        if self.crc(&bytes[4..24], payload) != u32_at(bytes, 24) {
            return Parsed::Damaged;
        }
        let position = Position(u64_at(bytes, 8));
        if position == Position::START || position > Position::MAX {
            return Parsed::Damaged;
        }
        Parsed::Whole(Frame { position, appended_at_ms: u64_at(bytes, 16), payload })
    }

    /// The offset of the next whole frame at or after `from`.
    ///
    /// # Errors
    /// When there is none, with the first offset where one may begin that the bytes do not hold to its end.
    pub fn find(&self, bytes: &[u8], from: usize) -> Result<usize, usize> {
        let mut begun = None;
        let mut at = from;
        while let Some(next) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == FRAME_MAGIC[0])) {
            at += next;
            match self.parse(&bytes[at..]) {
                Parsed::Whole(_) => return Ok(at),
                Parsed::Short(_) => _ = begun.get_or_insert(at),
                Parsed::Damaged => {}
            }
            at += 1;
        }
        Err(begun.unwrap_or(bytes.len()))
    }

    fn crc(&self, head: &[u8], payload: &[u8]) -> u32 {
        let mut hasher = self.seed.clone();
        hasher.update(head);
        hasher.update(payload);
        hasher.finalize()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codec() -> FrameCodec {
        FrameCodec::new(JournalId(Uuid::from_u128(1)))
    }

    #[test]
    fn segment_header_round_trips_unless_changed() {
        let header =
            SegmentHeader { journal: JournalId(Uuid::from_u128(9)), first: Position(12), previous: Position(4) };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        let mut changed = bytes;
        changed[33] ^= 1;
        assert_eq!(SegmentHeader::decode(&changed), Err(HeaderError::Checksum));
        assert_eq!(SegmentHeader::decode(&[0; HEADER_BYTES]), Err(HeaderError::Foreign));
    }

    #[test]
    fn position_never_assigned_is_corrupt() {
        let journal = JournalId(Uuid::from_u128(1));
        for (first, previous) in [(0, 0), (5, 5), (5, 6), (u64::MAX, 4)] {
            let header = SegmentHeader { journal, first: Position(first), previous: Position(previous) };
            assert_eq!(SegmentHeader::decode(&header.encode()), Err(HeaderError::Positions), "{header:?}");
        }
        for position in [0, u64::MAX] {
            let mut bytes = Vec::new();
            codec().encode(Position(position), 0, b"x", &mut bytes);
            assert_eq!(codec().parse(&bytes), Parsed::Damaged, "{position}");
        }
    }

    #[test]
    fn frame_of_another_journal_is_corrupt() {
        let mut bytes = Vec::new();
        FrameCodec::new(JournalId(Uuid::from_u128(2))).encode(Position(1), 0, b"x", &mut bytes);
        assert_eq!(codec().parse(&bytes), Parsed::Damaged);
    }

    proptest! {
        #[test]
        fn frame_of_any_payload_round_trips(payload in proptest::collection::vec(any::<u8>(), 0..500), position in 1..=Position::MAX.0, at in any::<u64>()) {
            let mut bytes = Vec::new();
            codec().encode(Position(position), at, &payload, &mut bytes);
            prop_assert_eq!(
                codec().parse(&bytes),
                Parsed::Whole(Frame { position: Position(position), appended_at_ms: at, payload: &payload })
            );
            for cut in 0..bytes.len() {
                prop_assert!(matches!(codec().parse(&bytes[..cut]), Parsed::Short(_)));
            }
        }

        #[test]
        fn frame_with_flipped_bit_is_detected(payload in proptest::collection::vec(any::<u8>(), 1..80), bit in any::<proptest::sample::Index>()) {
            let mut bytes = Vec::new();
            codec().encode(Position(5), 6, &payload, &mut bytes);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(codec().parse(&bytes), Parsed::Whole(_)));
        }

        #[test]
        fn frame_after_garbage_is_found(rubbish in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = rubbish.clone();
            codec().encode(Position(5), 6, b"payload", &mut bytes);
            prop_assert_eq!(codec().find(&bytes, 0), Ok(rubbish.len()));
            let torn = &bytes[..bytes.len() - 1];
            prop_assert!(codec().find(torn, 0).is_err_and(|begun| begun <= rubbish.len()));
        }
    }
}
