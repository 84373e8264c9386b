//! Cross-origin requests: who may read which answer.

use serde_json::json;
use weir_testkit::{Backend, TestApp, UNTHROTTLED, header, minimal_session};

use crate::{CONSENT, SESSION};

const ORIGIN: &str = "https://shop.example";
const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";

/// What the answer lets the origin see: the allowed origin, and whether with credentials.
fn seen(response: &reqwest::Response) -> (Option<&str>, Option<&str>) {
    (header(response, ALLOW_ORIGIN), header(response, ALLOW_CREDENTIALS))
}

fn exposes_what_clients_need(response: &reqwest::Response) -> bool {
    let exposed = header(response, "access-control-expose-headers").unwrap_or_default().to_lowercase();
    let exposed: Vec<&str> = exposed.split(',').map(str::trim).collect();
    ["x-request-id", "retry-after", "ratelimit", "ratelimit-policy"].iter().all(|name| exposed.contains(name))
}

async fn send(app: &TestApp, method: &str, path: &str, origin: &str) -> reqwest::Response {
    let request = app.client.request(method.parse().unwrap(), app.url(path)).header("origin", origin);
    request.body(minimal_session().to_string()).send().await.unwrap()
}

/// What a page with its own tracing header asks for.
const ASKED_HEADERS: &str = "authorization,content-type,content-encoding,x-request-id,traceparent";

async fn preflight(app: &TestApp, path: &str, origin: &str) -> reqwest::Response {
    let request = app.client.request(reqwest::Method::OPTIONS, app.url(path)).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    request.header("access-control-request-headers", ASKED_HEADERS).send().await.unwrap()
}

#[tokio::test]
async fn cors_beacon_routes_allow_credentials_on_every_response() {
    let app = TestApp::start_with(Backend::Sqlite, &[("WEIR_THROTTLE__SESSION", "2/60s")]).await;
    for (method, path, status) in [
        ("POST", SESSION, 200),
        ("POST", SESSION, 200),
        ("POST", SESSION, 429),
        ("PUT", SESSION, 405),
        ("POST", CONSENT, 400),
        ("POST", "/api/v1/analytics/nothing", 404),
        ("POST", "/api/v1/consent/nothing", 404),
        ("POST", "/track/nothing", 404),
    ] {
        let response = send(&app, method, path, ORIGIN).await;
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(seen(&response), (Some(ORIGIN), Some("true")), "{method} {path}");
        assert!(exposes_what_clients_need(&response), "{method} {path}");
        assert!(header(&response, "vary").unwrap().to_lowercase().contains("origin"), "{method} {path}");
    }
    let request = app.client.post(app.url(SESSION)).header("origin", ORIGIN).header("x-forwarded-for", "203.0.113.1");
    let response = request.header("content-type", "text/html").body("<p>").send().await.unwrap();
    assert_eq!((response.status().as_u16(), seen(&response)), (415, (Some(ORIGIN), Some("true"))));
    let request = app.client.post(app.url(SESSION)).header("origin", ORIGIN).header("x-forwarded-for", "203.0.113.1");
    let response = request.body(" ".repeat(70_000)).send().await.unwrap();
    assert_eq!((response.status().as_u16(), seen(&response)), (413, (Some(ORIGIN), Some("true"))));
}

#[tokio::test]
async fn cors_other_routes_are_open_without_credentials() {
    let app = TestApp::start(Backend::Sqlite).await;
    for (path, status) in
        [("/health/live", 200), ("/metrics", 200), ("/nothing", 404), ("/api/v1/users/consent", 401), ("/auth/x", 404)]
    {
        let response = send(&app, "GET", path, ORIGIN).await;
        assert_eq!((response.status().as_u16(), seen(&response)), (status, (Some("*"), None)), "{path}");
        assert!(exposes_what_clients_need(&response), "{path}");
    }
    let response = app.post(SESSION, &minimal_session()).send().await.unwrap();
    assert_eq!(seen(&response), (None, None), "nobody asked");
}

