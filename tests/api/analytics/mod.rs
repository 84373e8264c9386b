//! Sessions, their views and what happens in them: what each endpoint under `/api/v1/analytics` answers, and what its
//! rows say afterwards. This file holds what is true of all of them; each has one of its own.

mod batch;
mod concurrency;
mod heartbeat;
mod identify;
mod leave;
mod pageview;

use serde_json::{Value, json};
use weir_testkit::{
    BROWSER, Backend, Database, JWT_SECRET, TestApp, UNTHROTTLED, data, error, header, minimal_session,
    on_both_databases, session_with, truth,
};

use crate::SESSION;

const PAGEVIEW: &str = "/api/v1/analytics/pageview";
const BATCH: &str = "/api/v1/analytics/batch";
/// An id of the kind that the server makes, and never made.
const UNKNOWN: &str = "01a1fba7-29af-74da-8a04-14eb46ead50e";
/// What is no UUID in its usual form.
const NO_UUIDS: [&str; 5] = [
    "x",
    "01a1fba729af74da8a0414eb46ead50e",
    "%7B01a1fba7-29af-74da-8a04-14eb46ead50e%7D",
    "urn:uuid:01a1fba7-29af-74da-8a04-14eb46ead50e",
    "%00",
];

fn identify_of(session: &str) -> String {
    format!("{SESSION}/{session}/identify")
}

fn heartbeat_of(session: &str) -> String {
    format!("{SESSION}/{session}/heartbeat")
}

fn leave_of(view: &str) -> String {
    format!("{PAGEVIEW}/{view}/leave")
}

/// A `PATCH` as a browser.
fn patch(app: &TestApp, path: &str) -> reqwest::RequestBuilder {
    app.client.patch(app.url(path)).header("user-agent", BROWSER)
}

/// A user's token, good for a minute.
fn token_of(user: &str) -> String {
    signed(&json!({"sub": user, "exp": chrono::Utc::now().timestamp() + 60}))
}

