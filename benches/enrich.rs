//! What it costs to turn a checked visit into the record to store: user agent, place, referrer, token, id, hash.
//!
//! Run: `cargo bench --bench enrich`. A hit is a user agent that the cache knows. A miss is a new one each time, and
//! includes the way to the pool's actor on another thread and back.
//!
//! 2026-11, 2 cores, medians: hit 2.8 to 3.4 µs, with GeoIP 3.9 to 5.7 µs; miss 33 to 38 µs, of which the parse itself is
//! 6 µs (see `user_agent`); refused: bot 0.8 µs, no consent 1.0 µs, bad token 2 µs.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use actix::SystemRunner;
use criterion::async_executor::AsyncExecutor;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use mmdb_writer::{Value, Writer};
use weir::actor::{Health, Watchdog};
use weir::enrich::bots::Bots;
use weir::enrich::geo::Geo;
use weir::enrich::pool::UserAgents;
use weir::enrich::token::TrackingTokens;
use weir::enrich::user_agent::UserAgentParser;
use weir::enrich::{Discarded, Enricher, EventTime, SessionVisit};
use weir::telemetry::Telemetry;
use weir_domain::{BotFilter, ClientIp, Clock, GeoLocation, IdSource, SessionRecord};

const PAGE: &str = "11111111-2222-3333-4444-555555555555";
const BROWSER: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                       Version/17.4.1 Mobile/15E148 Safari/604.1";
const BOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// Criterion drives the futures on the system's own thread, as a test server's worker would.
struct System(SystemRunner);

impl AsyncExecutor for &System {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}

fn enricher(geo: Geo) -> Enricher {
    let telemetry = Telemetry::new();
    let parser = UserAgentParser::new().expect("the embedded expressions are those of this build");
    let restart_budget = Health::new(Arc::clone(&telemetry)).restart_budget("user_agent_parser");
    Enricher {
        bots: Arc::new(Bots::new(BotFilter::default(), &telemetry)),
        agents: UserAgents::start(parser, 2, &Watchdog::default(), &restart_budget, telemetry),
        geo,
        tokens: TrackingTokens::new(b"a secret for benchmarks"),
        ids: Arc::new(IdSource::default()),
    }
}

/// Ten thousand networks in the layout of GeoLite2-City, with the ten languages' names reduced to three.
fn geo() -> Geo {
    // A description is what the reader insists on.
    let mut writer = Writer::builder("GeoLite2-City").description(&[("en", "Made for a benchmark")]).build();
    for network in 0..10_000_u32 {
        let address = Ipv4Addr::from_bits((80 << 24) + (network << 8));
        // The reader insists on the integers' widths, which JSON would not keep.
        let names = |name: &str| Value::map(["de", "en", "fr"].map(|language| (language, name)));
        let country = || {
            Value::map([
                ("geoname_id", Value::from(2_921_044_u32)),
                ("iso_code", Value::from("DE")),
                ("names", names("Germany")),
            ])
        };
        let row = Value::map([
            (
                "city",
                Value::map([
                    ("geoname_id", Value::from(network)),
                    ("names", names(&format!("City {}", network % 2000))),
                ]),
            ),
            (
                "continent",
                Value::map([
                    ("code", Value::from("EU")),
                    ("geoname_id", Value::from(6_255_148_u32)),
                    ("names", names("Europe")),
                ]),
            ),
            ("country", country()),
            (
                "location",
                Value::map([
                    ("accuracy_radius", Value::from(20_u16)),
                    ("latitude", Value::from(52.5)),
                    ("longitude", Value::from(13.4)),
                    ("time_zone", Value::from("Europe/Berlin")),
                ]),
            ),
            ("postal", Value::map([("code", "10115")])),
            ("registered_country", country()),
            (
                "subdivisions",
                Value::array([Value::map([
                    ("geoname_id", Value::from(2_950_157_u32)),
                    ("iso_code", Value::from("BE")),
                    ("names", names("Land Berlin")),
                ])]),
            ),
        ]);
        let network: ipnet::Ipv4Net = format!("{address}/24").parse().expect("an address and a prefix length");
        writer.insert_value(network, row).expect("the networks do not overlap and are not reserved");
    }
    let directory = tempfile::tempdir().expect("the system has a temporary directory");
    let path = directory.path().join("city.mmdb");
    std::fs::write(&path, writer.to_bytes().expect("ten thousand networks fit")).expect("the directory is writable");
    let geo = Geo::default();
    geo.load(&path).expect("what was just written is a database");
    geo
}

