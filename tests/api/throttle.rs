//! The throttle: whose requests are counted together, and what a client is told.

use std::time::{Duration, Instant};

use serde_json::json;
use weir_testkit::{Backend, Database, TestApp, error, header, minimal_session, on_both_databases};

use crate::{CONSENT, SESSION};

const POLICY: &str = "ratelimit-policy";
const STANDING: &str = "ratelimit";

/// A session's request with these headers; its status.
async fn status(app: &TestApp, headers: &[(&str, &str)]) -> u16 {
    let request = app.post(SESSION, &minimal_session());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap().status().as_u16()
}

/// Whether two clients share one limit of a single request.
async fn are_one(app: &TestApp, first: &[(&str, &str)], second: &[(&str, &str)]) -> bool {
    assert_eq!(status(app, first).await, 200, "{first:?}");
    status(app, second).await == 429
}

async fn with_limit_of_one(variables: &[(&str, &str)]) -> TestApp {
    TestApp::start_with(Backend::Sqlite, &[&[("WEIR_THROTTLE__SESSION", "1/60s")], variables].concat()).await
}

/// The `t` of a `RateLimit` header whose other parts are as expected.
fn seconds_left(standing: &str, expected: &str) -> u64 {
    let left = standing.strip_prefix(expected).and_then(|rest| rest.strip_prefix(";t="));
    left.unwrap_or_else(|| panic!("{standing} is not {expected};t=…")).parse().unwrap()
}

on_both_databases! {
    async fn session_rate_limit_is_ten_per_minute(backend) {
        let app = TestApp::start(backend).await;
        for left in (0..10).rev() {
            let response = app.post(SESSION, &minimal_session()).send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(header(&response, POLICY), Some("\"session\";q=10;w=60"));
            let seconds = seconds_left(header(&response, STANDING).unwrap(), &format!("\"session\";r={left}"));
            assert!((30..=60).contains(&seconds), "{seconds}");
            assert_eq!(header(&response, "retry-after"), None);
        }
        for _ in 0..3 {
            let response = app.post(SESSION, &minimal_session()).send().await.unwrap();
            assert_eq!(response.status(), 429);
            assert_eq!(header(&response, POLICY), Some("\"session\";q=10;w=60"));
            let seconds = seconds_left(header(&response, STANDING).unwrap(), "\"session\";r=0");
            assert_eq!(header(&response, "retry-after"), Some(seconds.to_string().as_str()));
            let id = header(&response, "x-request-id").unwrap().to_owned();
            let error = error(response).await;
            assert_eq!(error["code"], "THROTTLE_LIMIT_EXCEEDED");
            assert_eq!(error["details"], json!([]));
            assert_eq!(error["correlationId"], json!(id));
            assert!(error["message"].is_string() && error["i18nKey"].is_string(), "{error}");
        }
        app.applied().await;
        assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await, 10);
        assert_eq!(app.outcomes("session", "throttled").await, 3.0);
        assert_eq!(app.metric("weir_limiter_refusals_total{route=\"session\"}").await, 3.0);
    }
}

#[tokio::test]
async fn rate_limit_is_separate_for_each_route() {
    let app = TestApp::start_with(Backend::Sqlite, &[("WEIR_THROTTLE__CONSENT", "2/60s")]).await;
    let choice = json!({"analytics": false, "marketing": false, "functional": false});
    for expected in [200, 200, 429] {
        let response = app.post(CONSENT, &choice).send().await.unwrap();
        assert_eq!(response.status(), expected);
        assert_eq!(header(&response, POLICY), Some("\"consent\";q=2;w=60"));
    }
    let response = app.post(SESSION, &minimal_session()).send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, POLICY)), (200, Some("\"session\";q=10;w=60")));
    for _ in 0..20 {
        let response = app.client.get(app.url("/health/live")).send().await.unwrap();
        assert_eq!((response.status().as_u16(), header(&response, STANDING)), (200, None));
    }
}

#[tokio::test]
async fn rate_limit_is_separate_for_each_forwarded_client() {
    let app = with_limit_of_one(&[]).await;
    let forwarded = |ip| [("x-forwarded-for", ip)];
    assert!(!are_one(&app, &[], &forwarded("203.0.113.1")).await);
    assert!(are_one(&app, &forwarded("203.0.113.2"), &forwarded("203.0.113.2")).await);
    // The first entry that is an address is the client, however it is written.
    assert!(are_one(&app, &forwarded("203.0.113.3"), &forwarded(" 203.0.113.3:4711 , 203.0.113.99")).await);
    assert!(are_one(&app, &forwarded("203.0.113.4"), &forwarded("unknown, 203.0.113.4")).await);
    assert!(are_one(&app, &forwarded("203.0.113.5"), &forwarded("::ffff:203.0.113.5")).await);
    assert!(!are_one(&app, &forwarded("203.0.113.6, 203.0.113.8"), &forwarded("203.0.113.7, 203.0.113.8")).await);
    // What names no address leaves the peer's own.
    assert_eq!(status(&app, &forwarded("nonsense")).await, 429);
    assert_eq!(status(&app, &[("forwarded", "for=203.0.113.9")]).await, 429);
}

