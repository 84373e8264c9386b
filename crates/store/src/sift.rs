//! Which records of a step the database will not take, found in one transaction that is rolled back.
//!
//! Each span is written behind a savepoint, and one that fails is halved: no commit, no fsync and no move of a position for
//! any of it. Invariants: a record that is found is refused beside all others of the step that are taken; nothing stays.
//! Cost: the step once more, and for each record that is found some fourteen small writes.

use std::ops::Range;

use super::StoreError;

/// Where few records are bad, whole spans of so many are good.
const SPAN: usize = 64;

/// The spans that are still to be written, the first one last, and what was found.
pub(super) struct Sifting {
    spans: Vec<Range<usize>>,
    refused: Vec<(usize, StoreError)>,
}

impl Sifting {
    pub fn of(records: usize) -> Self {
        let spans = (0..records).step_by(SPAN).rev().map(|start| start..records.min(start + SPAN));
        Self { spans: spans.collect(), refused: Vec::new() }
    }

    pub fn next(&mut self) -> Option<Range<usize>> {
        self.spans.pop()
    }

    /// A span was refused: its halves are next, or it is a record.
    pub fn refuse(&mut self, span: Range<usize>, error: StoreError) {
        if span.len() == 1 {
            self.refused.push((span.start, error));
        } else {
            let middle = span.start + span.len() / 2;
            self.spans.extend([middle..span.end, span.start..middle]);
        }
    }

    pub fn found(self) -> Vec<(usize, StoreError)> {
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
                Ok(_) => "RELEASE SAVEPOINT sift",
                Err(error) if error.is_verdict() => {
                    sifting.refuse(range, error);
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