/// A visit whose parts a benchmark may change.
struct Visit {
    user_agent: String,
    token: String,
    consent: Option<&'static str>,
}

impl Visit {
    fn of(enricher: &Enricher, user_agent: String) -> Self {
        let token = enricher.tokens.mint(PAGE, Clock::system().now());
        Self { user_agent, token, consent: Some("granted") }
    }

    fn says(&self) -> SessionVisit<'_> {
        SessionVisit {
            visitor_id: "0f3c9a52-7d4e-4b1a-9a57-3b0f6f1f2d11",
            landing_page: "https://links.example.org/anna?utm_source=insta",
            consent_analytics: self.consent,
            bio_page_id: Some(PAGE),
            referrer: Some("https://l.instagram.com/"),
            utm_source: Some("insta"),
            utm_medium: Some("social"),
            language: Some("tr-TR"),
            timezone: Some("Europe/Istanbul"),
            screen_width: Some(1170),
            screen_height: Some(2532),
            tracking_token: Some(&self.token),
            ..SessionVisit::default()
        }
    }
}

async fn session(enricher: &Enricher, visit: &Visit) -> Result<SessionRecord, Discarded> {
    let when = EventTime { now: Clock::system().now(), age_ms: 0 };
    let user_agent = Some(visit.user_agent.as_str());
    let says = visit.says();
    let admitted = enricher.admit(&says, user_agent, when.now)?;
    let place = enricher.place(ClientIp::parse("80.0.77.9"), GeoLocation::default());
    let record = |agent| {
        enricher.record(&says, admitted.bio_page_id, agent, &place, when, |record: &SessionRecord<&str>| {
            record.to_owned_texts()
        })
    };
    Ok(match &admitted.agent {
        Some(agent) => record(agent),
        None => record(&*enricher.parse(user_agent).await?),
    })
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    system: &System,
    enricher: &Enricher,
    name: &str,
    mut make: impl FnMut() -> Visit,
) {
    group.bench_function(name, |bencher| {
        bencher.to_async(system).iter_batched(
            &mut make,
            |visit| async move { black_box(session(enricher, &visit).await) },
            BatchSize::SmallInput,
        );
    });
}

fn enrich(criterion: &mut Criterion) {
    let system = System(actix::System::new());
    // The pool's arbiters belong to the system that is current when they are made.
    let (bare, full) = system.0.block_on(async { (enricher(Geo::default()), enricher(geo())) });
    let known =
        system.0.block_on(session(&full, &Visit::of(&full, BROWSER.to_owned()))).expect("nothing is wrong with it");
    assert_eq!(known.place.region.as_deref(), Some("Land Berlin"));

    let mut group = criterion.benchmark_group("enrich");
    bench(&mut group, &system, &bare, "hit", || Visit::of(&bare, BROWSER.to_owned()));
    bench(&mut group, &system, &full, "hit, with GeoIP", || Visit::of(&full, BROWSER.to_owned()));
    let mut build = 0_u64;
    bench(&mut group, &system, &bare, "miss", || {
        build += 1;
        Visit::of(&bare, format!("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/137.0.{build}.0"))
    });

    let mut refused = |name, expected, change: fn(&mut Visit)| {
        let make = || {
            let mut visit = Visit::of(&full, BROWSER.to_owned());
            change(&mut visit);
            visit
        };
        assert_eq!(system.0.block_on(session(&full, &make())).err(), Some(expected));
        bench(&mut group, &system, &full, name, make);
    };
    let word = BotFilter::default().find(BOT).expect("it is a crawler's");
    refused("refused, bot", Discarded::Bot(word), |visit| BOT.clone_into(&mut visit.user_agent));
    refused("refused, no consent", Discarded::NoConsent, |visit| visit.consent = None);
    refused("refused, bad token", Discarded::BadToken, |visit| visit.token = "0".repeat(32));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = enrich
}
criterion_main!(benches);
