//! How fast a number changes, and when one that shrinks is gone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use weir_domain::approximate;

/// Over how long it is measured: long enough to be steady, short enough to follow a change.
const WINDOW: Duration = Duration::from_secs(10);

/// How fast a number changes, over the last seconds.
#[derive(Debug, Default)]
pub struct Throughput(VecDeque<(Instant, u64)>);

impl Throughput {
    /// Notes what the number is now.
    pub fn note(&mut self, now: Instant, number: u64) {
        // The last one before the window is kept: without it, notes that are far apart would tell nothing.
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.0.pop_front();
        }
        self.0.push_back((now, number));
    }

    /// By how much it changes in a second; less than nothing while it shrinks. `None` until it was noted twice.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (self.0.front()?, self.0.back()?);
        let seconds = to.duration_since(*from).as_secs_f64();
        (seconds > 0.0).then(|| (approximate(*after) - approximate(*before)) / seconds)
    }

    /// How long until a number that shrinks is gone. `None` while it does not shrink.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let (_, left) = self.0.back()?;
        let shrinks = -self.per_second()?;
        // A year and never are the same here, and one of them is no duration.
        let seconds = approximate(*left) / shrinks;
        (shrinks > 0.0 && seconds < 31_536_000.0).then(|| Duration::from_secs_f64(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throughput_of(numbers: impl IntoIterator<Item = (u64, u64)>) -> Throughput {
        let (began, mut throughput) = (Instant::now(), Throughput::default());
        for (second, number) in numbers {
            throughput.note(began + Duration::from_secs(second), number);
        }
        throughput
    }

    #[test]
    fn throughput_is_that_of_last_seconds() {
        assert_eq!(throughput_of([]).per_second(), None);
        assert_eq!(throughput_of([(0, 7)]).per_second(), None);
        assert_eq!(throughput_of([(0, 0), (4, 100)]).per_second(), Some(25.0));
        let slow_then_quick =
            (0..60).map(|second| (second, if second < 30 { second } else { 30 + (second - 30) * 100 }));
        assert_eq!(throughput_of(slow_then_quick).per_second(), Some(100.0));
        assert_eq!(throughput_of([(0, 0), (100, 100)]).per_second(), Some(1.0), "far apart, and still known");
    }

    #[test]
    fn throughput_time_left_is_known_only_while_shrinking() {
        assert_eq!(throughput_of([(0, 1000), (2, 800)]).time_left(), Some(Duration::from_secs(8)));
        assert_eq!(throughput_of([(0, 800), (2, 1000)]).time_left(), None);
        assert_eq!(throughput_of([(0, 800), (2, 800)]).time_left(), None);
        assert_eq!(throughput_of([(0, u64::MAX), (1, u64::MAX - 4096)]).time_left(), None);
        assert_eq!(throughput_of([(0, 5), (1, 0)]).time_left(), Some(Duration::ZERO));
    }
}
