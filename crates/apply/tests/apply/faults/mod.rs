//! A writer through random records, faults, deaths and restarts, held against a ledger of what was acknowledged.
//!
//! The journal and the database are the real ones. After every step the rows are those of the records up to the database's
//! position, each counted once, and at the end of all of them. `PROPTEST_CASES` sets another number of cases; what failed
//! once is kept in `tests/proptest-regressions` and tried first.

mod faulty;
mod ledger;
mod process;
mod subject;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use faulty::Fault;
use process::World;
use subject::Subject;
use weir_testkit::Backend;

/// What is recorded.
#[derive(Clone, Copy, Debug)]
pub enum What {
    Session,
    /// A session that the database refuses.
    Poison,
    /// A view of some session, the refused ones among them.
    View(Index),
    Heartbeat(Index),
}

/// One thing that happens to a writer.
#[derive(Clone, Debug)]
pub enum Step {
    Append(Vec<What>),
    /// It applies everything, while these things go wrong.
    Run(Vec<Fault>),
    /// It dies at its so-many-th pause; another takes its place in the same process.
    Die {
        faults: Vec<Fault>,
        after: usize,
    },
    /// The process ends at its writer's so-many-th pause, and another one begins.
    Restart {
        faults: Vec<Fault>,
        after: usize,
        in_order: bool,
    },
    /// Somebody else moves the position, and an operator sets it right.
    Stranger,
    /// The disk forgets the end of what it was given, records among it that the database has and others that it has not.
    PowerCut(Index),
    /// A record's bytes are not what they were, before the writer has read them.
    Corruption,
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        6 => Just(What::Session),
        1 => Just(What::Poison),
        4 => any::<Index>().prop_map(What::View),
        3 => any::<Index>().prop_map(What::Heartbeat),
    ]
}

fn faults(most: usize) -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        4 => Just(Fault::None),
        1 => Just(Fault::Before),
        2 => Just(Fault::After),
        1 => Just(Fault::Hang),
        1 => Just(Fault::HangAfter),
        1 => Just(Fault::Panic),
        1 => Just(Fault::PanicAfter),
    ];
    proptest::collection::vec(fault, 0..=most)
}

/// What each case begins with: so much that steps are begun before their turn.
const BACKLOG: usize = 60;

/// Drives a writer.
struct Machine;

impl ReferenceStateMachine for Machine {
    type State = ();
    type Transition = Step;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Step> {
        let after = 1_usize..30;
        prop_oneof![
            6 => proptest::collection::vec(what(), 1..25).prop_map(Step::Append),
            3 => faults(4).prop_map(Step::Run),
            3 => (faults(2), after.clone()).prop_map(|(faults, after)| Step::Die { faults, after }),
            2 => (faults(2), after, any::<bool>())
                .prop_map(|(faults, after, in_order)| Step::Restart { faults, after, in_order }),
            1 => Just(Step::Stranger),
            1 => Just(Step::Corruption),
            1 => any::<Index>().prop_map(Step::PowerCut),
        ]
        .boxed()
    }

    fn apply((): (), _: &Step) {}
}

thread_local! {
    /// The database of the test that runs on this thread: a state machine makes its subject out of nothing else.
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Subject;
    type Reference = Self;

    fn init_test((): &()) -> Subject {
        let world = WORLD.with_borrow(|world| Rc::clone(world.as_ref().expect("a test has made one")));
        let mut subject = Subject::new(world);
        subject.append(&[What::Session; BACKLOG]);
        subject
    }

    fn apply(mut subject: Subject, (): &(), step: Step) -> Subject {
        match step {
            Step::Append(records) => subject.append(&records),
            Step::Run(faults) => subject.run(faults),
            Step::Die { faults, after } => subject.die(faults, after),
            Step::Restart { faults, after, in_order } => subject.restart(faults, after, in_order),
            Step::Stranger => subject.meet_a_stranger(),
            Step::Corruption => subject.corrupt(),
            Step::PowerCut(length) => subject.cut_power(length),
        }
        subject
    }

    fn check_invariants(subject: &Subject, (): &()) {
        subject.check();
    }

    fn teardown(mut subject: Subject, (): ()) {
        subject.run(Vec::new());
        subject.check();
        subject.end();
    }
}

/// How many steps were begun before their turn.
fn random_faults_apply_every_record_once(backend: Backend, cases: u32) -> usize {
    WORLD.set(Some(Rc::new(World::new(backend))));
    let persistence =
        FileFailurePersistence::Direct(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proptest-regressions/writer.txt"));
    let default = ProptestConfig::default();
    let config = ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(cases, |_| default.cases),
        max_shrink_iters: 300,
        failure_persistence: Some(Box::new(persistence)),
        ..default
    };
    let ran = TestRunner::new(config.clone()).run(&Machine::sequential_strategy(1..15), |((), steps, seen)| {
        Machine::test_sequential(config.clone(), (), steps, seen);
        Ok(())
    });
    let world = WORLD.take().expect("it was set above");
    ran.unwrap_or_else(|error| panic!("{error}"));
    world.early.load(Ordering::Relaxed)
}

#[test]
fn writer_random_faults_apply_every_record_once_on_sqlite() {
    random_faults_apply_every_record_once(Backend::Sqlite, 60);
}

#[test]
fn writer_random_faults_apply_every_record_once_on_postgres() {
    let early = random_faults_apply_every_record_once(Backend::Postgres, 15);
    let is_asked_for_few = std::env::var("PROPTEST_CASES").is_ok();
    assert!(early > 0 || is_asked_for_few, "no step was begun before its turn");
}
