//! Bodies: their type, their encoding, their size, their JSON.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_testkit::{
    BROWSER, Backend, Database, TestApp, UNTHROTTLED, data, error, exclusive, minimal_session, session_with,
};

use crate::SESSION;

const MAX_BYTES: usize = 64 << 10;

/// A session's request with these bytes and headers and nothing else.
async fn send(app: &TestApp, body: impl Into<reqwest::Body>, headers: &[(&str, &str)]) -> reqwest::Response {
    let request = app.client.post(app.url(SESSION)).header("user-agent", BROWSER).body(body);
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

async fn stored(app: &TestApp, body: impl Into<reqwest::Body>, headers: &[(&str, &str)]) -> Value {
    let response = send(app, body, headers).await;
    assert_eq!(response.status(), 200, "{headers:?}");
    app.session(data(response).await["id"].as_str().expect("stored")).await
}

async fn refused(app: &TestApp, body: impl Into<reqwest::Body>, headers: &[(&str, &str)]) -> (u16, Value) {
    let response = send(app, body, headers).await;
    (response.status().as_u16(), error(response).await)
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).unwrap()
}

fn brotli(plain: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    brotli::CompressorWriter::new(&mut encoded, 4096, 5, 22).write_all(plain).unwrap();
    encoded
}

type Encode = fn(&[u8]) -> Vec<u8>;
const ENCODINGS: [(&str, Encode); 3] = [("gzip", gzip), ("br", brotli), ("zstd", zstandard)];

/// A good session of exactly this many bytes.
fn session_of(bytes: usize) -> Vec<u8> {
    let mut body = session_with(&json!({"padding": ""})).to_string();
    let padding = "x".repeat(bytes - body.len());
    body = session_with(&json!({"padding": padding})).to_string();
    assert_eq!(body.len(), bytes);
    body.into_bytes()
}

#[tokio::test]
async fn body_content_type_accepts_json_and_plain_text_only() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let body = || minimal_session().to_string();
    for accepted in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json; charset=\"utf-8\"",
        "text/plain",
        "text/plain;charset=UTF-8",
    ] {
        stored(&app, body(), &[("content-type", accepted)]).await;
    }
    stored(&app, body(), &[]).await;
    for other in [
        "application/xml",
        "text/html",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json; charset=iso-8859-1",
        "text/plain; charset=utf-16",
        "json",
    ] {
        let (status, error) = refused(&app, body(), &[("content-type", other)]).await;
        assert_eq!((status, &error["code"]), (415, &json!("UNSUPPORTED_MEDIA_TYPE")), "{other}");
    }
    app.still_serves().await;
    assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await, 9);
}

#[tokio::test]
async fn body_in_known_encoding_is_decoded_else_415() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for (name, encode) in ENCODINGS {
        let body = session_with(&json!({"landingPage": format!("https://example.org/{name}")})).to_string();
        let row = stored(&app, encode(body.as_bytes()), &[("content-encoding", name)]).await;
        assert_eq!(row["landing_page"], json!(format!("https://example.org/{name}")));
        stored(&app, encode(&session_of(MAX_BYTES)), &[("content-encoding", &name.to_uppercase())]).await;
    }
    stored(&app, minimal_session().to_string(), &[("content-encoding", "identity")]).await;
    for unknown in ["deflate", "compress", "gzip, br", "nonsense"] {
        let (status, error) = refused(&app, minimal_session().to_string(), &[("content-encoding", unknown)]).await;
        assert_eq!((status, &error["code"]), (415, &json!("UNSUPPORTED_MEDIA_TYPE")), "{unknown}");
    }
    app.still_serves().await;
}

#[tokio::test]
async fn body_with_broken_compression_is_400() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for (name, encode) in ENCODINGS {
        let whole = encode(session_of(4000).as_slice());
        for broken in [&b"not compressed at all"[..], &whole[..whole.len() / 2], &whole[..whole.len() - 1], b"\x1f"] {
            let (status, error) = refused(&app, broken.to_vec(), &[("content-encoding", name)]).await;
            assert_eq!(status, 400, "{name}: {error}");
            assert!(!error.to_string().contains("compressed at all"), "{error}");
        }
    }
    app.still_serves().await;
}

#[tokio::test]
async fn body_decompression_bomb_is_413_at_once() {
    // It looks at how long answers take.
    let _alone = exclusive().await;
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let zeros = vec![b' '; 32 << 20];
    for (name, encode) in ENCODINGS {
        let bomb = encode(&zeros);
        assert!(bomb.len() < MAX_BYTES, "{name}: {} bytes would be refused unread", bomb.len());
        let one_more = encode(&session_of(MAX_BYTES + 1));
        for body in [bomb, one_more] {
            let began = Instant::now();
            let (status, error) = refused(&app, body, &[("content-encoding", name)]).await;
            assert_eq!((status, &error["code"]), (413, &json!("PAYLOAD_TOO_LARGE")), "{name}");
            assert!(began.elapsed() < Duration::from_secs(2), "{name} took {:?}", began.elapsed());
        }
    }
    app.still_serves().await;
}

