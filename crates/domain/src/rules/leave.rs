//! What a leave may say (contract, section 2). It is clamped and not refused: a tab that was left open for hours still counts.

const DURATION_MAX_SECONDS: f64 = 3600.0;
const SCROLL_DEPTH_MAX: f64 = 100.0;

/// A view's duration, within 0 to 3600 seconds.
#[must_use]
pub fn clamp_duration_seconds(seconds: f64) -> f64 {
    seconds.clamp(0.0, DURATION_MAX_SECONDS)
}

/// How far a page was scrolled, within 0 to 100 percent.
#[must_use]
pub fn clamp_scroll_depth(percent: f64) -> f64 {
    percent.clamp(0.0, SCROLL_DEPTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leave_values_out_of_range_are_clamped() {
        let clamped = |clamp: fn(f64) -> f64, given: f64, expected: f64| {
            assert!((clamp(given) - expected).abs() < f64::EPSILON, "{given}");
        };
        for (given, expected) in [(-1.0, 0.0), (0.0, 0.0), (12.5, 12.5), (3600.0, 3600.0), (1e9, 3600.0)] {
            clamped(clamp_duration_seconds, given, expected);
        }
        for (given, expected) in [(-1.0, 0.0), (0.0, 0.0), (12.5, 12.5), (100.0, 100.0), (1e9, 100.0)] {
            clamped(clamp_scroll_depth, given, expected);
        }
    }
}
