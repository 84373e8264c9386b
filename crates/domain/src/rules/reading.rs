//! How long a page was read that was not left by a leave (contract, section 2).

use crate::UnixMillis;

/// The longest time between two views that counts as reading the first one.
const READING_MAX_MS: i64 = 3_600_000;

/// The seconds between two views, when the second one came within an hour.
#[must_use]
pub fn reading_seconds(from: UnixMillis, to: UnixMillis) -> Option<f64> {
    let elapsed_ms = to.0.saturating_sub(from.0);
    if !(0..=READING_MAX_MS).contains(&elapsed_ms) {
        return None;
    }
    i32::try_from(elapsed_ms).ok().map(|elapsed_ms| f64::from(elapsed_ms) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_time_longer_than_hour_does_not_count() {
        let seconds = |from, to| reading_seconds(UnixMillis(from), UnixMillis(to));
        assert_eq!(seconds(5, 5), Some(0.0));
        assert_eq!(seconds(0, 1_500), Some(1.5));
        assert_eq!(seconds(0, 3_600_000), Some(3600.0));
        assert_eq!(seconds(0, 3_600_001), None);
        assert_eq!(seconds(1, 0), None);
        assert_eq!(seconds(i64::MIN, i64::MAX), None);
    }
}
