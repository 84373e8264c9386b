//! What it costs to read and check a session's body, against `serde_json::Value` of the same bytes, which checks nothing.
//!
//! Run: `cargo bench --bench parse`.
//!
//! 2026-11, 2 cores, medians: minimal 0.49 µs (`Value` 0.4), typical 1.6 µs (1.8 to 2.2), invalid 1.1 µs (0.5; each violation
//! that is told is a string).

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use weir::contract::Cut;
use weir::enrich::{SessionFields, SessionVisit};

const MINIMAL: &str = r#"{"visitorId":"visitor-1","landingPage":"https://example.org/","consentAnalytics":"granted"}"#;

/// What a page's script sends, 450 bytes.
const TYPICAL: &str = concat!(
    r#"{"visitorId":"0f3c9a52-7d4e-4b1a-9a57-3b0f6f1f2d11","landingPage":"https://links.example.org/anna?from=igs","#,
    r#""consentAnalytics":"granted","bioPageId":"11111111-2222-3333-4444-555555555555","#,
    r#""referrer":"https://l.instagram.com/","utmSource":"insta","utmMedium":"social","utmCampaign":"spring","#,
    r#""language":"tr-TR","connectionType":"4g","timezone":"Europe/Istanbul","screenWidth":1170,"screenHeight":2532,"#,
    r#""trackingToken":"314a80d1778818a459acf6ddba622462"}"#,
);

/// Breaks a rule in four fields, each of which the answer names.
const INVALID: &str = r#"{"visitorId":"","landingPage":7,"screenWidth":1e9,"osVersion":"a long one, 21 bytes."}"#;

fn parse(criterion: &mut Criterion) {
    assert_eq!(TYPICAL.len(), 450);
    let is_valid =
        |body: &str| SessionVisit::read(body.as_bytes(), &mut SessionFields::default(), &mut Cut::default()).is_ok();
    assert!(is_valid(MINIMAL) && is_valid(TYPICAL) && !is_valid(INVALID));
    let mut group = criterion.benchmark_group("parse");
    for (name, body) in [("minimal", MINIMAL), ("typical", TYPICAL), ("invalid", INVALID)] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("session, {name}"), |bencher| {
            bencher.iter(|| {
                let mut fields = SessionFields::default();
                black_box(SessionVisit::read(black_box(body.as_bytes()), &mut fields, &mut Cut::default())).is_ok()
            });
        });
        group.bench_function(format!("serde_json::Value, {name}"), |bencher| {
            bencher.iter(|| serde_json::from_slice::<Value>(black_box(body.as_bytes())));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = parse
}
criterion_main!(benches);
