//! Open files: how many Weir keeps back for itself, and how many are left for connections.

use weir_http_guard::{FdDemand, FdLimit, TooFewFiles};

/// The most connections that are accepted without being asked for: what each may hold in memory adds up, too.
const DEFAULT_CONNECTIONS: u64 = 25_000;
/// What a process has open for itself: journals, databases with all their connections, mail, the metrics' listener with
/// its own connections. A start has 50 of them, and a process that uses everything has 110.
const FIXED: u64 = 224;
/// What each core adds: the event loops of its two threads. A start has 7 of them.
const PER_CORE: u64 = 16;

/// Raises the limit, and divides what there is.
///
/// # Errors
/// When that leaves too few for connections.
pub fn divide(max_connections: Option<u32>) -> Result<FdLimit, TooFewFiles> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    FdLimit::raise_and_divide(&FdDemand {
        connections: max_connections,
        default_connections: DEFAULT_CONNECTIONS,
        reserve: FIXED + PER_CORE * cores as u64,
        reserved_for: "journals and databases",
        workers: cores,
    })
}
