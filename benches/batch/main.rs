//! What it costs to apply a batch: the rows and the journal's position in one transaction.
//!
//! Run: `TEST_POSTGRES_DURABLE=1 scripts/with-postgres cargo bench --bench batch`; without PostgreSQL only SQLite is
//! measured. After criterion's own part a table tells the CPU time a row, of all of PostgreSQL's processes and of this one.
//!
//! Weir sends fewer than 500 new rows as one array and a plain INSERT, and more of them by binary COPY; beside it stands COPY
//! for any number, into the same table and into one without partitions.
//!
//! sqlx 0.9.0 leaves Nagle's algorithm on (its issue 4335, mended after 0.9.0). COPY ends with a small write after a large
//! one, which over TCP may wait for the server's delayed acknowledgement; whether it does depends on where the last packet
//! ends. A batch of 100 lost by it, which is why few rows go another way.
//!
//! 21 November 2026, 2 cores, PostgreSQL 15 on the same machine, the table of one run (CPU is counted in steps of 10 ms), when
//! Weir sent every number of rows as an array:
//!
//! | door | rows a batch | Weir rows/s | PostgreSQL + Weir µs/row | COPY rows/s | PostgreSQL + client µs/row |
//! |---|---|---|---|---|---|
//! | TCP | 100 | 45,900 | 17.5 + 5.0 | **2,300** | 61.0 + 2.0 |
//! | TCP | 500 | 71,300 | 11.8 + 1.6 | 69,100 | 7.6 + 0.6 |
//! | TCP | 2000 | 111,700 | 8.4 + 0.6 | 113,100 | 6.8 + 0.6 |
//! | Unix socket | 100 | 77,900 | 10.0 + 2.0 | 65,300 | 12.5 + 2.0 |
//! | Unix socket | 500 | 113,000 | 7.4 + 1.0 | 108,700 | 8.6 + 1.2 |
//! | Unix socket | 2000 | 121,800 | 7.4 + 0.6 | 73,600 | 14.8 + 0.8 |
//!
//! Before, with one array a column and ON CONFLICT, the Unix socket had 58,000, 87,000 and 89,000 rows/s at 12.5, 11.4 and
//! 10.4 µs of PostgreSQL and 1.0 to 1.2 of Weir.

// Rates of a report.
#![allow(clippy::cast_precision_loss)]

mod copy;
mod records;
mod server;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::runtime::Runtime;
use weir_domain::{AnalyticsRecord, Clock};
use weir_store::postgres::PostgresAnalytics;
use weir_store::sqlite::SqliteAnalytics;
use weir_store::{Sink, Step};

use records::{Source, sessions};
use server::Door;

const PARTITIONED: &str = "analytics_sessions";
const PLAIN: &str = "plain_sessions";
/// The most rows and the most batches that a line of the table is made of.
const TABLE_ROWS: usize = 50_000;
const TABLE_BATCHES: usize = 200;

/// How a batch is brought to PostgreSQL.
#[derive(Clone, Copy)]
enum Way {
    /// As Weir does it.
    Weir,
    /// COPY into this table.
    Copy(&'static str),
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::Copy(PLAIN) => "copy, plain table",
            Self::Copy(_) => "copy",
        }
    }
}

/// A fresh database on PostgreSQL, and a way to fill it.
struct Target {
    way: Way,
    sink: PostgresAnalytics,
    connection: PgConnection,
    source: Source,
}

impl Target {
    async fn new(door: &Door, way: Way) -> Self {
        let url = door.database().await;
        let sink = PostgresAnalytics::open(&url).expect("the URL was valid before");
        sink.migrate().await.expect("the database is empty");
        sink.maintain(Clock::system().now(), 0).await.expect("partitions can be made");
        let mut connection = PgConnection::connect(&url).await.expect("the server is up");
        // The same columns and indexes, and the same room in a page.
        let plain = format!("CREATE TABLE {PLAIN} (LIKE {PARTITIONED} INCLUDING ALL) WITH (fillfactor = 70)");
        sqlx::raw_sql(AssertSqlSafe(plain)).execute(&mut connection).await.expect("there is no such table");
        let source = Source::new(&sink).await;
        Self { way, sink, connection, source }
    }

    async fn apply(&mut self, step: &Step, records: &[AnalyticsRecord<&str>]) {
        match self.way {
            Way::Weir => drop(self.sink.apply(step, records).await.expect("the batch is sound")),
            Way::Copy(table) => self.copy(table, step, records).await.expect("the batch is sound"),
        }
    }

