//! What reading a user agent costs, against `uaparser`, the older implementation of the same expressions, and what the
//! check for bots costs.
//!
//! The sixty user agents are real traffic: evenly spaced distinct lines of the sample that `regex-filtered` ships. Each
//! figure is for all sixty. Every parse here is a miss of the cache that the service puts before the parser, which is
//! what a flood of made-up user agents would make of it.

use std::collections::BTreeSet;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use uaparser::Parser as _;
use weir::enrich::user_agent::UserAgentParser;
use weir_domain::BotFilter;
use weir_testkit::packages::Packages;

const USER_AGENTS: usize = 60;

fn user_agents(packages: &Packages) -> Vec<String> {
    let sample = packages.read("regex-filtered", "samples/useragents.txt");
    let distinct: BTreeSet<&str> = sample.lines().filter(|line| !line.is_empty()).collect();
    let step = distinct.len() / USER_AGENTS;
    assert!(step > 0, "the sample is too short");
    distinct.into_iter().step_by(step).take(USER_AGENTS).map(str::to_owned).collect()
}

fn parse(criterion: &mut Criterion) {
    let packages = Packages::locate();
    let user_agents = user_agents(&packages);
    let bytes: usize = user_agents.iter().map(String::len).sum();
    println!("{USER_AGENTS} user agents, {} bytes on average", bytes / USER_AGENTS);

    let parser = UserAgentParser::new().expect("the embedded expressions are those of this build");
    let yaml = packages.read("ua-parser", "uap-core/regexes.yaml");
    let older = uaparser::UserAgentParser::builder()
        .with_unicode_support(false)
        .with_device(false)
        .build_from_bytes(yaml.as_bytes())
        .expect("both implementations read the same file");

    let mut group = criterion.benchmark_group("sixty user agents");
    group.throughput(Throughput::Elements(USER_AGENTS as u64));
    group.bench_function("weir", |bencher| {
        bencher.iter(|| user_agents.iter().for_each(|user_agent| drop(black_box(parser.parse(user_agent)))));
    });
    group.bench_function("uaparser, browser and system only", |bencher| {
        bencher.iter(|| {
            for user_agent in &user_agents {
                black_box((older.parse_user_agent(user_agent), older.parse_os(user_agent)));
            }
        });
    });
    let bots = BotFilter::default();
    group.bench_function("bots", |bencher| {
        bencher.iter(|| user_agents.iter().filter(|user_agent| bots.find(black_box(user_agent)).is_some()).count());
    });
    group.finish();

    criterion.bench_function("load the parser", |bencher| {
        bencher.iter_batched(|| (), |()| UserAgentParser::new(), BatchSize::PerIteration);
    });
}

criterion_group!(benches, parse);
criterion_main!(benches);
