//! The throttle: how many requests one address may make to one route in a window. //!
//! A shared, synchronous table, called in the request's own task; an actor only sweeps what has expired.
//!
//! Invariants: a window opens with its first request and lasts its whole length; a refused request neither extends nor
//! reopens it. At most `capacity` windows are kept: when the table is full, addresses that are not in it pass without being counted,
//! and a metric says so. Refusing them instead would let one attacker with many addresses lock everybody out.
//! Cost: one shard lock and one hash, about 0.1 µs; about 64 bytes a window.

mod sweeper;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use weir_domain::{Clock, Route, ThrottleKey};

pub use sweeper::{Sweep, Sweeper};

/// The most windows that are kept: 64 MB of them.
pub const CAPACITY: usize = 1_000_000;

/// So many requests in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub requests: u32,
    pub window: Duration,
}

/// How a request stands with its limit, also what the `RateLimit` headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitStatus {
    pub limit: Limit,
    /// How many requests are left in the window.
    pub remaining: u32,
    /// How long the window still lasts, in whole seconds, rounded up.
    pub reset_seconds: u64,
    pub allowed: bool,
}

#[derive(Clone, Copy)]
struct Window {
    opened_ms: u64,
    requests: u32,
}

/// The table of windows. Clones share it.
#[derive(Clone)]
pub struct Limiter(Arc<Table>);

struct Table {
    windows: DashMap<(Route, ThrottleKey), Window>,
    entries: AtomicUsize,
    capacity: usize,
    limits: Vec<(Route, Limit)>,
    bypassed: AtomicU64,
    clock: Arc<Clock>,
}

impl Limiter {
    /// A table for these limits; a route without one is not throttled.
    #[must_use]
    pub fn new(limits: Vec<(Route, Limit)>, capacity: usize, clock: Arc<Clock>) -> Self {
        Self(Arc::new(Table {
            windows: DashMap::new(),
            entries: AtomicUsize::new(0),
            capacity,
            limits,
            bypassed: AtomicU64::new(0),
            clock,
        }))
    }

    /// Counts a request. `None` when the route has no limit.
    #[must_use]
    pub fn check(&self, route: Route, key: ThrottleKey) -> Option<RateLimitStatus> {
        let table = &*self.0;
        let limit = table.limits.iter().find(|(limited, _)| *limited == route)?.1;
        let window_ms = u64::try_from(limit.window.as_millis()).unwrap_or(u64::MAX);
        let now_ms = table.clock.monotonic_ms();
        let fresh = Window { opened_ms: now_ms, requests: 1 };
        let window = match table.windows.entry((route, key)) {
            Entry::Occupied(mut entry) => {
                let window = entry.get_mut();
                if now_ms.saturating_sub(window.opened_ms) >= window_ms {
                    *window = fresh;
                } else {
                    window.requests = window.requests.saturating_add(1);
                }
                *window
            }
            Entry::Vacant(entry) => {
                if table.entries.fetch_add(1, Ordering::Relaxed) < table.capacity {
                    *entry.insert(fresh)
                } else {
                    table.entries.fetch_sub(1, Ordering::Relaxed);
                    table.bypassed.fetch_add(1, Ordering::Relaxed);
                    fresh
                }
            }
        };
        let left_ms = window_ms.saturating_sub(now_ms.saturating_sub(window.opened_ms));
        Some(RateLimitStatus {
            limit,
            remaining: limit.requests.saturating_sub(window.requests),
            reset_seconds: left_ms.div_ceil(1000).max(1),
            allowed: window.requests <= limit.requests,
        })
    }

    /// How many windows are open.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.0.entries.load(Ordering::Relaxed)
    }

    /// The most windows that are kept.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// How many requests bypassed it since the last call.
    #[must_use]
    pub fn take_bypassed(&self) -> u64 {
        self.0.bypassed.swap(0, Ordering::Relaxed)
    }

    /// Forgets the windows that are over.
    pub fn sweep(&self) {
        let table = &*self.0;
        let now_ms = table.clock.monotonic_ms();
        let mut swept = 0;
        table.windows.retain(|(route, _), window| {
            let limit = table.limits.iter().find(|(limited, _)| limited == route);
            let window_ms = limit.map_or(0, |(_, limit)| u64::try_from(limit.window.as_millis()).unwrap_or(u64::MAX));
            let open = now_ms.saturating_sub(window.opened_ms) < window_ms;
            swept += usize::from(!open);
            open
        });
        table.entries.fetch_sub(swept, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_domain::ClientIp;

    const LIMIT: Limit = Limit { requests: 3, window: Duration::from_mins(1) };

    fn key(last: u8) -> ThrottleKey {
        ClientIp::parse(&format!("203.0.113.{last}")).unwrap().throttle_key()
    }

    fn limiter(capacity: usize) -> (Limiter, Arc<Clock>) {
        let clock = Arc::new(Clock::system());
        (Limiter::new(vec![(Route::Session, LIMIT)], capacity, Arc::clone(&clock)), clock)
    }

    #[test]
    fn rate_limit_exceeded_refuses_until_window_ends() {
        let (limiter, clock) = limiter(10);
        let check = || limiter.check(Route::Session, key(1)).unwrap();
        assert_eq!(check(), RateLimitStatus { limit: LIMIT, remaining: 2, reset_seconds: 60, allowed: true });
        clock.advance(Duration::from_millis(30_500));
        assert_eq!((check().remaining, check().remaining), (1, 0));
        let refused = check();
        assert!(!refused.allowed);
        assert_eq!((refused.remaining, refused.reset_seconds), (0, 30));
        clock.advance(Duration::from_secs(29));
        assert!(!check().allowed, "a refused request must not reopen the window");
        clock.advance(Duration::from_secs(1));
        assert_eq!(check(), RateLimitStatus { limit: LIMIT, remaining: 2, reset_seconds: 60, allowed: true });
    }

    #[test]
    fn rate_limit_counts_addresses_and_routes_separately() {
        let (limiter, _) = limiter(10);
        for _ in 0..3 {
            assert!(limiter.check(Route::Session, key(1)).unwrap().allowed);
        }
        assert!(!limiter.check(Route::Session, key(1)).unwrap().allowed);
        assert!(limiter.check(Route::Session, key(2)).unwrap().allowed);
        assert_eq!(limiter.check(Route::Health, key(1)), None);
    }

    #[test]
    fn rate_limit_table_full_lets_new_addresses_bypass() {
        let (limiter, clock) = limiter(2);
        for last in 1..=2 {
            for _ in 0..4 {
                let _ = limiter.check(Route::Session, key(last));
            }
        }
        for _ in 0..9 {
            assert!(limiter.check(Route::Session, key(3)).unwrap().allowed);
        }
        assert!(!limiter.check(Route::Session, key(1)).unwrap().allowed);
        assert_eq!((limiter.entries(), limiter.take_bypassed()), (2, 9));
        clock.advance(LIMIT.window);
        limiter.sweep();
        assert_eq!(limiter.entries(), 0);
        let _ = limiter.check(Route::Session, key(3));
        assert_eq!((limiter.entries(), limiter.take_bypassed()), (1, 0));
    }

    #[test]
    fn rate_limit_window_ignores_wall_clock_steps() {
        let (limiter, clock) = limiter(2);
        for _ in 0..3 {
            let _ = limiter.check(Route::Session, key(1));
        }
        clock.step_wall_clock(3_600_000);
        assert!(!limiter.check(Route::Session, key(1)).unwrap().allowed);
        clock.step_wall_clock(-7_200_000);
        assert!(!limiter.check(Route::Session, key(1)).unwrap().allowed);
    }
}
