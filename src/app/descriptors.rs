//! Open files: how many this process may have, and how many of them are for connections.
//!
//! Invariant: connections never take the last ones. Without a free descriptor a journal makes no new segment and a writer
//! does not reach its database: whoever opens connections could stop what was promised to others. So the limit of the
//! process is raised as far as it goes, and a reserve is kept back.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most connections that are taken without being asked for: what each may hold in memory adds up, too.
const DEFAULT_MOST: u64 = 25_000;
/// What a process has open for itself: journals, databases with all their connections, mail, the metrics' listener with
/// its own connections. A start has 50 of them, and a process that uses everything has 110.
const FIXED: u64 = 224;
/// What each core adds: the event loops of its two threads. A start has 7 of them.
const PER_CORE: u64 = 16;
/// Where raising the limit to the highest is refused, as on macOS: its `OPEN_MAX`.
const MODEST: u64 = 10_240;

/// What was found, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Open files, all in all.
    pub limit: u64,
    /// Those that are for connections.
    pub connections: usize,
}

/// Why there are too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooFew {
    #[error(
        "this process may have {limit} files open, and keeps {reserve} of them for journals and databases: no connection is left; raise the limit (ulimit -n, LimitNOFILE=)"
    )]
    None { limit: u64, reserve: u64 },
    #[error(
        "max_connections = {wanted} is more than there can be: this process may have {limit} files open, and keeps {reserve} of them for journals and databases; raise the limit (ulimit -n, LimitNOFILE=), or allow at most {} connections", limit - reserve
    )]
    ForSoMany { wanted: u32, limit: u64, reserve: u64 },
}

/// Raises the limit, and divides what there is.
///
/// # Errors
/// When that leaves too few for connections.
pub fn divide(wanted: Option<u32>) -> Result<Descriptors, TooFew> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = plan(raise(), reserve(cores), wanted)?;
    Ok(Descriptors { connections: in_equal_parts(plan.connections, cores), ..plan })
}

/// How many are kept back.
fn reserve(cores: usize) -> u64 {
    FIXED + PER_CORE * cores as u64
}

/// The soft limit, after it was raised to the hard one.
fn raise() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    for current in [maximum, Some(MODEST)] {
        if setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok() {
            break;
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn plan(limit: u64, reserve: u64, wanted: Option<u32>) -> Result<Descriptors, TooFew> {
    let left = limit.saturating_sub(reserve);
    if left == 0 {
        return Err(TooFew::None { limit, reserve });
    }
    let connections = match wanted {
        Some(wanted) if u64::from(wanted) > left => return Err(TooFew::ForSoMany { wanted, limit, reserve }),
        Some(wanted) => u64::from(wanted),
        None => left.min(DEFAULT_MOST),
    };
    Ok(Descriptors { limit, connections: usize::try_from(connections).unwrap_or(usize::MAX) })
}

/// Workers share connections equally: what cannot be shared is not promised.
fn in_equal_parts(connections: usize, cores: usize) -> usize {
    if connections < cores { connections } else { connections - connections % cores }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_reserve_leaves_up_to_a_bound() {
        let connections = |limit, wanted| plan(limit, 256, wanted).map(|plan| plan.connections);
        assert_eq!(connections(300, None), Ok(44));
        assert_eq!(connections(300, Some(44)), Ok(44));
        assert_eq!(connections(300, Some(1)), Ok(1));
        assert_eq!(connections(1 << 30, None), Ok(25_000));
        assert_eq!(connections(u64::MAX, Some(100_000)), Ok(100_000));
        assert_eq!(connections(300, Some(45)), Err(TooFew::ForSoMany { wanted: 45, limit: 300, reserve: 256 }));
        for limit in [0, 255, 256] {
            assert_eq!(connections(limit, Some(1)), Err(TooFew::None { limit, reserve: 256 }));
        }
    }

    #[test]
    fn every_worker_gets_as_many() {
        let shared = [(50, 1), (50, 2), (50, 16), (16, 16), (3, 16)].map(|(all, cores)| in_equal_parts(all, cores));
        assert_eq!(shared, [50, 50, 48, 16, 3]);
    }

    #[test]
    fn what_is_said_of_too_few_names_a_way_out() {
        let said = TooFew::ForSoMany { wanted: 45, limit: 300, reserve: 256 }.to_string();
        assert!(said.contains("at most 44 connections") && said.contains("LimitNOFILE="), "{said}");
    }

    #[test]
    fn the_soft_limit_is_raised() {
        let limit = raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current.unwrap_or(u64::MAX), limit);
        assert!(current == maximum || limit >= MODEST, "{current:?} of {maximum:?}");
    }
}
