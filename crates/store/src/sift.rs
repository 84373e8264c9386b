//! Which records of a step the database will not take, found in one transaction that is rolled back.
//!
//! Each span is written behind a savepoint, and one that fails is halved: no commit, no fsync and no move of a position for
//! any of it. What was rejected is tried once more at the end: an operator may have mended it meanwhile, and by then what was
//! taken holds the tables as they are. Invariants: a record that is found is refused beside all others of the step that are
//! taken; nothing stays. Cost: the step once more, and for each record that is found some fourteen small writes.

use std::ops::Range;

use super::StoreError;

/// Where few records are bad, whole spans of so many are good.
const SPAN: usize = 64;

/// So many rejected, and none taken: it is not the records.
const HOPELESS: usize = 100;

/// The spans that are still to be written, the first one last, and what was found.
pub(super) struct Sifting {
    spans: Vec<Range<usize>>,
    refused: Vec<(usize, StoreError)>,
    has_taken: bool,
    is_second_try: bool,
}

impl Sifting {
    pub fn of(records: usize) -> Self {
        let spans = (0..records).step_by(SPAN).rev().map(|start| start..records.min(start + SPAN));
        Self { spans: spans.collect(), refused: Vec::new(), has_taken: false, is_second_try: false }
    }

    pub fn next(&mut self) -> Option<Range<usize>> {
        if self.spans.is_empty() && !std::mem::replace(&mut self.is_second_try, true) {
            let (rejected, refused): (Vec<_>, Vec<_>) =
                self.refused.drain(..).partition(|(_, error)| matches!(error, StoreError::Rejected(_)));
            self.refused = refused;
            self.spans.extend(rejected.iter().rev().map(|(place, _)| *place..place + 1));
        }
        self.spans.pop()
    }

    pub fn take(&mut self) {
        self.has_taken = true;
    }

    /// A span was refused: its halves are next, or it is a record.
    ///
    /// # Errors
    /// What was said of it, where that is said of all.
    pub fn refuse(&mut self, span: Range<usize>, error: StoreError) -> Result<(), StoreError> {
        if span.len() == 1 {
            let is_hopeless = !self.has_taken && self.refused.len() >= HOPELESS;
            if is_hopeless && matches!(error, StoreError::Rejected(_)) {
                return Err(error);
            }
            self.refused.push((span.start, error));
        } else {
            let middle = span.start + span.len() / 2;
            self.spans.extend([middle..span.end, span.start..middle]);
        }
        Ok(())
    }

    /// In the order of their places.
    pub fn found(mut self) -> Vec<(usize, StoreError)> {
        self.refused.sort_by_key(|(place, _)| *place);
        self.refused
    }
}

/// Sifts records on a connection that is in a transaction: `sift!(connection, records, |span| write(connection, span))`.
macro_rules! sift {
    ($connection:expr, $records:expr, |$span:ident| $write:expr) => {{
        let mut sifting = $crate::sift::Sifting::of($records.len());
        while let Some(range) = sifting.next() {
            sqlx::raw_sql("SAVEPOINT sift").execute(&mut *$connection).await?;
            let $span = &$records[range.clone()];
            let then = match $write.await {
                Ok(_) => {
                    sifting.take();
                    "RELEASE SAVEPOINT sift"
                }
                Err(error) if error.is_verdict() => {
                    sifting.refuse(range, error)?;
                    "ROLLBACK TO SAVEPOINT sift"
                }
                Err(error) => return Err(error),
            };
            sqlx::raw_sql(then).execute(&mut *$connection).await?;
        }
        sifting.found()
    }};
}

pub(super) use sift;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sifts so many records, of which some are rejected at each try.
    fn sifted(records: usize, is_rejected: impl Fn(usize, bool) -> bool) -> Result<Vec<usize>, StoreError> {
        let mut sifting = Sifting::of(records);
        while let Some(span) = sifting.next() {
            if span.clone().any(|place| is_rejected(place, sifting.is_second_try)) {
                sifting.refuse(span, StoreError::Rejected(String::new()))?;
            } else {
                sifting.take();
            }
        }
        Ok(sifting.found().into_iter().map(|(place, _)| place).collect())
    }

    #[test]
    fn sifting_finds_exactly_what_is_rejected() {
        assert_eq!(
            sifted(1000, |place, _| place % 100 == 7).unwrap(),
            [7, 107, 207, 307, 407, 507, 607, 707, 807, 907]
        );
        assert_eq!(sifted(1, |_, _| true).unwrap(), [0]);
        assert!(sifted(0, |_, _| true).unwrap().is_empty());
    }

    #[test]
    fn sifting_forgets_what_is_taken_at_second_try() {
        assert!(sifted(300, |place, is_second| place < 9 && !is_second).unwrap().is_empty());
    }

    #[test]
    fn sifting_where_all_are_rejected_ends_early() {
        assert!(matches!(sifted(5000, |_, _| true), Err(StoreError::Rejected(_))));
    }
}
