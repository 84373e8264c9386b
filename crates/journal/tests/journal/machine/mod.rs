//! A journal through random appends, faults, harm to its files and restarts, held against a ledger of what it
//! acknowledged.
//!
//! After every step everything is read back: what is whole comes once and in order, what is not is named and nothing else
//! is, no position is given twice, and the files stay under their bound. `PROPTEST_CASES` sets another number of cases;
//! what failed once is kept in `tests/proptest-regressions` and tried first.

mod files;
mod ledger;
mod subject;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use subject::Subject;

const CASES: u32 = 400;
/// What the reserve takes of a journal's bound.
const RESERVE_BYTES: u64 = 64 << 10;

/// What decides which steps are possible.
#[derive(Clone, Debug)]
pub struct Plan {
    pub segment_bytes: u64,
    pub max_bytes: u64,
    pub keep_applied_bytes: u64,
    pub disk_works: bool,
}

/// One thing that happens to a journal.
#[derive(Clone, Debug)]
pub enum Step {
    /// Records of these lengths, handed over at once.
    Append(Vec<usize>),
    /// The directory is gone: no segment can be begun.
    DiskFails,
    DiskHeals,
    /// A reader reads one batch on from the place that it has kept, or from an earlier one.
    Read {
        from: Option<Index>,
        records: usize,
        bytes: usize,
    },
    /// The database has applied so much, and the collector deletes it.
    Apply(Index),
    /// The database goes back, as far as the journal can follow.
    Rewind(Index),
    /// A bit of an acknowledged record is another one, under the running process.
    Flip {
        record: Index,
        bit: Index,
    },
    Restart {
        stop: Stop,
        harm: Vec<Harm>,
    },
}

/// How a process ends.
#[derive(Clone, Debug)]
pub enum Stop {
    InOrder,
    /// In the middle of an append of records of these lengths: a part of its bytes is on disk.
    Crash {
        unfinished: Vec<usize>,
        torn: Index,
    },
}

/// What happens to a journal's files while no process has them.
#[derive(Clone, Debug)]
pub enum Harm {
    FlipRecord {
        record: Index,
        bit: Index,
    },
    FlipHeader {
        segment: Index,
        bit: Index,
    },
    Truncate {
        segment: Index,
        length: Index,
    },
    Remove {
        segment: Index,
    },
    /// The newest segment has so many zeroes after its end.
    Zeroes(usize),
    /// The newest segment has this after its end.
    Garbage(Vec<u8>),
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 8_usize..60, 3 => 60_usize..700, 1 => 700_usize..6000]
}

fn batch() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(length(), 1..10)
}

/// Rubbish that looks like the beginning of a record as often as not.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![Just(b"WREC".to_vec()), Just(vec![0; 7]), proptest::collection::vec(any::<u8>(), 1..40)];
    proptest::collection::vec(word, 1..6).prop_map(|words| words.concat())
}

fn harm() -> impl Strategy<Value = Harm> {
    let any = any::<Index>;
    prop_oneof![
        3 => (any(), any()).prop_map(|(record, bit)| Harm::FlipRecord { record, bit }),
        1 => (any(), any()).prop_map(|(segment, bit)| Harm::FlipHeader { segment, bit }),
        1 => (any(), any()).prop_map(|(segment, length)| Harm::Truncate { segment, length }),
        1 => any().prop_map(|segment| Harm::Remove { segment }),
        1 => (1_usize..600).prop_map(Harm::Zeroes),
        2 => garbage().prop_map(Harm::Garbage),
    ]
}

fn stop() -> impl Strategy<Value = Stop> {
    prop_oneof![
        1 => Just(Stop::InOrder),
        2 => (proptest::collection::vec(length(), 0..5), any::<Index>())
            .prop_map(|(unfinished, torn)| Stop::Crash { unfinished, torn }),
    ]
}

/// Drives a journal.
pub struct Machine;

impl ReferenceStateMachine for Machine {
    type State = Plan;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Plan> {
        let segment_bytes = prop_oneof![Just(1_u64), 200_u64..4000, Just(1_u64 << 20)];
        let max_bytes = prop_oneof![8000_u64..40_000, Just(1_u64 << 30)].prop_map(|bytes| RESERVE_BYTES + bytes);
        let keep_applied_bytes = prop_oneof![Just(0_u64), 1000_u64..20_000, Just(1_u64 << 30)];
        (segment_bytes, max_bytes, keep_applied_bytes)
            .prop_map(|(segment_bytes, max_bytes, keep_applied_bytes)| Plan {
                segment_bytes,
                max_bytes,
                keep_applied_bytes,
                disk_works: true,
            })
            .boxed()
    }

    fn transitions(plan: &Plan) -> BoxedStrategy<Step> {
        let any = any::<Index>;
        let append = batch().prop_map(Step::Append);
        let restart =
            (stop(), proptest::collection::vec(harm(), 0..3)).prop_map(|(stop, harm)| Step::Restart { stop, harm });
        if !plan.disk_works {
            return prop_oneof![3 => append, 2 => Just(Step::DiskHeals), 1 => restart].boxed();
        }
        prop_oneof![
            8 => append,
            1 => Just(Step::DiskFails),
            3 => (proptest::option::weighted(0.3, any()), 1_usize..9, 1_usize..3000)
                .prop_map(|(from, records, bytes)| Step::Read { from, records, bytes }),
            2 => any().prop_map(Step::Apply),
            1 => any().prop_map(Step::Rewind),
            1 => (any(), any()).prop_map(|(record, bit)| Step::Flip { record, bit }),
            4 => restart,
        ]
        .boxed()
    }

    fn preconditions(plan: &Plan, step: &Step) -> bool {
        match step {
            Step::Append(_) | Step::Restart { .. } => true,
            Step::DiskHeals => !plan.disk_works,
            _ => plan.disk_works,
        }
    }

    fn apply(mut plan: Plan, step: &Step) -> Plan {
        match step {
            Step::DiskFails => plan.disk_works = false,
            Step::DiskHeals | Step::Restart { .. } => plan.disk_works = true,
            _ => {}
        }
        plan
    }
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Subject;
    type Reference = Self;

    fn init_test(plan: &Plan) -> Subject {
        Subject::new(plan)
    }

    fn apply(mut subject: Subject, _: &Plan, step: Step) -> Subject {
        match step {
            Step::Append(lengths) => subject.append(&lengths),
            Step::DiskFails => subject.fail_disk(),
            Step::DiskHeals => subject.heal_disk(),
            Step::Read { from, records, bytes } => subject.read_on(from, records, bytes),
            Step::Apply(through) => subject.apply(through),
            Step::Rewind(to) => subject.rewind(to),
            Step::Flip { record, bit } => subject.flip(record, bit),
            Step::Restart { stop, harm } => subject.restart(&stop, &harm),
        }
        subject
    }

    fn check_invariants(subject: &Subject, plan: &Plan) {
        if plan.disk_works {
            subject.check();
        }
    }
}

fn config() -> ProptestConfig {
    let persistence =
        FileFailurePersistence::Direct(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proptest-regressions/journal.txt"));
    let default = ProptestConfig::default();
    let cases = std::env::var("PROPTEST_CASES").map_or(CASES, |_| default.cases);
    ProptestConfig { cases, failure_persistence: Some(Box::new(persistence)), ..default }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn journal_random_faults_read_whole_records_once_in_order(
        sequential 1..40 => Machine
    );
}
