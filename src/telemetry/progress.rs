//! Reports that long work goes on.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

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

    #[tokio::test]
    async fn watched_work_is_reported_until_it_is_done() {
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
