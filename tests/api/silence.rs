//! The main database falls silent: its connections stand, and nothing comes back over them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_testkit::proxy::{Link, Proxy};
use weir_testkit::{Backend, Database, TestApp, UNTHROTTLED, access_token, data, exclusive, header};

use crate::CONSENT;
use crate::sign_in::{REQUEST_CODE, code_for, signed_in, verify};
use crate::visitors::{INIT, init};

/// A server that reaches its main database over a line that can be cut.
async fn start() -> (TestApp, Proxy) {
    let mut app = TestApp::prepare(Backend::Postgres).await;
    let (line, url) = Proxy::to_url(&app.databases.main_url).await;
    for (name, value) in UNTHROTTLED {
        app.set(name, value);
    }
    app.set("WEIR_MAIN_DATABASE_URL", &url);
    app.set("WEIR_INTERNAL_KEY", "key");
    app.launch().await;
    (app, line)
}

#[tokio::test]
async fn main_database_silent_serves_or_refuses_each_request_soon() {
    // It looks at how long answers take.
    let _alone = exclusive().await;
    let (app, line) = start().await;
    let ann = access_token("ann");
    let choice = json!({"analytics": true, "marketing": true, "functional": true});
    let save = || app.post(CONSENT, &choice).bearer_auth(&ann);
    assert_eq!(data(save().send().await.unwrap()).await, json!({"saved": true}));
    let (known, _) = init(app.post(INIT, &json!({}))).await;
    let code = code_for(&app, "ann@example.org").await;
    app.applied().await;
    line.set(Link::Stalled);

    let strange = "visitor_00112233445566778899aabbccddeeff";
    for (body, new) in [
        (json!({"token": strange}), false),
        (json!({"token": known, "utmSource": "later"}), false),
        (json!({"token": strange, "userAgent": "another"}), false),
        (json!({"userAgent": "a third"}), true),
    ] {
        let began = Instant::now();
        assert_eq!(init(app.post(INIT, &body)).await.1, new, "{body}");
        assert!(began.elapsed() < Duration::from_secs(1), "{body}: {:?}", began.elapsed());
    }
    let began = Instant::now();
    assert_eq!(data(save().send().await.unwrap()).await, json!({"saved": true}));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());

    let read = |path: &str| app.client.get(app.url(path)).bearer_auth(&ann);
    for request in [
        read("/api/v1/consent/cookies/status"),
        read("/api/v1/users/consent"),
        read("/api/v1/users/attribution"),
        app.post(REQUEST_CODE, &json!({"email": "bob@example.org"})),
        verify(&app, "ann@example.org", &code),
        app.post("/internal/v1/users", &json!({"id": "u"})).header("x-internal-key", "key"),
    ] {
        let began = Instant::now();
        let response = request.send().await.unwrap();
        let path = response.url().path().to_owned();
        assert_eq!(response.status(), 503, "{path}");
        assert!(header(&response, "retry-after").is_some(), "{path}");
        assert!(began.elapsed() < Duration::from_millis(3500), "{path}: {:?}", began.elapsed());
    }

    line.set(Link::Up);
    app.applied().await;
    let status = data(read("/api/v1/consent/cookies/status").send().await.unwrap()).await;
    assert_eq!(status["userVersion"], json!("1.0"));
    assert_eq!(signed_in(verify(&app, "ann@example.org", &code)).await["isNewUser"], json!(true));
    let rows = async |sql: &str| app.rows(Database::Main, sql).await;
    let consents: Vec<Value> = rows("SELECT user_id FROM consent_records").await;
    assert_eq!(consents.len(), 2, "each choice once");
    let filled = rows(&format!("SELECT utm_source FROM visitors WHERE token = '{known}'")).await;
    assert_eq!(filled, [json!({"utm_source": "later"})]);
}

#[tokio::test]
async fn main_database_silent_at_start_still_serves_visitors() {
    let mut app = TestApp::prepare(Backend::Postgres).await;
    let (line, url) = Proxy::to_url(&app.databases.main_url).await;
    line.set(Link::Stalled);
    app.set("WEIR_MAIN_DATABASE_URL", &url);
    app.launch().await;
    let (token, is_new) = init(app.post(INIT, &json!({"utmSource": "news"}))).await;
    assert!(is_new);
    let response = app.post(REQUEST_CODE, &json!({"email": "ann@example.org"})).send().await.unwrap();
    assert_eq!(response.status(), 503);
    line.set(Link::Up);
    app.applied().await;
    let rows = app.rows(Database::Main, "SELECT token, utm_source FROM visitors").await;
    assert_eq!(rows, [json!({"token": token, "utm_source": "news"})]);
}
