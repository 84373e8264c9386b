//! What fuzzers feed to the journal's records: a payload of any bytes, after one byte that is not looked at.

use weir_domain::{AnalyticsRecord, DecodeError, JournalRecord, MainRecord};

/// Reads one input.
///
/// # Panics
/// When an invariant does not hold.
pub fn record(input: &[u8]) {
    if let Some((_, bytes)) = input.split_first() {
        decode(bytes);
    }
}

/// Any bytes are a record or none, and a record is written as it was read.
fn decode(bytes: &[u8]) {
    let analytics = <AnalyticsRecord>::decode(bytes);
    let main = MainRecord::decode(bytes);
    assert!(analytics.is_err() || main.is_err(), "one record, two databases");
    settle(analytics, bytes);
    settle(main, bytes);
}

fn settle<R: for<'a> JournalRecord<'a> + std::fmt::Debug>(decoded: Result<R, DecodeError>, bytes: &[u8]) {
    match decoded {
        Ok(record) => {
            let written = record.encode();
            // Not one to one: the wire format has long forms of short numbers, and a number may be NaN.
            assert!(written.len() <= bytes.len());
            let again = R::decode(&written).expect("what was written is read").encode();
            assert_eq!(again, written);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
