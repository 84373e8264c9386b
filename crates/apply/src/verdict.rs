//! Which refused records are set aside, and which hold the writer.
//!
//! What a database says of a record by a constraint, or of a value that has no form in it, is the record's. Any other "no" may
//! be the record's or the database's own: a trigger that raises for one campaign, or for every row since a deployment. What
//! tells them apart is the others: **such a record is set aside only beside others of its kind that the same transaction
//! took, and no more of them than were taken** (a few at least: a small batch may be mostly bad). Otherwise the writer is
//! blocked at the first of them, says why, and a larger batch is judged next time. So one record never holds the rest for
//! good, and a sick database never turns a backlog into letters.

use std::collections::{BTreeMap, HashMap};

use weir_log::LogRecord;
use weir_store::StoreError;

/// So many of a kind may be set aside beside a single one that is taken.
const FEW: u64 = 100;

/// What becomes of a batch of which records were refused.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The places of what is set aside, with the reason; none of them at or behind `stuck`.
    pub refused: BTreeMap<usize, String>,
    /// The first record that holds the writer.
    pub stuck: Option<(usize, StoreError)>,
}

/// Judges what was found, by places among the records.
pub(super) fn of(found: Vec<(usize, StoreError)>, sources: &[&LogRecord]) -> Verdict {
    // A record's first byte is its kind.
    let kind = |place: usize| sources.get(place).and_then(|source| source.payload.first());
    let mut taken: HashMap<_, u64> = HashMap::new();
    for place in 0..sources.len() {
        *taken.entry(kind(place)).or_default() += 1;
    }
    let mut rejected: HashMap<_, u64> = HashMap::new();
    for (place, error) in &found {
        *taken.entry(kind(*place)).or_default() -= 1;
        if matches!(error, StoreError::Rejected(_)) {
            *rejected.entry(kind(*place)).or_default() += 1;
        }
    }
    let others_pass = |place: usize| {
        let (taken, rejected) = (taken.get(&kind(place)), rejected.get(&kind(place)));
        let (taken, rejected) = (taken.copied().unwrap_or(0), rejected.copied().unwrap_or(0));
        taken > 0 && rejected <= taken.max(FEW)
    };
    let mut verdict = Verdict::default();
    for (place, error) in found {
        match error {
            StoreError::Refused(reason) => {
                verdict.refused.insert(place, reason);
            }
            StoreError::Rejected(reason) if others_pass(place) => {
                verdict.refused.insert(place, reason);
            }
            error => {
                verdict.stuck = Some((place, error));
                break;
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use weir_log::Position;

    use super::*;

    fn record(kind: u8) -> LogRecord {
        LogRecord { position: Position(1), appended_at_ms: 0, payload: vec![kind, 1].into() }
    }

    fn rejected(place: usize) -> (usize, StoreError) {
        (place, StoreError::Rejected("code P0001".to_owned()))
    }

    fn judge(kinds: &[u8], found: Vec<(usize, StoreError)>) -> (Vec<usize>, Option<usize>) {
        let records: Vec<LogRecord> = kinds.iter().map(|kind| record(*kind)).collect();
        let verdict = of(found, &records.iter().collect::<Vec<_>>());
        (verdict.refused.into_keys().collect(), verdict.stuck.map(|(place, _)| place))
    }

    #[test]
    fn rejected_record_is_set_aside_beside_others_of_its_kind_that_are_taken() {
        assert_eq!(judge(&[1, 1, 1], vec![rejected(1)]), (vec![1], None));
        assert_eq!(judge(&[1, 1, 1], vec![rejected(0), rejected(2)]), (vec![0, 2], None));
    }

    #[test]
    fn rejected_record_without_others_that_are_taken_is_stuck() {
        assert_eq!(judge(&[1], vec![rejected(0)]), (vec![], Some(0)));
        assert_eq!(judge(&[2, 1, 2], vec![rejected(1)]), (vec![], Some(1)), "another kind says nothing");
        let mostly = (0..200).map(rejected).collect();
        assert_eq!(judge(&[1; 250], mostly), (vec![], Some(0)), "that is the database");
    }

    #[test]
    fn refused_record_is_set_aside_whatever_the_others_before_what_is_stuck() {
        let refused = (0, StoreError::Refused("code 23514, constraint c".to_owned()));
        assert_eq!(judge(&[1, 2], vec![refused, rejected(1)]), (vec![0], Some(1)));
    }
}
