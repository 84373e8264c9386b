//! The `journal` section: how much disk a backlog may take, and how careful an ack is.

use std::ops::RangeInclusive;

use bytesize::ByteSize;

use super::Values;
use weir_journal::JournalOptions;

/// Less would be full after a handful of records.
const LEAST_MAX_BYTES: u64 = 1 << 20;
/// A start reads the newest segment into memory.
const SEGMENT_BYTES: RangeInclusive<u64> = 4096..=1 << 30;

pub(super) fn take(values: &mut Values) -> JournalOptions {
    let defaults = JournalOptions::default();
    let mut bytes = |name: &str, default: u64| {
        values.parse::<ByteSize>(name, "a size such as 67108864, 64 MiB or 8 GiB").map_or(default, |size| size.as_u64())
    };
    let options = JournalOptions {
        max_bytes: bytes("journal.max_bytes", defaults.max_bytes),
        segment_bytes: bytes("journal.segment_bytes", defaults.segment_bytes),
        ..defaults
    };
    let fsync = values.choice("journal.fsync", &[("true", true), ("false", false)]).unwrap_or(defaults.fsync);
    if options.max_bytes < LEAST_MAX_BYTES {
        values.problem(format!("journal.max_bytes = {} is less than {LEAST_MAX_BYTES}", options.max_bytes));
    }
    if !SEGMENT_BYTES.contains(&options.segment_bytes) {
        let (least, most) = (SEGMENT_BYTES.start(), SEGMENT_BYTES.end());
        values.problem(format!("journal.segment_bytes = {} is not within {least} to {most}", options.segment_bytes));
    }
    JournalOptions { fsync, ..options }
}
