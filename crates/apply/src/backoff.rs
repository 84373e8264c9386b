//! How long to wait before the next attempt: doubling, with jitter, bounded.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Forgets earlier failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next pause: between half of the doubled time and all of it, so that instances do not come back in step.
    pub fn next_pause(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let mut noise = [0; 2];
        // Without randomness the pause is merely regular.
        let _ = getrandom::fill(&mut noise);
        full / 2 + (full / 2).mul_f64(f64::from(u16::from_le_bytes(noise)) / f64::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_pauses_double_and_stay_bounded() {
        let mut backoff = Backoff::default();
        for expected_ms in [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let pause = backoff.next_pause();
            assert!(pause >= Duration::from_millis(expected_ms / 2) && pause <= Duration::from_millis(expected_ms));
        }
        for _ in 0..100 {
            assert!(backoff.next_pause() <= LONGEST);
        }
        backoff.reset();
        assert!(backoff.next_pause() <= FIRST);
    }
}
