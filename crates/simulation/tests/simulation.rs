//! A bounded search, as every run of the tests does it, and the proof that it finds what it is there for: each rule that is
//! taken away is found missing within a number of seeds.
//!
//! `SIMULATION_SEEDS` is how many seeds are searched, `SIMULATION_FROM` the first of them.

use std::ops::Range;
use std::thread;

use weir_simulation::{Found, Mutation, search, shortened};

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

#[test]
fn same_seed_is_same_run() {
    for seed in [13, 542] {
        let run = || search(seed..seed + 1, Some(Mutation::PositionNotCompared)).map(|found| found.what);
        assert_eq!(run(), run());
    }
}
