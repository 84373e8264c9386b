//! Open files: how many this process may have, and how many of them are for connections.
//!
//! Invariant: connections never take the last ones. A process without a free descriptor cannot open what it needs for
//! itself, so clients that open connections could stop it. The limit of the process is raised as far as it goes, and a
//! reserve is kept back.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where raising the limit to the highest is refused, as on macOS: its `OPEN_MAX`.
const FALLBACK_LIMIT: u64 = 10_240;

/// What a process wants of its open files.
#[derive(Clone, Copy, Debug)]
pub struct FdDemand {
    /// How many connections are asked for, when somebody asked.
    pub connections: Option<u32>,
    /// How many there are otherwise, at most: what each may hold in memory adds up, too.
    pub default_connections: u64,
    /// How many files are kept back.
    pub reserve: u64,
    /// What for, in the words of an error message.
    pub reserved_for: &'static str,
    /// How many workers share the connections.
    pub workers: usize,
}

/// What was found, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdLimit {
    /// Open files, all in all.
    pub limit: u64,
    /// Those that are for connections.
    pub connections: usize,
}

/// Why there are too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooFewFiles {
    #[error(
        "this process may have {limit} files open, and keeps {reserve} of them for {reserved_for}: no connection is left; raise the limit (ulimit -n, LimitNOFILE=)"
    )]
    NoConnectionLeft { limit: u64, reserve: u64, reserved_for: &'static str },
    #[error(
        "max_connections = {wanted} is more than there can be: this process may have {limit} files open, and keeps {reserve} of them for {reserved_for}; raise the limit (ulimit -n, LimitNOFILE=), or allow at most {} connections", limit - reserve
    )]
    FewerThanWanted { wanted: u32, limit: u64, reserve: u64, reserved_for: &'static str },
}

impl FdLimit {
    /// Raises the limit, and divides what there is.
    ///
    /// # Errors
    /// When that leaves too few for connections.
    pub fn raise_and_divide(demand: &FdDemand) -> Result<Self, TooFewFiles> {
        let limit = raise();
        let connections = usize::try_from(connections(limit, demand)?).unwrap_or(usize::MAX);
        Ok(Self { limit, connections: in_equal_parts(connections, demand.workers) })
    }
}

/// The soft limit, after it was raised to the hard one.
fn raise() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    for current in [maximum, Some(FALLBACK_LIMIT)] {
        if setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok() {
            break;
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn connections(limit: u64, demand: &FdDemand) -> Result<u64, TooFewFiles> {
    let FdDemand { connections, default_connections, reserve, reserved_for, .. } = *demand;
    let left = limit.saturating_sub(reserve);
    if left == 0 {
        return Err(TooFewFiles::NoConnectionLeft { limit, reserve, reserved_for });
    }
    match connections {
        Some(wanted) if u64::from(wanted) > left => {
            Err(TooFewFiles::FewerThanWanted { wanted, limit, reserve, reserved_for })
        }
        Some(wanted) => Ok(u64::from(wanted)),
        None => Ok(left.min(default_connections)),
    }
}

/// Workers share connections equally: what cannot be shared is not promised.
fn in_equal_parts(connections: usize, workers: usize) -> usize {
    if connections < workers { connections } else { connections - connections % workers }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: FdDemand =
        FdDemand { connections: None, default_connections: 25_000, reserve: 256, reserved_for: "a reason", workers: 1 };

    #[test]
    fn connections_get_what_the_reserve_leaves_up_to_a_bound() {
        let connections = |limit, wanted| connections(limit, &FdDemand { connections: wanted, ..DEMAND });
        let (reserve, reserved_for) = (DEMAND.reserve, DEMAND.reserved_for);
        assert_eq!(connections(300, None), Ok(44));
        assert_eq!(connections(300, Some(44)), Ok(44));
        assert_eq!(connections(300, Some(1)), Ok(1));
        assert_eq!(connections(1 << 30, None), Ok(25_000));
        assert_eq!(connections(u64::MAX, Some(100_000)), Ok(100_000));
        let fewer = TooFewFiles::FewerThanWanted { wanted: 45, limit: 300, reserve, reserved_for };
        assert_eq!(connections(300, Some(45)), Err(fewer));
        for limit in [0, 255, 256] {
            let none = TooFewFiles::NoConnectionLeft { limit, reserve, reserved_for };
            assert_eq!(connections(limit, Some(1)), Err(none));
        }
    }

    #[test]
    fn connections_of_several_workers_are_the_same_number_for_each() {
        let shared = [(50, 1), (50, 2), (50, 16), (16, 16), (3, 16)].map(|(all, workers)| in_equal_parts(all, workers));
        assert_eq!(shared, [50, 50, 48, 16, 3]);
    }

    #[test]
    fn error_of_too_few_files_names_a_way_out() {
        let error = TooFewFiles::FewerThanWanted { wanted: 45, limit: 300, reserve: 256, reserved_for: "a reason" };
        let text = error.to_string();
        assert!(text.contains("at most 44 connections") && text.contains("LimitNOFILE="), "{text}");
        assert!(text.contains("keeps 256 of them for a reason;"), "{text}");
    }

    #[test]
    fn soft_limit_raised_is_the_hard_one() {
        let limit = raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current.unwrap_or(u64::MAX), limit);
        assert!(current == maximum || limit >= FALLBACK_LIMIT, "{current:?} of {maximum:?}");
    }
}