    async fn copy(&mut self, table: &str, step: &Step, records: &[AnalyticsRecord<&str>]) -> Result<(), sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        sqlx::query(
            "UPDATE journal_positions SET position = $1, writer = $2, updated_at = $3
             WHERE journal_id = $4 AND position = $5 RETURNING position",
        )
        .bind(step.through.0.cast_signed())
        .bind(step.writer.to_string())
        .bind(chrono::Utc::now().to_rfc3339())
        .bind(step.journal.to_string())
        .bind(step.from.0.cast_signed())
        .fetch_one(&mut *transaction)
        .await?;
        copy::insert(&mut transaction, table, &sessions(records)).await?;
        transaction.commit().await
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the system has threads")
}

fn sqlite(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("sqlite");
    for rows in [100, 500, 2000] {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo's directory is writable");
        let sink = SqliteAnalytics::open(&format!("sqlite://{}", directory.path().join("analytics.db").display()))
            .expect("the directory is fresh");
        let mut source = runtime.block_on(async {
            sink.migrate().await.expect("the file is new");
            Source::new(&sink).await
        });
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::from_parameter(rows), |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| {
                        let (step, records) = source.next(rows);
                        let began = Instant::now();
                        runtime.block_on(sink.apply(&step, &records)).expect("the batch is sound");
                        began.elapsed()
                    })
                    .sum()
            });
        });
    }
    group.finish();
}

fn postgres(criterion: &mut Criterion, doors: &[Door]) {
    let runtime = runtime();
    for door in doors {
        for way in [Way::Weir, Way::Copy(PARTITIONED)] {
            let mut group = criterion.benchmark_group(format!("postgres, {}, {}", door.name, way.name()));
            for rows in [100, 500, 2000] {
                let mut target = runtime.block_on(Target::new(door, way));
                group.throughput(Throughput::Elements(rows as u64));
                group.bench_function(BenchmarkId::from_parameter(rows), |bencher| {
                    bencher.iter_custom(|iterations| runtime.block_on(time(&mut target, rows, iterations)));
                });
            }
            group.finish();
        }
    }
}

async fn time(target: &mut Target, rows: usize, batches: u64) -> Duration {
    let mut elapsed = Duration::ZERO;
    for _ in 0..batches {
        let (step, records) = target.source.next(rows);
        let began = Instant::now();
        target.apply(&step, &records).await;
        elapsed += began.elapsed();
    }
    elapsed
}

/// Rows a second and microseconds of CPU a row, each line on a fresh database.
async fn table(doors: &[Door]) {
    println!("| way | door | rows a batch | rows/s | PostgreSQL µs/row | client µs/row |\n|---|---|---|---|---|---|");
    for door in doors {
        let postmaster = door.postmaster().await;
        let server_cpu = || postmaster.map(server::server_cpu);
        for way in [Way::Weir, Way::Copy(PARTITIONED), Way::Copy(PLAIN)] {
            for rows in [100, 500, 2000] {
                let mut target = Target::new(door, way).await;
                time(&mut target, rows, 3).await;
                let batches: Vec<_> =
                    (0..(TABLE_ROWS / rows).min(TABLE_BATCHES)).map(|_| target.source.next(rows)).collect();
                let (server_before, own_before, began) = (server_cpu(), server::own_cpu(), Instant::now());
                for (step, records) in &batches {
                    target.apply(step, records).await;
                }
                let seconds = began.elapsed().as_secs_f64();
                let total = (rows * batches.len()) as f64;
                let own = (server::own_cpu() - own_before) * 1e6 / total;
                let server = server_before.zip(server_cpu()).map(|(before, after)| (after - before) * 1e6 / total);
                let server = server.map_or("–".to_owned(), |micros| format!("{micros:.1}"));
                println!("| {} | {} | {rows} | {:.0} | {server} | {own:.1} |", way.name(), door.name, total / seconds);
            }
        }
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    sqlite(&mut criterion);
    let runtime = runtime();
    let doors = runtime.block_on(server::doors());
    if doors.is_empty() {
        println!("PostgreSQL is not measured: TEST_POSTGRES_URL is not set (see scripts/with-postgres)");
    }
    postgres(&mut criterion, &doors);
    criterion.final_summary();
    // `--test`, `--list` and a filter are about criterion's part only.
    if !doors.is_empty() && std::env::args().skip(1).all(|argument| argument == "--bench") {
        runtime.block_on(table(&doors));
    }
}
