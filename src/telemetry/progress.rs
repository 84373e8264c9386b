//! What is told of something that takes long: that it goes on, how fast, and how long it will take.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

/// Over how long a pace is measured: long enough to be steady, short enough to follow a change.
const WINDOW: Duration = Duration::from_secs(10);

/// How fast a number changes, over the last seconds.
#[derive(Debug, Default)]
pub struct Pace(VecDeque<(Instant, u64)>);

impl Pace {
    /// Notes what the number is now.
    pub fn note(&mut self, now: Instant, number: u64) {
        // The last one before the window is kept: without it, notes that are far apart would make no pace.
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

#[allow(clippy::cast_precision_loss)] // exact up to 2^53
fn approximate(number: u64) -> f64 {
    number as f64
}

/// Does the work, and calls `tell` with the time that it has taken so far, again and again until it is done.
pub async fn watched<T>(every: Duration, work: impl Future<Output = T>, mut tell: impl FnMut(Duration)) -> T {
    let mut work = pin!(work);
    let began = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval_at(began + every, every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => tell(began.elapsed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paced(numbers: impl IntoIterator<Item = (u64, u64)>) -> Pace {
        let (began, mut pace) = (Instant::now(), Pace::default());
        for (second, number) in numbers {
            pace.note(began + Duration::from_secs(second), number);
        }
        pace
    }

    #[test]
    fn a_pace_is_that_of_the_last_seconds() {
        assert_eq!(paced([]).per_second(), None);
        assert_eq!(paced([(0, 7)]).per_second(), None);
        assert_eq!(paced([(0, 0), (4, 100)]).per_second(), Some(25.0));
        let slow_then_quick =
            (0..60).map(|second| (second, if second < 30 { second } else { 30 + (second - 30) * 100 }));
        assert_eq!(paced(slow_then_quick).per_second(), Some(100.0));
        assert_eq!(paced([(0, 0), (100, 100)]).per_second(), Some(1.0), "far apart, and still known");
    }

    #[test]
    fn the_time_that_is_left_is_told_only_of_what_ends() {
        assert_eq!(paced([(0, 1000), (2, 800)]).time_left(), Some(Duration::from_secs(8)));
        assert_eq!(paced([(0, 800), (2, 1000)]).time_left(), None);
        assert_eq!(paced([(0, 800), (2, 800)]).time_left(), None);
        assert_eq!(paced([(0, u64::MAX), (1, u64::MAX - 4096)]).time_left(), None);
        assert_eq!(paced([(0, 5), (1, 0)]).time_left(), Some(Duration::ZERO));
    }

    #[tokio::test]
    async fn work_is_told_of_until_it_is_done() {
        let (every, heard, mut told) = (Duration::from_millis(5), tokio::sync::Semaphore::new(0), Vec::new());
        let work = async { heard.acquire_many(3).await.map(|_| "done") };
        let tell = |taken| {
            told.push(taken);
            heard.add_permits(1);
        };
        assert_eq!(watched(every, work, tell).await.ok(), Some("done"));
        assert!(told.len() == 3 && told.is_sorted() && told[0] >= every, "{told:?}");
        assert_eq!(watched(every, async { 7 }, |_| panic!("nobody waited")).await, 7);
    }
}
