//! The model: every record that was acknowledged, the position it got, and what became of its bytes.

use std::path::Path;

use proptest::sample::Index;
use weir_log::{CorruptRange, Position};

use super::files;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Whole,
    /// It is not, and the journal can know: it must say so.
    Named,
    /// It was at the very end when a process died, and nothing whole came after it: nobody can tell it from an append
    /// that was never acknowledged. The journal may name it.
    Tail,
}

#[derive(Debug)]
struct Record {
    position: Position,
    frame: Vec<u8>,
    fate: Fate,
}

/// What a journal promised, in order.
#[derive(Debug, Default)]
pub struct Ledger {
    records: Vec<Record>,
    /// Acknowledged and not read yet.
    unread: Vec<Vec<u8>>,
}

impl Ledger {
    /// A record was acknowledged.
    pub fn acknowledged(&mut self, payload: Vec<u8>) {
        self.unread.push(payload);
    }

    /// The last position that was given.
    pub fn last(&self) -> Position {
        self.records.last().map_or(Position::START, |record| record.position)
    }

    /// The position of some record, or the beginning.
    pub fn some_position(&self, at: Index) -> Position {
        if self.records.is_empty() { Position::START } else { at.get(&self.records).position }
    }

    /// What was acknowledged since the last time has been read: these are its positions.
    pub fn learn(&mut self, read: Vec<(Position, Vec<u8>)>, directory: &Path) {
        let frames = files::frames(directory);
        let (positions, payloads): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        assert!(
            payloads == self.unread,
            "read after the last known position: {payloads:?}, expected {:?}",
            self.unread
        );
        for (position, payload) in positions.into_iter().zip(std::mem::take(&mut self.unread)) {
            assert!(position > self.last(), "{position} was given twice, the last was {}", self.last());
            let candidates = &frames[&position.0];
            let (_, frame) = candidates.iter().find(|(_, frame)| files::payload(frame) == payload).unwrap();
            self.records.push(Record { position, frame: frame.clone(), fate: Fate::Whole });
        }
    }

    /// Flips a bit of a record that is still there.
    pub fn flip(&self, directory: &Path, record: Index, bit: Index) {
        let frames = files::frames(directory);
        let places: Vec<_> = self.records.iter().filter_map(|record| record.place(&frames)).collect();
        if !places.is_empty() {
            let (place, length) = record.get(&places);
            files::flip_bit(&place.file, place.offset, bit.index(length * 8));
        }
    }

    /// Looks which records are still whole. `ended` says how: in order (the end was noted), by a crash, or not at all.
    pub fn look(&mut self, directory: &Path, crashed: bool) {
        let frames = files::frames(directory);
        let whole: Vec<bool> = self.records.iter().map(|record| record.place(&frames).is_some()).collect();
        let last_whole = whole.iter().rposition(|whole| *whole);
        for (number, (record, whole)) in self.records.iter_mut().zip(whole).enumerate() {
            let is_tail = last_whole.is_none_or(|last| number > last);
            record.fate = match record.fate {
                _ if whole => Fate::Whole,
                Fate::Tail => Fate::Tail,
                _ if crashed && is_tail => Fate::Tail,
                _ => Fate::Named,
            };
        }
    }

    /// Holds what was read after one position and up to another against what must be there.
    pub fn check(&self, after: Position, through: Position, read: &[(Position, Vec<u8>)], corrupt: &[CorruptRange]) {
        let within = |record: &&Record| record.position > after && record.position <= through;
        let of = |fate: Fate| self.records.iter().filter(within).filter(move |record| record.fate == fate);
        let expected: Vec<_> =
            of(Fate::Whole).map(|record| (record.position, files::payload(&record.frame).to_vec())).collect();
        assert!(read == expected, "read after {after}: {:?}, expected {:?}", brief(read), brief(&expected));
        // A reader that begins among what was lost cannot tell how much of it lay before, when the segment after it is lost.
        let before = self.records.iter().filter(|record| record.position <= after && record.fate == Fate::Tail).count();
        let mut passed = after;
        for stretch in corrupt {
            assert!(stretch.first > passed && stretch.last >= stretch.first, "{stretch:?} after {passed}");
            passed = stretch.last;
            let covered = |record: &&Record| record.position >= stretch.first && record.position <= stretch.last;
            let whole = of(Fate::Whole).find(covered);
            assert!(whole.is_none(), "{stretch:?} covers {whole:?}, which is whole");
            let (named, tail) = (of(Fate::Named).filter(covered).count(), of(Fate::Tail).filter(covered).count());
            let counted = named.saturating_sub(before) as u64..=(named + tail) as u64;
            assert!(counted.contains(&stretch.records()), "{stretch:?} counts {}, not {counted:?}", stretch.records());
        }
        for record in of(Fate::Named) {
            let is_covered =
                |stretch: &CorruptRange| stretch.first <= record.position && record.position <= stretch.last;
            assert!(corrupt.iter().any(is_covered), "{} is not named: {corrupt:?}", record.position);
        }
    }

    /// How many records a database must still be told of, as far as a journal can know: at least, at most.
    pub fn lag(&self, applied: Position) -> (u64, u64) {
        let (done, after): (Vec<_>, Vec<_>) = self.records.iter().partition(|record| record.position <= applied);
        let tails = |records: &[&Record]| records.iter().filter(|record| record.fate == Fate::Tail).count() as u64;
        let known = after.len() as u64 - tails(&after);
        // What was applied and then lost is counted twice, or not at all, when the segment is lost too that began after it.
        let unsure = tails(&done);
        (known.saturating_sub(unsure), after.len() as u64 + unsure)
    }
}

impl Record {
    /// Where it lies as it was written, and how long it is.
    fn place<'a>(
        &self,
        frames: &'a std::collections::BTreeMap<u64, Vec<(files::Place, Vec<u8>)>>,
    ) -> Option<(&'a files::Place, usize)> {
        let (place, frame) = frames.get(&self.position.0)?.iter().find(|(_, frame)| *frame == self.frame)?;
        Some((place, frame.len()))
    }
}

fn brief(records: &[(Position, Vec<u8>)]) -> Vec<(u64, String)> {
    let text = |payload: &[u8]| String::from_utf8_lossy(&payload[..payload.len().min(8)]).into_owned();
    records.iter().map(|(position, payload)| (position.0, text(payload))).collect()
}
