//! `POST /api/v1/analytics/session`: what the `User-Agent` says overrides the client, what it does not say falls through.

use serde_json::json;
use weir_testkit::{Backend, TestApp, UNTHROTTLED, minimal_session, on_both_databases, session_with};

use super::without_user_agent;
use crate::SESSION;

/// A user agent, and the device, browser, system and version to be stored for a client that says `own` of all four.
const CASES: [(&str, [&str; 4]); 14] = [
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
         Version/17.4.1 Mobile/15E148 Safari/604.1",
        ["mobile", "Mobile Safari", "iOS", "17.4.1"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Mobile \
         Safari/537.36",
        ["mobile", "Chrome Mobile", "Android", "14"],
    ),
    (
        "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 \
         Mobile/15E148 Safari/604.1",
        ["tablet", "Mobile Safari", "iOS", "16.6"],
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 \
         Safari/537.36",
        ["desktop", "Chrome", "Windows", "10"],
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 \
         Safari/605.1.15",
        ["desktop", "Safari", "Mac OS X", "10.15.7"],
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.2 \
         Mobile/15E148 Safari/604.1",
        ["mobile", "Mobile Safari", "iOS", "26.2"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 9; TB-7305F) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/95.0.4638.74 Mobile \
         Safari/537.36",
        ["tablet", "Chrome Mobile", "Android", "9"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 10; SM-P610) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile \
         Safari/537.36",
        ["tablet", "Chrome Mobile", "Android", "10"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 9; X96 BOX) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96.0.4664.45 Safari/537.36",
        ["desktop", "Chrome", "Android", "9"],
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_4) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 DuckDuckGo/7",
        ["tablet", "DuckDuckGo Mobile", "Mac OS X", "10.15.4"],
    ),
    ("MyNotes/1.2 CFNetwork/1335.0.3 Darwin/21.6.0", ["mobile", "own", "iOS", "15.6"]),
    // A version that is no digits is not one that the server can tell.
    ("Mozilla/5.0 (Windows NT 5.1; rv:52.0) Gecko/20100101 Firefox/52.0", ["desktop", "Firefox", "Windows", "own"]),
    ("Mozilla/5.0 Firefox/140.0", ["desktop", "Firefox", "own", "own"]),
    ("something of the visitor's own making", ["own", "own", "own", "own"]),
];

on_both_databases! {
    async fn session_user_agent_overrides_client_fields(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let own = json!({"device": "own", "browser": "own", "os": "own", "osVersion": "own"});
        // The second time the answer comes out of the cache.
        for (user_agent, expected) in CASES.iter().chain(&CASES) {
            let request = without_user_agent(&app, &session_with(&own)).header("user-agent", *user_agent);
            let row = app.stored(request).await;
            let found = ["device", "browser", "os", "os_version"].map(|column| row[column].as_str().unwrap());
            assert_eq!(&found, expected, "{user_agent}");
        }
    }
}

#[tokio::test]
async fn session_user_agent_unknown_facts_stay_null() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for (user_agent, expected) in CASES {
        let request = without_user_agent(&app, &minimal_session()).header("user-agent", user_agent);
        let row = app.stored(request).await;
        for (column, value) in ["device", "browser", "os", "os_version"].into_iter().zip(expected) {
            assert_eq!(row[column], if value == "own" { json!(null) } else { json!(value) }, "{user_agent}: {column}");
        }
    }
}

#[tokio::test]
async fn session_user_agent_too_long_is_truncated() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let long = format!("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 {}", "ü".repeat(3000));
    let header = reqwest::header::HeaderValue::from_bytes(long.as_bytes()).unwrap();
    let row = app.stored(without_user_agent(&app, &minimal_session()).header("user-agent", header)).await;
    assert_eq!((&row["browser"], &row["os"]), (&json!("Firefox"), &json!("Linux")));
    // Bytes that are no UTF-8 are no reason to refuse either.
    let header = reqwest::header::HeaderValue::from_bytes(b"Mozilla/5.0 (X11; Linux) Firefox/140.0 \xff\xfe").unwrap();
    app.stored(without_user_agent(&app, &minimal_session()).header("user-agent", header)).await;
    app.stored(app.post(SESSION, &minimal_session())).await;
}