#[tokio::test]
async fn body_over_64_kib_is_413() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    stored(&app, session_of(MAX_BYTES), &[]).await;
    for bytes in [MAX_BYTES + 1, 2 * MAX_BYTES, 1 << 20] {
        let (status, error) = refused(&app, session_of(bytes), &[]).await;
        assert_eq!((status, &error["code"]), (413, &json!("PAYLOAD_TOO_LARGE")), "{bytes}");
    }
    app.still_serves().await;
    assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await, 2);
}

#[tokio::test]
async fn body_malformed_json_reports_place_without_echo() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let cases: [(&[u8], &str); 10] = [
        (b"{\n  \"visitorId\": hunter2}", "line 2 column 16"),
        (b"{\"visitorId\": \"hunter2\",}", "line 1 column 25"),
        (b"{\"visitorId\": \"hunter2", "line 1 column"),
        (b"{\"visitorId\": \"hunter2\"} hunter2", "line 1 column 26"),
        (b"hunter2", "line 1 column 1"),
        (b"{\"visitorId\": \"hunter2\xff\"}", "line 1 column"),
        (b"\xff\xfe", "line 1 column"),
        (b"{\"visitorId\": \"hunter2\x01\"}", "line 1 column"),
        (b" ", "line 1 column"),
        (b"\n\n", "line 3 column"),
    ];
    for (body, place) in cases {
        let body_text = String::from_utf8_lossy(body).into_owned();
        let (status, error) = refused(&app, body.to_vec(), &[]).await;
        assert_eq!((status, &error["code"]), (400, &json!("MALFORMED_JSON")), "{body_text}");
        assert!(error["message"].as_str().unwrap().contains(place), "{body_text}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    assert!(!app.log().contains("hunter2"));
    app.still_serves().await;
}

#[tokio::test]
async fn body_lone_surrogate_is_stored_as_replacement_character() {
    let app = TestApp::start(Backend::Sqlite).await;
    // JSON.stringify of a text that was cut in the middle of a pair.
    let body = r#"{"visitorId":"v","consentAnalytics":"granted","landingPage":"https://example.org/\ud83d","utmSource":"\ud83d\ude00"}"#;
    let row = app.stored(app.post(SESSION, &json!({})).body(body)).await;
    assert_eq!(row["landing_page"], json!("https://example.org/\u{fffd}"));
    assert_eq!(row["utm_source"], json!("😀"));
}

#[tokio::test]
async fn body_json_other_than_object_is_validation_error() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for body in ["[]", "[{}]", "\"text\"", "7", "null", "true"] {
        let (status, error) = refused(&app, body, &[]).await;
        assert_eq!((status, &error["code"]), (400, &json!("VALIDATION_ERROR")), "{body}");
        assert!(!error["details"].as_array().unwrap().is_empty(), "{body}");
    }
    app.still_serves().await;
}

#[tokio::test]
async fn json_fields_of_empty_body_are_absent() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let (_, of_empty_object) = refused(&app, "{}", &[]).await;
    let (status, of_nothing) = refused(&app, "", &[("content-type", "application/json")]).await;
    assert_eq!(status, 400);
    assert_eq!(of_nothing["code"], "VALIDATION_ERROR");
    assert_eq!(of_nothing["details"], of_empty_object["details"]);
    app.still_serves().await;
}

#[tokio::test]
async fn body_repeated_field_takes_last_value() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let row = stored(
        &app,
        r#"{"visitorId": 7, "landingPage": "a", "consentAnalytics": "denied", "utmSource": "x", "visitorId": "v",
            "landingPage": "b", "consentAnalytics": "granted", "utmSource": null, "visitor\u0049d": "w"}"#,
        &[],
    )
    .await;
    assert_eq!((&row["landing_page"], &row["utm_source"]), (&json!("b"), &json!(null)));
    let (status, _) = refused(&app, r#"{"visitorId": "v", "landingPage": "b", "visitorId": null}"#, &[]).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn body_nested_deeply_does_not_crash_server() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let arrays = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    for nested in [&arrays, &objects] {
        for field in ["visitorId", "screenWidth"] {
            let (status, _) = refused(&app, format!("{{\"{field}\":{nested}}}"), &[]).await;
            assert_eq!(status, 400, "{field}");
        }
        let unknown = minimal_session().to_string().replacen('{', &format!("{{\"unknown\":{nested},"), 1);
        let status = send(&app, unknown, &[]).await.status().as_u16();
        assert!([200, 400].contains(&status), "{status}");
        let (status, _) = refused(&app, nested[..nested.len() / 2].to_owned(), &[]).await;
        assert_eq!(status, 400);
    }
    app.still_serves().await;
}
