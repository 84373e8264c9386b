//! `X-Request-Id`: taken over where it is usable, made where it is not, and told on every answer.

use reqwest::header::HeaderValue;
use serde_json::json;
use weir_testkit::{Backend, TestApp, UNTHROTTLED, error, header, minimal_session};

use crate::SESSION;

#[tokio::test]
async fn request_id_valid_is_echoed_on_every_response() {
    let app = TestApp::start(Backend::Sqlite).await;
    let longest = "x".repeat(128);
    for id in ["a", "!~", "0190a1b2-0000-7000-8000-00000000000a", "{\"quoted\"}", &longest] {
        let request = app.post(SESSION, &minimal_session()).header("x-request-id", id);
        assert_eq!(header(&request.send().await.unwrap(), "x-request-id"), Some(id));
    }
    let mut answers = Vec::new();
    for (method, path, status) in [
        ("GET", "/health/live", 200),
        ("GET", "/health/ready", 200),
        ("GET", "/metrics", 200),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("PUT", SESSION, 405),
        ("POST", SESSION, 400),
    ] {
        let request = app.client.request(method.parse().unwrap(), app.url(path)).header("x-request-id", "mine");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(header(&response, "x-request-id"), Some("mine"), "{method} {path}");
        answers.push(response);
    }
    let preflight = app.client.request(reqwest::Method::OPTIONS, app.url(SESSION)).header("x-request-id", "mine");
    let preflight = preflight.header("origin", "https://example.org").header("access-control-request-method", "POST");
    let preflight = preflight.send().await.unwrap();
    assert_eq!((preflight.status().as_u16(), header(&preflight, "x-request-id")), (204, Some("mine")));
    assert_eq!(error(answers.pop().unwrap()).await["correlationId"], "mine");
    assert_eq!(error(answers.pop().unwrap()).await["correlationId"], "mine");
    assert!(app.log().contains("mine"), "the id stands on the request's log lines");
}

#[tokio::test]
async fn request_id_absent_or_invalid_is_replaced_by_uuid() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let too_long = "x".repeat(129);
    let unusable: [&[u8]; 6] = [b"", b" ", too_long.as_bytes(), b"two words", "ü".as_bytes(), b"\xff"];
    let mut made = std::collections::HashSet::new();
    for id in unusable.iter().map(|id| Some(*id)).chain([None]) {
        let mut request = app.post(SESSION, &json!({}));
        if let Some(id) = id {
            request = request.header("x-request-id", HeaderValue::from_bytes(id).unwrap());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400);
        let echoed = header(&response, "x-request-id").unwrap().to_owned();
        uuid::Uuid::parse_str(&echoed).unwrap_or_else(|error| panic!("{id:?} became {echoed}: {error}"));
        assert_eq!(error(response).await["correlationId"], json!(echoed));
        made.insert(echoed);
    }
    assert_eq!(made.len(), 7);
    app.still_serves().await;
}
