//! The `journal` section: how much disk a backlog may take, and how careful an ack is.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

use super::Values;
use weir_journal::JournalOptions;

/// Less would be full after a handful of records.
const LEAST_MAX_BYTES: u64 = 1 << 20;
/// For how long applied segments are kept where nothing else is said: a failover, or a restored copy, is younger.
const KEEP_APPLIED: Duration = Duration::from_hours(1);
/// A start reads the newest segment into memory.
const SEGMENT_BYTES: RangeInclusive<u64> = 4096..=1 << 30;

pub(super) fn take(values: &mut Values) -> JournalOptions {
    let defaults = JournalOptions::default();
    let mut bytes = |name: &str, default: u64| {
        values.parse::<ByteSize>(name, "a size such as 67108864, 64 MiB or 8 GiB").map_or(default, |size| size.as_u64())
    };
    let max_bytes = bytes("journal.max_bytes", defaults.max_bytes);
    let options = JournalOptions {
        max_bytes,
        segment_bytes: bytes("journal.segment_bytes", defaults.segment_bytes),
        keep_applied_bytes: bytes("journal.keep_applied_bytes", max_bytes / 4),
        ..defaults
    };
    let keep_applied = values.parse("journal.keep_applied", "a time such as 30min, 1h or 2days, or 0");
    let keep_applied = keep_applied.map_or(KEEP_APPLIED, |Given(time)| time);
    let fsync = values.choice("journal.fsync", &[("true", true), ("false", false)]).unwrap_or(defaults.fsync);
    if options.max_bytes < LEAST_MAX_BYTES {
        values.problem(format!("journal.max_bytes = {} is less than {LEAST_MAX_BYTES}", options.max_bytes));
    }
    if !SEGMENT_BYTES.contains(&options.segment_bytes) {
        let (least, most) = (SEGMENT_BYTES.start(), SEGMENT_BYTES.end());
        values.problem(format!("journal.segment_bytes = {} is not within {least} to {most}", options.segment_bytes));
    }
    if options.keep_applied_bytes > options.max_bytes {
        let (kept, most) = (options.keep_applied_bytes, options.max_bytes);
        values.problem(format!("journal.keep_applied_bytes = {kept} is more than journal.max_bytes = {most}"));
    }
    JournalOptions { fsync, keep_applied, ..options }
}

struct Given(Duration);

impl FromStr for Given {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" { Ok(Self(Duration::ZERO)) } else { humantime::parse_duration(text).map(Self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> (JournalOptions, bool) {
        let mut values = Values::from_toml(text);
        let options = take(&mut values);
        (options, values.finish().is_ok())
    }

    #[test]
    fn keep_applied_is_time_and_size_with_defaults() {
        let (unset, _) = taken("");
        assert_eq!((unset.keep_applied, unset.keep_applied_bytes), (Duration::from_hours(1), unset.max_bytes / 4));
        let (options, is_good) = taken("[journal]\nmax_bytes = \"4MiB\"\nkeep_applied = \"90s\"");
        assert!(is_good);
        assert_eq!((options.keep_applied, options.keep_applied_bytes), (Duration::from_secs(90), 1 << 20));
        assert_eq!(taken("[journal]\nkeep_applied = 0").0.keep_applied, Duration::ZERO);
        for refused in ["keep_applied = \"1 fortnight\"", "keep_applied = 60", "keep_applied_bytes = \"9GiB\""] {
            assert!(!taken(&format!("[journal]\n{refused}")).1, "{refused}");
        }
    }
}