#[tokio::test]
async fn cors_preflight_is_allowed_and_neither_counted_nor_stored() {
    let app = TestApp::start_with(Backend::Sqlite, &[("WEIR_THROTTLE__SESSION", "1/60s")]).await;
    for (path, expected) in [
        (SESSION, (Some(ORIGIN), Some("true"))),
        (CONSENT, (Some(ORIGIN), Some("true"))),
        ("/track/init", (Some(ORIGIN), Some("true"))),
        ("/api/v1/users/consent", (Some("*"), None)),
        (SESSION, (Some(ORIGIN), Some("true"))),
    ] {
        let response = preflight(&app, path, ORIGIN).await;
        assert_eq!((response.status().as_u16(), seen(&response)), (204, expected), "{path}");
        assert_eq!(header(&response, "access-control-max-age"), Some("86400"), "{path}");
        let methods = header(&response, "access-control-allow-methods").unwrap();
        assert!(["GET", "POST", "PATCH"].iter().all(|method| methods.contains(method)), "{methods}");
        assert_eq!(header(&response, "access-control-allow-headers"), Some(ASKED_HEADERS), "{path}");
        assert_eq!(response.text().await.unwrap(), "");
    }
    assert_eq!(app.metric("weir_journal_position{journal=\"analytics\"}").await, 0.0);
    app.still_serves().await;
}

#[tokio::test]
async fn cors_origins_of_apps_and_of_a_domain_s_hosts_can_be_listed() {
    let listed = [("WEIR_CORS_ORIGINS", "https://*.shop.example, capacitor://localhost, null")];
    let app = TestApp::start_with(Backend::Sqlite, &[UNTHROTTLED, &listed].concat()).await;
    for origin in ["https://www.shop.example", "https://a.b.shop.example", "capacitor://localhost", "null"] {
        assert_eq!(seen(&send(&app, "POST", SESSION, origin).await), (Some(origin), Some("true")), "{origin}");
    }
    for origin in ["https://shop.example", "https://evilshop.example", "http://www.shop.example", "ionic://localhost"] {
        assert_eq!(seen(&send(&app, "POST", SESSION, origin).await), (None, None), "{origin}");
    }
}

#[tokio::test]
async fn cors_origin_not_listed_cannot_read() {
    let variables = [UNTHROTTLED, &[("WEIR_CORS_ORIGINS", "https://shop.example, https://www.shop.example:8443")]];
    let app = TestApp::start_with(Backend::Sqlite, &variables.concat()).await;
    for origin in [ORIGIN, "https://www.shop.example:8443"] {
        assert_eq!(seen(&send(&app, "POST", SESSION, origin).await), (Some(origin), Some("true")));
        assert_eq!(seen(&preflight(&app, SESSION, origin).await), (Some(origin), Some("true")));
        assert_eq!(seen(&send(&app, "GET", "/health/live", origin).await), (Some(origin), None));
    }
    for origin in ["https://evil.example", "http://shop.example", "https://shop.example.evil.example", "null", ""] {
        assert_eq!(seen(&send(&app, "POST", SESSION, origin).await), (None, None), "{origin}");
        assert_eq!(seen(&preflight(&app, SESSION, origin).await), (None, None), "{origin}");
        let response = send(&app, "GET", "/health/live", origin).await;
        assert_eq!((response.status().as_u16(), seen(&response)), (200, (None, None)), "{origin}");
    }
    let response = send(&app, "POST", SESSION, "https://evil.example").await;
    assert!(header(&response, "vary").unwrap().to_lowercase().contains("origin"), "caches must know");
    // What a browser hides from a page is stored all the same: the rule protects readers.
    let row = app.stored(app.post(SESSION, &minimal_session()).header("origin", "https://evil.example")).await;
    assert_eq!(row["page_views"], json!(0));
}
