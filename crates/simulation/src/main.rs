//! Searches seeds by hand: `cargo run --release -p weir-simulation -- --seeds N --from S`.
//!
//! Prints the first seed whose run does not keep a promise, with as few of its steps as do it, and exits with 1.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use clap::Parser;
use weir_simulation::{Found, Mutation, search, shortened};

/// So many seeds are taken at once.
const CHUNK: u64 = 500;

#[derive(Parser)]
#[command(about = "Searches for a run of journal, applier and sink that breaks a promise")]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Takes a rule away, to see that it is found.
    #[arg(long)]
    without: Option<String>,
    /// All cores unless given.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let Options { seeds, from, without, threads } = Options::parse();
    let mutation = match without.as_deref().map(|name| (name, Mutation::named(name))) {
        Some((name, None)) => {
            eprintln!(
                "no rule {name}; there are: {}",
                Mutation::ALL.map(|mutation| format!("{mutation:?}")).join(", ")
            );
            return ExitCode::from(2);
        }
        named => named.and_then(|(_, mutation)| mutation),
    };
    // What panics is found, and told below.
    std::panic::set_hook(Box::new(|_| {}));
    let threads = threads.or_else(|| thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let (next, is_over, began) = (AtomicU64::new(from), AtomicBool::new(false), Instant::now());
    let search_some = || {
        let mut found: Option<Found> = None;
        while !is_over.load(Ordering::Relaxed) && found.is_none() {
            let first = next.fetch_add(CHUNK, Ordering::Relaxed);
            if first >= from + seeds {
                break;
            }
            found = search(first..(first + CHUNK).min(from + seeds), mutation);
        }
        if found.is_some() {
            is_over.store(true, Ordering::Relaxed);
        }
        found
    };
    let found = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(search_some)).collect();
        let found = threads.into_iter().filter_map(|thread| thread.join().ok().flatten());
        found.min_by_key(|found| found.plan.seed)
    });
    let took = began.elapsed().as_secs_f64();
    let Some(found) = found else {
        println!("{seeds} seeds from {from}: every promise was kept ({took:.1} s, {threads} threads)");
        return ExitCode::SUCCESS;
    };
    println!("{} ({took:.1} s)", found.what);
    let Found { plan, what } = shortened(found, mutation);
    println!("with as few steps as do it: {what}\n{plan}");
    ExitCode::FAILURE
}
