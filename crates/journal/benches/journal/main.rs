//! What durability costs: the whole journal as handlers see it, and the log under it against the same log on SQLite.
//!
//! Run: `cargo bench --bench journal`. The files lie under `target/`, which should be a real disk: on a tmpfs an fsync
//! costs nothing and the figures mean nothing. Every payload has 600 bytes.
//!
//! - `journal`: so many records are handed over at once, and all their acks are awaited.
//! - `storage`: one batch after the other through the trait `Storage`, without the thread and its channels. Every run of
//!   `ROUND` batches begins in a fresh directory; SQLite is spared its checkpoints by that, which it would have to make
//!   away from the commit's path.
//!
//! 2026-11, 2 cores, a virtual disk whose fdatasync takes about 80 µs, medians of calm runs:
//!
//! | records/s | 1 | 100 | 500 |
//! |---|---|---|---|
//! | journal, fsync | 8,700–12,700 | 265,000 | 460,000–600,000 |
//! | journal, no fsync | 52,000–67,000 | 940,000–1,050,000 | 980,000–1,250,000 |
//! | storage, segments | – | 510,000–620,000 | 1,130,000–1,250,000 |
//! | storage, SQLite | – | 270,000–380,000 | 510,000–680,000 |
//!
//! Segments are 1.6 to 2.2 times as fast as SQLite; where others keep the disk busy, 1.3 times. One record in flight pays
//! a whole fsync: 2.9 ms while the disk was busy.

mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use tempfile::TempDir;
use weir_journal::{Journal, JournalOptions, SegmentStorage, Storage};

use sqlite::SqliteStorage;

const PAYLOAD_BYTES: usize = 600;
/// Batches between two fresh directories: a run's files stay below one segment's 64 MiB, whatever criterion asks for.
const ROUND: u64 = 200;

fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo's directory for benchmarks is writable")
}

/// Payloads that differ, as real ones do.
fn payloads(count: usize) -> Vec<Vec<u8>> {
    let byte = |record: usize, at: usize| (record.wrapping_mul(31) ^ at.wrapping_mul(7)).to_le_bytes()[0];
    (0..count).map(|record| (0..PAYLOAD_BYTES).map(|at| byte(record, at)).collect()).collect()
}

fn options(fsync: bool) -> JournalOptions {
    JournalOptions { fsync, ..JournalOptions::default() }
}

fn segments(path: &Path, fsync: bool) -> SegmentStorage {
    SegmentStorage::open(path, options(fsync), Arc::new(())).expect("the directory is fresh")
}

/// Times `iterations` calls in rounds, each on what `open` makes; opening and closing are not timed.
fn in_rounds<T>(
    iterations: u64,
    open: impl Fn(&Path) -> T,
    mut call: impl FnMut(&mut T),
    close: impl Fn(T),
) -> Duration {
    let mut elapsed = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let directory = directory();
        let mut opened = open(directory.path());
        let began = Instant::now();
        for _ in 0..left.min(ROUND) {
            call(&mut opened);
        }
        elapsed += began.elapsed();
        left -= left.min(ROUND);
        close(opened);
    }
    elapsed
}

fn journal(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("the system has threads");
    let mut group = criterion.benchmark_group("journal");
    for fsync in [true, false] {
        for in_flight in [1, 100, 500] {
            let payloads = payloads(in_flight);
            group.throughput(Throughput::Elements(in_flight as u64));
            let id = BenchmarkId::new(if fsync { "fsync" } else { "no fsync" }, in_flight);
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|iterations| {
                    in_rounds(
                        iterations,
                        |path| {
                            Journal::open("bench", path, options(fsync), Arc::new(())).expect("the directory is fresh")
                        },
                        |journal| {
                            let acks = payloads.iter().map(|payload| {
                                journal.appender().append(payload.clone()).expect("the queue holds far more than this")
                            });
                            let acks: Vec<_> = acks.collect();
                            assert!(runtime.block_on(join_all(acks)).iter().all(Result::is_ok));
                        },
                        |journal| journal.appender().close(),
                    )
                });
            });
        }
    }
    group.finish();
}

fn storage(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    for batch in [100, 500] {
        let payloads = payloads(batch);
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("segments", batch), |bencher| {
            bencher.iter_custom(|iterations| append(iterations, |path| segments(path, true), &payloads));
        });
        group.bench_function(BenchmarkId::new("sqlite", batch), |bencher| {
            bencher.iter_custom(|iterations| append(iterations, SqliteStorage::open, &payloads));
        });
    }
    group.finish();
}

fn append<S: Storage>(iterations: u64, open: impl Fn(&Path) -> S, payloads: &[Vec<u8>]) -> Duration {
    in_rounds(
        iterations,
        open,
        |storage| {
            storage.append(payloads).expect("the disk has room");
        },
        |mut storage| storage.close(),
    )
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = journal, storage
}
criterion_main!(benches);
