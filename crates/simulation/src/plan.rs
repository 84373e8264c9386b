//! What happens in one run, decided by its seed before anything runs, so that a step can be left out and the others stay.

use std::fmt;

use crate::database::DatabaseFault;
use crate::disk::{Death, DiskFault};
use crate::random::Random;

/// The most instances that share a database.
pub const INSTANCES: usize = 3;

/// One kind of record that a client sends. What it is about is chosen among what was acknowledged, as far as its client can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A session, under a key of a batch or not.
    Session(Option<u8>),
    /// A session that the database refuses.
    Poison,
    View(usize),
    Leave(usize),
    Heartbeat(usize),
    Identify(usize),
}

/// One thing that happens. `at` is an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Clients send records, which wait for the disk.
    Send {
        at: usize,
        what: Vec<What>,
    },
    /// What waits is written and synced, and whoever waits for it is told.
    Commit {
        at: usize,
    },
    /// The applier works for so many pauses at most, and its next transactions meet these faults.
    Apply {
        at: usize,
        faults: Vec<DatabaseFault>,
        pauses: usize,
    },
    /// The process dies, now or in the middle of what it does next to its disk.
    Die {
        at: usize,
        death: Death,
        operations: usize,
    },
    /// It ends in order.
    Stop {
        at: usize,
    },
    Start {
        at: usize,
    },
    /// One of the next operations of a disk fails.
    DiskFails {
        at: usize,
        fault: DiskFault,
        operations: usize,
    },
    /// The collector runs.
    Collect {
        at: usize,
    },
    DatabaseLeaves,
    DatabaseReturns,
    /// What is on its way to the database arrives.
    Settle,
    /// The database is copied.
    Copy,
    /// It goes back to one of its copies.
    GoBack {
        which: usize,
    },
    Time {
        seconds: u64,
    },
    /// An operator has mended what was refused, and replays what was set aside.
    Replay {
        at: usize,
    },
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub instances: usize,
    pub segment_bytes: u64,
    pub max_bytes: u64,
    pub steps: Vec<Step>,
}

impl Plan {
    /// The run that a seed stands for.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let instances = random.pick(&[1, 1, 2, 2, INSTANCES]);
        let segment_bytes = random.pick(&[1, 250, 700, 2000]);
        // Either far more than is ever written, or so little that records are refused.
        let max_bytes = random.pick(&[1 << 20, 1 << 20, 1 << 20, 6_000]);
        let count = 4 + random.below(20);
        let mut plan = Self { seed, instances, segment_bytes, max_bytes, steps: Vec::with_capacity(count) };
        while plan.steps.len() < count {
            plan.add(&mut random);
        }
        plan
    }

    fn add(&mut self, random: &mut Random) {
        let at = random.below(self.instances);
        let death = random.pick(&[Death::Killed, Death::PowerCut]);
        let step = match random.below(100) {
            0..34 => {
                let what = (0..=random.below(4)).map(|_| what(random)).collect();
                self.steps.push(Step::Send { at, what });
                // Mostly they get their answer.
                if random.once_in(6) {
                    return;
                }
                Step::Commit { at }
            }
            34..40 => Step::Commit { at },
            40..64 => {
                let faults = (0..random.below(4)).map(|_| database_fault(random)).collect();
                Step::Apply { at, faults, pauses: random.pick(&[0, 1, 3, 8]) }
            }
            64..72 => Step::Die { at, death, operations: random.pick(&[0, 0, 1, 2, 3, 5, 8, 12]) },
            72..74 => Step::Stop { at },
            74..80 => Step::Start { at },
            80..84 => Step::DiskFails {
                at,
                fault: random.pick(&[DiskFault::Write, DiskFault::Full, DiskFault::Sync]),
                operations: random.below(4),
            },
            84..87 => Step::Collect { at },
            87 => Step::DatabaseLeaves,
            88..90 => Step::DatabaseReturns,
            90 => Step::Settle,
            91..94 => Step::Copy,
            94..96 => Step::GoBack { which: random.below(4) },
            96..98 => Step::Time { seconds: random.pick(&[1, 11, 60, 600]) },
            _ => Step::Replay { at },
        };
        self.steps.push(step);
    }
}

fn what(random: &mut Random) -> What {
    let about = random.below(16);
    match random.below(20) {
        0..7 => What::Session(None),
        7..9 => What::Session(Some(u8::try_from(about % 3).unwrap_or_default())),
        9 => What::Poison,
        10..14 => What::View(about),
        14..16 => What::Leave(about),
        16..18 => What::Heartbeat(about),
        _ => What::Identify(about),
    }
}

fn database_fault(random: &mut Random) -> DatabaseFault {
    random.pick(&[
        DatabaseFault::None,
        DatabaseFault::None,
        DatabaseFault::Before,
        DatabaseFault::AnswerLost,
        DatabaseFault::Late,
        DatabaseFault::Silent,
        DatabaseFault::SilentAfter,
    ])
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, instances, segment_bytes, max_bytes, steps } = self;
        writeln!(
            formatter,
            "seed {seed}: {instances} instances, segments of {segment_bytes} bytes, at most {max_bytes}"
        )?;
        for (number, step) in steps.iter().enumerate() {
            writeln!(formatter, "{number:>4}  {step:?}")?;
        }
        Ok(())
    }
}
