//! How much of everything is too much, for every route that reads: an answer that says so, never a crash.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_testkit::raw_connection::{Answer, RawConnection};
use weir_testkit::{BROWSER, Backend, Database, TestApp, UNTHROTTLED, access_token, minimal_session};

use crate::SESSION;

/// Every route that reads JSON, with a good body.
fn readers() -> Vec<(&'static str, Value)> {
    let id = "0190a1b2-0000-7000-8000-00000000000a";
    let item = |kind: &str, fields: Value| {
        let mut body = json!({"type": kind});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    vec![
        (SESSION, minimal_session()),
        ("/api/v1/analytics/pageview", json!({"sessionId": id, "url": "https://example.org/", "title": "t"})),
        (
            "/api/v1/analytics/pageview/0190a1b2-0000-7000-8000-00000000000a/leave",
            json!({"duration": 1, "scrollDepth": 1}),
        ),
        (
            "/api/v1/analytics/batch",
            json!({"items": [
                item("session", json!({"body": minimal_session()})),
                item("heartbeat", json!({"id": id, "key": "k", "ageMs": 1})),
            ]}),
        ),
        ("/api/v1/analytics/track", json!({"event": "e", "sessionId": "s", "properties": {"plan": "free"}})),
        ("/api/v1/consent/cookies", json!({"analytics": true, "marketing": true, "functional": true})),
        ("/track/init", json!({"token": "t", "utmSource": "x", "referrer": "r"})),
        ("/auth/request-code", json!({"email": "ada@example.org"})),
        ("/auth/verify", json!({"email": "ada@example.org", "code": "123456", "visitorToken": "t"})),
        ("/auth/external/verify", json!({"provider": "p", "idToken": "t", "visitorToken": "t"})),
        ("/internal/v1/users", json!({"id": "u", "email": "ada@example.org", "createdAt": "2026-01-01T00:00:00Z"})),
    ]
}

async fn start() -> TestApp {
    let variables = [UNTHROTTLED, &[("WEIR_INTERNAL_KEY", "key")]].concat();
    TestApp::start_with(Backend::Sqlite, &variables).await
}

/// Sends a body as somebody who may do everything.
async fn status(app: &TestApp, path: &str, body: impl Into<reqwest::Body>) -> u16 {
    let request = app.client.post(app.url(path)).header("user-agent", BROWSER).header("x-internal-key", "key");
    let response = request.bearer_auth(access_token("ann")).body(body).send().await;
    response.unwrap_or_else(|error| panic!("{path}: {error}")).status().as_u16()
}

/// The same body with every field in turn replaced by this text.
fn with_each_field(body: &Value, text: &str) -> Vec<String> {
    let fields = body.as_object().unwrap();
    let replaced = fields.keys().map(|name| {
        let mut marked = body.clone();
        marked[name] = json!("@replace@");
        marked.to_string().replace("\"@replace@\"", text)
    });
    let inside = fields
        .values()
        .filter_map(Value::as_array)
        .flatten()
        .flat_map(|item| with_each_field(item, text).into_iter().map(|item| format!("{{\"items\":[{item}]}}")));
    replaced.chain(inside).collect()
}

#[tokio::test]
async fn json_fields_with_hostile_values_are_always_answered() {
    let app = start().await;
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let deep_object = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let keys: String = (0..5000).map(|number| format!("\"k{number}\":1,")).collect();
    let texts = [
        deep(100),
        deep(30_000),
        "[".repeat(60_000),
        deep_object(100),
        deep_object(10_000),
        format!("[{}1]", "1,".repeat(30_000)),
        format!("{{{keys}\"k\":1}}"),
        format!("{{{}\"k\":1}}", "\"k\":1,".repeat(9_000)),
        "9".repeat(60_000),
        format!("-{}.{}e{}", "9".repeat(1000), "9".repeat(1000), "9".repeat(1000)),
        "1e400".to_owned(),
        "-1e400".to_owned(),
        "1e-400".to_owned(),
        "-0".to_owned(),
        "18446744073709551616".to_owned(),
        "-9223372036854775809".to_owned(),
        "1e308".to_owned(),
        "\"\\ud800\"".to_owned(),
        "\"\\u0000\"".to_owned(),
        format!("\"{}\"", "\\u0000".repeat(10_000)),
        format!("\"{}\"", "\u{202e}\u{feff}\u{10ffff}".repeat(3000)),
    ];
    for (path, body) in readers() {
        assert!([200, 400, 401, 409].contains(&status(&app, path, body.to_string()).await), "{path}");
        for text in &texts {
            let shown: String = text.chars().take(40).collect();
            let mut bodies = with_each_field(&body, text);
            bodies.push(text.clone());
            bodies.push(body.to_string().replacen('{', &format!("{{\"unknown\":{text},"), 1));
            for body in bodies {
                let status = status(&app, path, body).await;
                assert!([200, 400, 401, 409, 413, 429].contains(&status), "{path} with {shown}: {status}");
            }
        }
    }
    app.still_serves().await;
    assert_eq!(app.metric("weir_actor_restarts_total").await, 0.0);
    assert!(!app.log().contains("panicked"), "a handler panicked");
    assert_eq!(app.metric("weir_dead_letters_total").await, 0.0, "a database refused what was let in");
}

#[tokio::test]
async fn track_event_properties_nest_up_to_parser_depth() {
    let app = start().await;
    let nested = |levels: usize| {
        format!("{{\"event\":\"deep\",\"properties\":{}1{}}}", "{\"a\":".repeat(levels), "}".repeat(levels))
    };
    let path = "/api/v1/analytics/track";
    assert_eq!(status(&app, path, nested(100)).await, 200);
    assert_eq!(status(&app, path, nested(200)).await, 400);
    app.applied().await;
    let rows = app.rows(Database::Main, "SELECT properties FROM funnel_events").await;
    assert_eq!(rows.len(), 1);
    let stored = rows[0]["properties"].as_str().unwrap();
    assert_eq!(stored.matches("\"a\"").count(), 100, "{stored}");
}

fn over_the_wire(app: &TestApp, head: &str) -> Option<Answer> {
    let mut wire = RawConnection::open(app);
    let _ = wire.try_send(head);
    let answer = wire.answer();
    if answer.as_ref().is_some_and(|answer| answer.status >= 400 && answer.status != 404) {
        assert!(wire.answer().is_none(), "the connection goes on after {answer:?}");
    }
    answer
}

#[tokio::test]
async fn request_head_beyond_size_or_line_limit_is_431() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let get = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let long = |bytes: usize| format!("X-Long: {}\r\n", "x".repeat(bytes));
    let many = |lines: usize| (0..lines).map(|line| format!("X-{line}: y\r\n")).collect::<String>();
    let repeated = |lines: usize| "X-Same: y\r\n".repeat(lines);
    for (head, expected) in [
        (get("/health/live", &long(1)), 200),
        (get("/health/live", &long(16 << 10)), 200),
        (get("/health/live", &long(100 << 10)), 200),
        (get("/health/live", &long(200 << 10)), 431),
        (format!("GET /{}", "x".repeat(200 << 10)), 431),
        ("x".repeat(200 << 10), 431),
        (get("/health/live", &many(95)), 200),
        (get("/health/live", &many(96)), 431),
        (get("/health/live", &repeated(95)), 200),
        (get("/health/live", &many(5000)), 431),
        (get(&format!("/health/live?{}", "x".repeat(60_000)), ""), 200),
        (get(&format!("/{}", "x".repeat(60_000)), ""), 404),
        (get(&format!("/{}", "x".repeat(70_000)), ""), 400),
        (get(&format!("/{}", "%41".repeat(20_000)), ""), 404),
        (get(&format!("/{}", "/a".repeat(30_000)), ""), 404),
    ] {
        let answer = over_the_wire(&app, &head);
        let shown = &head[..head.len().min(60)];
        assert_eq!(answer.map(|answer| answer.status), Some(expected), "{shown}… of {} bytes", head.len());
    }
    app.still_serves().await;
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn brotli_with_window(bits: i32, plain: &[u8]) -> Vec<u8> {
    let parameters = brotli::enc::BrotliEncoderParams {
        lgwin: bits,
        large_window: bits > 24,
        quality: 5,
        ..brotli::enc::BrotliEncoderParams::default()
    };
    let mut encoded = Vec::new();
    brotli::BrotliCompress(&mut &plain[..], &mut encoded, &parameters).unwrap();
    encoded
}

fn zstandard_with_window(log: u32, plain: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(log).unwrap();
    // A frame that tells its length needs no window.
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn body_compression_cannot_bypass_limits() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let body = minimal_session().to_string().into_bytes();
    let nothing = gzip(b"");
    let empty_frame = zstd::encode_all(&b""[..], 1).unwrap();
    let skippable = [&0x184d_2a50_u32.to_le_bytes()[..], &0_u32.to_le_bytes()].concat();
    let times = |part: &[u8], last: &[u8]| [part.repeat((60 << 10) / part.len()), last.to_vec()].concat();
    for (what, encoding, sent, expected) in [
        ("two members", "gzip", [gzip(&body[..9]), gzip(&body[9..])].concat(), 200),
        ("thousands of empty members", "gzip", times(&nothing, &gzip(&body)), 200),
        ("thousands of members that bring a byte", "gzip", times(&gzip(b" "), &gzip(&body)), 200),
        ("a bomb after a member", "gzip", [gzip(&body), gzip(&vec![b' '; 1 << 20])].concat(), 413),
        ("a bomb in a bomb", "gzip", gzip(&gzip(&vec![b' '; 32 << 20])), 400),
        ("bytes after a member", "gzip", [gzip(&body), b"{}".to_vec()].concat(), 400),
        ("thousands of empty frames", "zstd", times(&empty_frame, &zstd::encode_all(&body[..], 1).unwrap()), 200),
        ("thousands of skippable frames", "zstd", times(&skippable, &zstd::encode_all(&body[..], 1).unwrap()), 200),
        ("a window of 8 MiB", "zstd", zstandard_with_window(23, &body), 200),
        ("a window of 16 MiB", "zstd", zstandard_with_window(24, &body), 400),
        ("a window of 128 MiB", "zstd", zstandard_with_window(27, &body), 400),
        ("a window of 16 MiB", "br", brotli_with_window(24, &body), 200),
        ("a window beyond the standard", "br", brotli_with_window(30, &body), 400),
    ] {
        assert!(sent.len() <= 64 << 10, "{encoding}: {what} is refused unread");
        let began = Instant::now();
        let request =
            app.client.post(app.url(SESSION)).header("user-agent", BROWSER).header("content-encoding", encoding);
        let response = request.body(sent).send().await.unwrap();
        assert_eq!(response.status(), expected, "{encoding}: {what}");
        assert!(began.elapsed() < Duration::from_secs(10), "{encoding}: {what} took {:?}", began.elapsed());
    }
    app.still_serves().await;
}