fn signed(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

/// A session that is stored.
async fn begun(app: &TestApp) -> String {
    app.create_session(&minimal_session()).await["id"].as_str().expect("stored").to_owned()
}

/// A view that is stored.
async fn viewed(app: &TestApp, session: &str) -> String {
    let body = json!({"sessionId": session, "url": "https://example.org/a"});
    let response = app.post(PAGEVIEW, &body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    data(response).await["id"].as_str().expect("stored").to_owned()
}

/// Sends a request that must be answered with `{ok: true}`.
async fn done(request: reqwest::RequestBuilder) {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(data(response).await, json!({"ok": true}));
}

/// How many records the analytics journal ever took.
async fn journalled(app: &TestApp) -> f64 {
    app.metric("weir_journal_position{journal=\"analytics\"}").await
}

/// The one view with this id, once the writer has applied it.
async fn view(app: &TestApp, id: &str) -> Value {
    app.applied().await;
    let rows = app.rows(Database::Analytics, &format!("SELECT * FROM analytics_pageviews WHERE id = '{id}'")).await;
    assert_eq!(rows.len(), 1, "rows of view {id}");
    rows.into_iter().next().unwrap()
}

async fn count(app: &TestApp, table: &str) -> i64 {
    app.applied().await;
    app.databases.count(Database::Analytics, &format!("SELECT count(*) AS n FROM {table}")).await
}

/// What is wrong with a request: the messages, each of which begins with its field.
async fn violations(request: reqwest::RequestBuilder) -> Vec<String> {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 400);
    messages(&error(response).await)
}

fn messages(error: &Value) -> Vec<String> {
    assert_eq!(error["code"], "VALIDATION_ERROR", "{error}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let details = error["details"].as_array().unwrap().iter();
    details
        .map(|detail| {
            let message = text(&detail["message"]);
            assert!(message.starts_with(&format!("{} ", text(&detail["field"]))), "{detail}");
            message
        })
        .collect()
}

#[tokio::test]
async fn analytics_routes_have_separate_rate_limits() {
    let app = TestApp::start(Backend::Sqlite).await;
    let one = json!({"items": [{"type": "heartbeat", "id": "x"}]});
    let view = json!({"sessionId": UNKNOWN, "url": "/"});
    // What is refused counts as well: the throttle comes before validation.
    let nothing = json!({});
    let (beat, leave) = (heartbeat_of(UNKNOWN), leave_of(UNKNOWN));
    let duration = json!({"duration": 1});
    let minimal = minimal_session();
    let cases = [
        ("POST", SESSION, [&minimal, &nothing], "session", 10_u32, 60_u64),
        ("POST", PAGEVIEW, [&view, &nothing], "pageview", 30, 60),
        ("PATCH", beat.as_str(), [&nothing, &nothing], "heartbeat", 5, 30),
        ("PATCH", leave.as_str(), [&duration, &nothing], "leave", 10, 60),
        // Its item is throttled by now, and answered as such.
        ("POST", BATCH, [&one, &nothing], "batch", 30, 60),
    ];
    for (method, path, bodies, route, requests, seconds) in cases {
        let send = async |body: &Value, ip: &str| {
            let request = app.client.request(method.parse().unwrap(), app.url(path)).header("x-forwarded-for", ip);
            request.body(body.to_string()).send().await.unwrap()
        };
        let policy = format!("\"{route}\";q={requests};w={seconds}");
        for number in 1..=requests {
            let response = send(bodies[number as usize % 2], "203.0.113.1").await;
            assert!([200, 400].contains(&response.status().as_u16()), "{path}");
            assert_eq!(header(&response, "ratelimit-policy"), Some(policy.as_str()), "{path}");
            let standing = format!("\"{route}\";r={};t=", requests - number);
            assert!(header(&response, "ratelimit").unwrap().starts_with(&standing), "{path}");
        }
        let refused = send(bodies[0], "203.0.113.1").await;
        assert_eq!(refused.status(), 429, "{path}");
        let wait: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
        assert!((1..=seconds).contains(&wait), "{path}: {wait}");
        assert_eq!(error(refused).await["code"], "THROTTLE_LIMIT_EXCEEDED", "{path}");
        assert_eq!(send(bodies[0], "203.0.113.2").await.status(), 200, "{path}: another client");
    }
    // Both methods of a leave are one route.
    let posted = app.post(&leave, &duration).header("x-forwarded-for", "203.0.113.1").send().await.unwrap();
    assert_eq!(posted.status(), 429);
}

#[tokio::test]
async fn identify_has_no_rate_limit() {
    let app = TestApp::start(Backend::Sqlite).await;
    for _ in 0..40 {
        let response = patch(&app, &identify_of(UNKNOWN)).bearer_auth(token_of("alice")).send().await.unwrap();
        assert_eq!((response.status().as_u16(), header(&response, "ratelimit-policy")), (200, None));
    }
}

#[tokio::test]
async fn analytics_route_with_wrong_method_is_405_with_allow() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for (path, allowed) in [
        (PAGEVIEW, "POST"),
        (BATCH, "POST"),
        (&heartbeat_of(UNKNOWN), "PATCH"),
        (&identify_of(UNKNOWN), "PATCH"),
        (&leave_of(UNKNOWN), "PATCH, POST"),
    ] {
        for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"] {
            let request = app.client.request(method.parse().unwrap(), app.url(path));
            let response = request.bearer_auth(token_of("alice")).body(r#"{"duration":1}"#).send().await.unwrap();
            if allowed.split(", ").any(|allowed| allowed == method) {
                assert_ne!(response.status(), 405, "{method} {path}");
                continue;
            }
            assert_eq!(response.status(), 405, "{method} {path}");
            assert_eq!(header(&response, "allow"), Some(allowed), "{method} {path}");
            if method != "HEAD" {
                assert_eq!(error(response).await["code"], "METHOD_NOT_ALLOWED", "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn analytics_request_with_journal_full_is_not_acknowledged() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.set("WEIR_JOURNAL__MAX_BYTES", "1MiB");
    for (name, value) in UNTHROTTLED {
        app.set(name, value);
    }
    app.launch().await;
    let big = session_with(&json!({"landingPage": format!("https://example.org/{}", "x".repeat(8000))}));
    let mut taken = 0;
    while !app.create_session(&big).await["id"].is_null() {
        taken += 1;
        assert!(taken < 1000, "1 MiB took 8 MB");
    }
    // What is left takes smaller records yet.
    let mut beats = 0;
    while patch(&app, &heartbeat_of(UNKNOWN)).send().await.unwrap().status() == 200 {
        beats += 1;
        assert!(beats < 10_000, "a full journal takes whatever comes");
    }
    let view = json!({"sessionId": UNKNOWN, "url": "/"});
    for path in [SESSION, PAGEVIEW] {
        let body = if path == SESSION { minimal_session() } else { view.clone() };
        let response = app.post(path, &body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(data(response).await, json!({"id": null}), "{path}");
    }
    let leave = || app.post(&leave_of(UNKNOWN), &json!({"duration": 1}));
    for request in [
        leave(),
        patch(&app, &leave_of(UNKNOWN)).body(r#"{"duration":1}"#),
        patch(&app, &heartbeat_of(UNKNOWN)),
        patch(&app, &identify_of(UNKNOWN)).bearer_auth(token_of("alice")),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 503, "{}", response.url());
        assert!(header(&response, "retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(error(response).await["code"], "SERVICE_UNAVAILABLE");
    }
    let items = json!({"items": [
        {"type": "session", "body": minimal_session()},
        {"type": "pageview", "body": view},
        {"type": "pageview", "sessionRef": 0, "body": {"url": "/"}},
        {"type": "leave", "id": UNKNOWN, "body": {"duration": 1}},
        {"type": "heartbeat", "id": UNKNOWN},
    ]});
    let response = app.post(BATCH, &items).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let results = data(response).await["results"].clone();
    assert_eq!(results[0], json!({"status": 200, "data": {"id": null}}));
    assert_eq!(results[1], json!({"status": 200, "data": {"id": null}}));
    assert_eq!(results[2]["status"], json!(400), "there is no session to refer to");
    for result in [&results[3], &results[4]] {
        assert_eq!((&result["status"], &result["error"]["code"]), (&json!(503), &json!("SERVICE_UNAVAILABLE")));
    }
    // Where there is nothing to keep, nothing is missing.
    done(patch(&app, &heartbeat_of("x"))).await;
}

/// What happens in a session right after its answer, each of it acknowledged.
async fn live_through(app: &TestApp, session: &str) {
    let first = viewed(app, session).await;
    done(patch(app, &identify_of(session)).bearer_auth(token_of("alice"))).await;
    done(patch(app, &heartbeat_of(session))).await;
    done(app.post(&leave_of(&first), &json!({"duration": 12.5, "scrollDepth": 40}))).await;
    viewed(app, session).await;
}

async fn has_lived(app: &TestApp, session: &str) {
    let row = app.session(session).await;
    assert_eq!((&row["user_id"], &row["page_views"], &row["duration"]), (&json!("alice"), &json!(2), &json!(30)));
    assert!(!truth(&row["bounced"]));
    let of_session = format!("SELECT duration FROM analytics_pageviews WHERE session_id = '{session}' ORDER BY id");
    let views = app.rows(Database::Analytics, &of_session).await;
    assert_eq!(views, [json!({"duration": 12.5}), json!({"duration": null})]);
}

on_both_databases! {
    async fn session_events_right_after_response_are_never_lost(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for _ in 0..40 {
            let session = begun(&app).await;
            live_through(&app, &session).await;
            has_lived(&app, &session).await;
        }
    }

    async fn session_events_after_response_survive_kill(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut sessions = Vec::new();
        for _ in 0..3 {
            sessions.push(begun(&app).await);
            app.kill();
            app.launch().await;
            live_through(&app, sessions.last().unwrap()).await;
            app.kill();
            app.launch().await;
        }
        for session in sessions {
            has_lived(&app, &session).await;
        }
    }
}

#[tokio::test]
async fn session_events_after_response_survive_database_outage() {
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    let before = begun(&app).await;
    app.databases.allow_connections(Database::Analytics, false).await;
    let during = begun(&app).await;
    for session in [&before, &during] {
        live_through(&app, session).await;
    }
    app.databases.allow_connections(Database::Analytics, true).await;
    for session in [&before, &during] {
        has_lived(&app, session).await;
    }
}
