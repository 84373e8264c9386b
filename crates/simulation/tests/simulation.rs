//! A bounded search, as every run of the tests does it, and the proof that it finds what it is there for: each rule that is
//! taken away is found missing within a number of seeds.
//!
//! `SIMULATION_SEEDS` is how many seeds are searched, `SIMULATION_FROM` the first of them.

use std::ops::Range;
use std::thread;

use weir_simulation::database::DatabaseFault;
use weir_simulation::disk::{Death, DiskFault};
use weir_simulation::plan::{Plan, Step, What};
use weir_simulation::{Found, Mutation, run, search, shortened};

/// A few tenths of a minute on two cores.
const SEEDS: u64 = 100_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Searches on all cores.
fn search_all(seeds: Range<u64>, mutation: Option<Mutation>) -> Option<Found> {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let each = (seeds.end - seeds.start).div_ceil(threads);
    thread::scope(|scope| {
        let parts = (0..threads).map(|number| {
            let first = seeds.start + number * each;
            scope.spawn(move || search(first..(first + each).min(seeds.end), mutation))
        });
        let parts: Vec<_> = parts.collect();
        parts
            .into_iter()
            .filter_map(|part| part.join().expect("a search does not panic"))
            .min_by_key(|one| one.plan.seed)
    })
}

/// What is found, with as few steps as do it.
fn told(found: Found, mutation: Option<Mutation>) -> String {
    let Found { plan, what } = shortened(found, mutation);
    format!("{what}\n{plan}")
}

#[test]
fn simulation_of_random_seeds_keeps_every_promise() {
    let from = number("SIMULATION_FROM").unwrap_or(0);
    let seeds = from..from + number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    if let Some(found) = search_all(seeds, None) {
        panic!("{}", told(found, None));
    }
}

/// The rule is found missing within so many seeds, and the failure stays one when it is made short.
fn assert_found(mutation: Mutation, within: u64) {
    let found = search(0..within, Some(mutation)).unwrap_or_else(|| panic!("{mutation:?} is not found"));
    let seed = found.plan.seed;
    let steps = found.plan.steps.len();
    let short = shortened(found, Some(mutation));
    assert!(short.plan.steps.len() <= steps.min(10), "{}: {}", short.what, short.plan);
    assert!(search(seed..seed + 1, None).is_none(), "it is the rule that is missing");
}

#[test]
fn ack_before_sync_is_found() {
    assert_found(Mutation::FilesNotSynced, 1_000);
}

#[test]
fn name_before_sync_of_its_directory_is_found() {
    assert_found(Mutation::DirectoriesNotSynced, 1_000);
}

#[test]
fn position_moved_outside_transaction_is_found() {
    assert_found(Mutation::PositionMovedApart, 1_000);
}

#[test]
fn commit_repeated_after_lost_answer_is_found() {
    assert_found(Mutation::PositionNotCompared, 1_000);
}

#[test]
fn dead_letter_after_position_is_found() {
    assert_found(Mutation::LettersAfterPosition, 2_000);
}

#[test]
fn database_that_goes_back_without_kept_segments_is_found() {
    assert_found(Mutation::NothingKept, 50_000);
}

#[test]
fn database_that_goes_back_unnoticed_is_found() {
    assert_found(Mutation::NobodyLooks, 10_000);
}

#[test]
fn effect_of_session_in_other_journal_that_does_not_wait_is_found() {
    assert_found(Mutation::EffectsDoNotWait, 1_000);
}

#[test]
fn keyed_item_stored_twice_is_found() {
    assert_found(Mutation::KeysStoredTwice, 1_000);
}

#[test]
fn keyed_item_refused_in_outage_is_found() {
    assert_found(Mutation::UnknownKeysRefused, 1_000);
}

/// A run that broke a promise once, as it was made short.
fn assert_kept(seed: u64, segment_bytes: u64, steps: Vec<Step>) {
    let plan = Plan { seed, instances: 1, segment_bytes, max_bytes: 1 << 20, steps };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    assert_eq!(run(plan, None), Ok(()));
}

const CUT: Step = Step::Die { at: 0, death: Death::PowerCut, operations: 0 };

#[test]
fn first_dead_letter_before_power_cut_is_kept() {
    use DatabaseFault::{AnswerLost, SilentAfter};
    let what = vec![What::Session(None), What::View(2), What::Poison];
    let faults = vec![AnswerLost, AnswerLost, SilentAfter];
    let steps = vec![Step::Send { at: 0, what }, Step::Commit { at: 0 }, Step::Apply { at: 0, faults, pauses: 3 }, CUT];
    assert_kept(956, 250, steps);
}

#[test]
fn first_dead_letter_whose_write_failed_before_is_kept() {
    let what = vec![What::Session(Some(1)), What::Heartbeat(12), What::Poison, What::Session(None)];
    let steps = vec![
        Step::Apply { at: 0, faults: Vec::new(), pauses: 1 },
        Step::Send { at: 0, what },
        Step::Commit { at: 0 },
        Step::DiskFails { at: 0, fault: DiskFault::Write, operations: 1 },
        Step::Apply { at: 0, faults: vec![DatabaseFault::SilentAfter], pauses: 8 },
        CUT,
    ];
    assert_kept(99_042, 250, steps);
}

/// Its position would be a stranger's for ever.
#[test]
fn name_of_applier_whose_sync_failed_is_synced_again() {
    use DatabaseFault::{AnswerLost, Before, Late, None as Fine};
    let dies_in = |operations| Step::Die { at: 0, death: Death::PowerCut, operations };
    let steps = vec![
        Step::Apply { at: 0, faults: vec![Late, Fine], pauses: 0 },
        dies_in(2),
        Step::Send { at: 0, what: vec![What::Session(None), What::Identify(15)] },
        Step::Commit { at: 0 },
        Step::Start { at: 0 },
        Step::DiskFails { at: 0, fault: DiskFault::Sync, operations: 1 },
        dies_in(8),
        Step::Apply { at: 0, faults: vec![Before, Late, AnswerLost], pauses: 8 },
        Step::Send { at: 0, what: vec![What::Session(None)] },
        Step::Commit { at: 0 },
    ];
    assert_kept(1_185_063, 250, steps);
}

#[test]
fn same_seed_is_same_run() {
    for seed in [13, 542] {
        let run = || search(seed..seed + 1, Some(Mutation::PositionNotCompared)).map(|found| found.what);
        assert_eq!(run(), run());
    }
}
