//! Routes and methods that are not there, each in its prefix's envelope.

use serde_json::{Value, json};
use weir_testkit::{Backend, TestApp, UNTHROTTLED, error, header, minimal_session};

use crate::{CONSENT, SESSION};

async fn send(app: &TestApp, method: &str, path: &str) -> reqwest::Response {
    let request = app.client.request(method.parse().unwrap(), app.url(path));
    request.body(minimal_session().to_string()).send().await.unwrap()
}

async fn bare(response: reqwest::Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn route_unknown_is_404_in_prefix_envelope() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for path in ["/api/v1/nothing", "/api/v1/", "/api/v1", "/api/v1/analytics/sessions", "/api/v1/analytics/session/x"]
    {
        let response = send(&app, "POST", path).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(header(&response, "content-type"), Some("application/json"));
        let id = header(&response, "x-request-id").unwrap().to_owned();
        let error = error(response).await;
        assert_eq!(error["code"], "NOT_FOUND", "{path}");
        assert_eq!(error["correlationId"], json!(id));
        assert_eq!(error["details"], json!([]));
        assert!(error["i18nKey"].is_string() && error["message"].is_string(), "{error}");
    }
    let dotted_key = regex::Regex::new(r"^[a-z_]+(\.[a-z_]+)+$").unwrap();
    for path in ["/track/x", "/auth/x", "/internal/x", "/", "/nothing", "/api/v2/x", "/api/v1x", "/health", "//"] {
        let response = send(&app, "POST", path).await;
        assert_eq!(response.status(), 404, "{path}");
        let body = bare(response).await;
        assert!(dotted_key.is_match(body["message"].as_str().unwrap()), "{body}");
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    }
    app.still_serves().await;
}

#[tokio::test]
async fn route_with_wrong_method_is_405_with_allow() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for path in [SESSION, CONSENT] {
        for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
            let response = send(&app, method, path).await;
            assert_eq!(response.status(), 405, "{method} {path}");
            assert_eq!(header(&response, "allow"), Some("POST"), "{method} {path}");
            assert_eq!(error(response).await["code"], "METHOD_NOT_ALLOWED", "{method} {path}");
        }
        let response = send(&app, "HEAD", path).await;
        assert_eq!((response.status().as_u16(), header(&response, "allow")), (405, Some("POST")), "HEAD {path}");
    }
    for (path, expected) in [("/health/live", "GET, HEAD"), ("/health/ready", "GET, HEAD"), ("/metrics", "GET")] {
        let response = send(&app, "POST", path).await;
        assert_eq!(response.status(), 405, "{path}");
        let allowed = header(&response, "allow").unwrap();
        assert!(allowed.starts_with(expected), "{path}: {allowed}");
        assert!(bare(response).await["message"].as_str().unwrap().contains('.'), "{path}");
    }
    app.still_serves().await;
    assert_eq!(app.outcomes("session", "method_not_allowed").await, 7.0);
}

#[tokio::test]
async fn route_methods_in_allow_header_work() {
    let app = TestApp::start(Backend::Sqlite).await;
    for path in ["/health/live", "/health/ready", "/metrics"] {
        assert_eq!(send(&app, "GET", path).await.status(), 200, "GET {path}");
    }
    for path in ["/health/live", "/health/ready"] {
        let response = send(&app, "HEAD", path).await;
        assert_eq!(response.status(), 200, "HEAD {path}");
        assert_eq!(response.text().await.unwrap(), "");
    }
}

#[tokio::test]
async fn route_path_percent_encoded_matches_plain() {
    let app = TestApp::start(Backend::Sqlite).await;
    let path = "/%61pi/v1/analytics/%73ession";
    let response = app.post(path, &json!({})).header("origin", "https://example.org").send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(header(&response, "access-control-allow-credentials"), Some("true"));
    assert!(header(&response, "ratelimit").is_some());
    assert_eq!(error(response).await["code"], "VALIDATION_ERROR");
    assert_eq!(app.outcomes("session", "invalid").await, 1.0);
    app.still_serves().await;
}