#[tokio::test]
async fn rate_limit_within_ipv6_64_prefix_is_shared() {
    let app = with_limit_of_one(&[]).await;
    let forwarded = |ip| [("x-forwarded-for", ip)];
    assert!(are_one(&app, &forwarded("2001:db8:1:2::1"), &forwarded("2001:db8:1:2:ffff:ffff:ffff:ffff")).await);
    assert!(are_one(&app, &forwarded("2001:db8:1:3::1"), &forwarded("[2001:DB8:1:3::9]:443")).await);
    assert!(!are_one(&app, &forwarded("2001:db8:1:4::1"), &forwarded("2001:db8:1:5::1")).await);
}

#[tokio::test]
async fn rate_limit_prefers_cdn_header_over_forwarded_for() {
    let app = with_limit_of_one(&[]).await;
    let both = |cdn, chain| [("cf-connecting-ip", cdn), ("x-forwarded-for", chain)];
    assert!(are_one(&app, &both("203.0.113.1", "203.0.113.10"), &both("203.0.113.1", "203.0.113.11")).await);
    assert!(!are_one(&app, &both("203.0.113.2", "203.0.113.12"), &both("203.0.113.3", "203.0.113.12")).await);
    // No address there: the chain speaks.
    assert!(are_one(&app, &both("nonsense", "203.0.113.13"), &[("x-forwarded-for", "203.0.113.13")]).await);
}

#[tokio::test]
async fn rate_limit_ignores_headers_of_untrusted_peer() {
    let app = with_limit_of_one(&[("WEIR_TRUSTED_PROXIES", "192.0.2.1")]).await;
    let first = [("x-forwarded-for", "203.0.113.1"), ("cf-connecting-ip", "203.0.113.2")];
    let second = [("x-forwarded-for", "203.0.113.3"), ("cf-connecting-ip", "203.0.113.4")];
    assert!(are_one(&app, &first, &second).await);
}

#[tokio::test]
async fn rate_limit_of_untrusted_proxy_is_warned_about_once_in_a_while() {
    const WARNING: &str = "not in trusted_proxies";
    let app = with_limit_of_one(&[("WEIR_TRUSTED_PROXIES", "192.0.2.1")]).await;
    // A client without such a header is no proxy, and one that is not refused needs no word.
    assert_eq!((status(&app, &[]).await, status(&app, &[]).await), (200, 429));
    assert!(!app.log().contains(WARNING));
    for number in 0..60 {
        let visitor = format!("203.0.113.{number}");
        assert_eq!(status(&app, &[("x-forwarded-for", &visitor)]).await, 429);
    }
    let log = app.log();
    assert_eq!(log.matches(WARNING).count(), 1, "{log}");
    assert!(!log.contains("203.0.113."), "no address is logged");
}

#[tokio::test]
async fn rate_limit_ignores_headers_not_listed() {
    let app = with_limit_of_one(&[("WEIR_CLIENT_IP_HEADERS", "x-real-ip")]).await;
    assert!(!are_one(&app, &[("x-real-ip", "203.0.113.1")], &[("x-real-ip", "203.0.113.2")]).await);
    assert!(are_one(&app, &[("x-forwarded-for", "203.0.113.3")], &[("cf-connecting-ip", "203.0.113.4")]).await);
}

#[tokio::test]
async fn rate_limit_can_use_rightmost_untrusted_address() {
    let trusted = ("WEIR_TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8");
    let app = with_limit_of_one(&[("WEIR_X_FORWARDED_FOR", "rightmost-untrusted"), trusted]).await;
    let forwarded = |chain| [("x-forwarded-for", chain)];
    // What a client puts in front of the chain changes nothing.
    assert!(are_one(&app, &forwarded("6.6.6.6, 203.0.113.1, 10.0.0.7"), &forwarded("7.7.7.7, 203.0.113.1")).await);
    assert!(!are_one(&app, &forwarded("6.6.6.6, 203.0.113.2"), &forwarded("6.6.6.6, 203.0.113.3")).await);
    let two_lines = [("x-forwarded-for", "8.8.8.8"), ("x-forwarded-for", "203.0.113.4")];
    assert!(are_one(&app, &two_lines, &forwarded("203.0.113.4, 10.1.1.1, 10.2.2.2")).await);
}

#[tokio::test]
async fn rate_limit_of_zero_is_off() {
    let app = TestApp::start_with(Backend::Sqlite, &[("WEIR_THROTTLE__SESSION", "0")]).await;
    for _ in 0..30 {
        let response = app.post(SESSION, &minimal_session()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!((header(&response, POLICY), header(&response, STANDING)), (None, None));
    }
    let response = app.post(CONSENT, &json!({})).send().await.unwrap();
    assert_eq!(header(&response, POLICY), Some("\"consent\";q=10;w=60"), "the other one stays");
}

#[tokio::test]
async fn rate_limit_window_lasts_full_length_and_reopens() {
    let app = TestApp::start_with(Backend::Sqlite, &[("WEIR_THROTTLE__SESSION", "3/2s")]).await;
    let before = Instant::now();
    assert_eq!(status(&app, &[]).await, 200);
    let after = Instant::now();
    for expected in [200, 200, 429] {
        assert_eq!(status(&app, &[]).await, expected);
    }
    // Refused requests, however many, do not keep it shut.
    app.until("the window opens again", async || status(&app, &[]).await == 200).await;
    assert!(before.elapsed() >= Duration::from_secs(2), "{:?}", before.elapsed());
    assert!(after.elapsed() < Duration::from_secs(4), "{:?}", after.elapsed());
    for expected in [200, 200, 429] {
        assert_eq!(status(&app, &[]).await, expected);
    }
}
