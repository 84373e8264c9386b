//! `POST /api/v1/analytics/track`: a signed-in user's step is a row with its data.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_testkit::{
    Backend, Database, TestApp, UNTHROTTLED, access_token, data, error, header, on_both_databases, time,
};

const TRACK: &str = "/api/v1/analytics/track";

fn track(app: &TestApp, body: &Value) -> reqwest::RequestBuilder {
    app.post(TRACK, body).bearer_auth(access_token("user-1"))
}

async fn rows(app: &TestApp) -> Vec<Value> {
    app.applied().await;
    app.rows(Database::Main, "SELECT * FROM funnel_events ORDER BY id").await
}

/// Sends an event that must be stored, and reads its row, the newest.
async fn tracked(app: &TestApp, request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(data(response).await, json!({"tracked": true}));
    rows(app).await.pop().unwrap()
}

/// A row's properties, whichever way the engine keeps JSON.
fn properties(row: &Value) -> Value {
    match &row["properties"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    }
}

async fn set(app: &TestApp, key: &str, value: &str) {
    let set = app.run(&["settings", "set", key, value]).await;
    assert_eq!(set.code, Some(0), "{set:?}");
}

/// The wording of the refusal of data that is too large.
async fn is_too_large(response: reqwest::Response) {
    assert_eq!(response.status(), 400);
    let error = error(response).await;
    assert_eq!(error["code"], "ANALYTICS_EVENT_INVALID_DATA");
    assert_eq!(error["i18nKey"], "analytics.event.invalid_data");
    assert_eq!(error["details"], json!([]));
}

on_both_databases! {
    async fn track_event_is_stored_as_sent(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let began = chrono::Utc::now();
        let told = json!({
            "plan": "pro", "price": 12.5, "count": 9_007_199_254_740_991_i64, "yes": true, "none": null,
            "list": [1, "two", {"three": []}], "nested": {"ü": "漢 🦀", "": ""}, "quote\"d": "a\\b\n\u{1}",
        });
        let body = json!({"event": "signup_completed", "sessionId": "s-1", "properties": told, "userId": "eve"});
        let row = tracked(&app, track(&app, &body)).await;
        assert_eq!(row.as_object().unwrap().len(), 6, "{row}");
        assert_eq!((&row["user_id"], &row["event"]), (&json!("user-1"), &json!("signup_completed")));
        assert_eq!(row["session_id"], json!("s-1"));
        assert_eq!(properties(&row), told);
        assert_eq!(uuid::Uuid::parse_str(row["id"].as_str().unwrap()).unwrap().get_version_num(), 7);
        assert!((time(&row["created_at"]) - began).num_milliseconds().abs() < 60_000);

        let longest = "é".repeat(255);
        let row = tracked(&app, track(&app, &json!({"event": longest, "sessionId": null, "properties": null}))).await;
        assert_eq!(
            (&row["event"], &row["session_id"], &row["properties"]),
            (&json!(longest), &Value::Null, &Value::Null)
        );
        let row = tracked(&app, track(&app, &json!({"event": "e", "sessionId": "", "properties": {}}))).await;
        assert_eq!((&row["session_id"], properties(&row)), (&Value::Null, json!({})));
    }

    async fn track_event_without_bearer_is_401_before_validation(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for bearer in [None, Some("x".to_owned()), Some(access_token("user-1") + "x")] {
            for (body, kind) in [
                ("{\"event\":\"e\"}", "application/json"),
                ("{\"event\":7}", "application/json"),
                ("{", "application/json"),
                ("<p>", "text/html"),
            ] {
                let request = app.client.post(app.url(TRACK)).header("content-type", kind).body(body);
                let request = bearer.iter().fold(request, reqwest::RequestBuilder::bearer_auth);
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), 401, "{body}");
                assert_eq!(header(&response, "www-authenticate"), Some("Bearer"));
                let error = error(response).await;
                assert_eq!(
                    (&error["code"], &error["i18nKey"]),
                    (&json!("AUTH_UNAUTHORIZED"), &json!("auth.unauthorized"))
                );
            }
        }
        assert_eq!(rows(&app).await.len(), 0);
    }

    async fn track_event_invalid_stores_nothing(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let detail = |field: &str, rule: &str| json!({"field": field, "message": format!("{field} {rule}")});
        let not_object = || vec![detail("properties", "must be an object")];
        let nul = || vec![detail("properties", "must not contain a NUL character")];
        let event = |properties: Value| json!({"event": "e", "properties": properties});
        for (body, details) in [
            (json!({}), vec![detail("event", "should not be empty"), detail("event", "must be a string")]),
            (json!({"event": null}), vec![detail("event", "should not be empty"), detail("event", "must be a string")]),
            (json!({"event": ""}), vec![detail("event", "should not be empty")]),
            (json!({"event": ["e"]}), vec![detail("event", "must be a string")]),
            (
                json!({"event": "é".repeat(256)}),
                vec![detail("event", "must be shorter than or equal to 255 characters")],
            ),
            (json!({"event": "a\0"}), vec![detail("event", "must not contain a NUL character")]),
            (json!({"event": "e", "sessionId": 7}), vec![detail("sessionId", "must be a string")]),
            (json!({"event": "e", "sessionId": "\0"}), vec![detail("sessionId", "must not contain a NUL character")]),
            (event(json!("x")), not_object()),
            (event(json!(7)), not_object()),
            (event(json!(true)), not_object()),
            (event(json!([])), not_object()),
            (event(json!([{"a": 1}])), not_object()),
            (event(json!({"a": "\0"})), nul()),
            (event(json!({"a\0b": 1})), nul()),
            (event(json!({"a": [1, {"b": ["x\0"]}]})), nul()),
            (event(json!({"a": [[{"\0": null}]]})), nul()),
            (
                json!({"event": 1, "sessionId": 2, "properties": 3}),
                vec![
                    detail("event", "must be a string"),
                    detail("sessionId", "must be a string"),
                    detail("properties", "must be an object"),
                ],
            ),
        ] {
            let response = track(&app, &body).send().await.unwrap();
            assert_eq!(response.status(), 400, "{body}");
            let error = error(response).await;
            assert_eq!((&error["code"], &error["details"]), (&json!("VALIDATION_ERROR"), &json!(details)), "{body}");
        }
        assert_eq!(rows(&app).await.len(), 0);
    }

    async fn track_event_data_limit_counts_compact_bytes(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        // {"a":"…"}
        let of = |bytes: usize| json!({"event": "e", "properties": {"a": "x".repeat(bytes - 8)}});
        tracked(&app, track(&app, &of(10_000))).await;
        is_too_large(track(&app, &of(10_001)).send().await.unwrap()).await;
        let raw = |value: &str| {
            let body = format!("{{ \"event\": \"e\", \"properties\": {{ {} \"a\" : {value} }} }}", " ".repeat(20_000));
            track(&app, &json!({})).body(body)
        };
        let escaped = |characters: usize| raw(&format!("\"{}\"", "\\u00e9".repeat(characters)));
        let row = tracked(&app, escaped(4996)).await;
        assert_eq!(properties(&row), json!({"a": "é".repeat(4996)}));
        is_too_large(escaped(4997).send().await.unwrap()).await;
        // Of a repeated field the last one counts, and nothing of the first.
        let twice = format!("{{\"event\":\"e\",\"properties\":{{\"a\":\"{}\",\"a\":1}}}}", "x".repeat(10_000));
        assert_eq!(properties(&tracked(&app, track(&app, &json!({})).body(twice)).await), json!({"a": 1}));
        assert_eq!(rows(&app).await.len(), 3);

        set(&app, "analytics.max_event_data_bytes", "100").await;
        let since = Instant::now();
        app.until("the new bound holds", async || track(&app, &of(101)).send().await.unwrap().status() == 400).await;
        assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
        is_too_large(track(&app, &of(101)).send().await.unwrap()).await;
        tracked(&app, track(&app, &of(100))).await;
        assert!(app.log().contains("setting changed"));
    }

    async fn track_event_unknown_fields_are_ignored(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
        // The half of an emoji is what a script leaves that cuts a text to a length.
        for value in ["\"\\ud83d\"", "1e999", "\"\\u0000\"", deep.as_str()] {
            for properties in ["", ",\"properties\":{\"a\":1}"] {
                let body = format!("{{\"title\":{value},\"event\":\"e\"{properties}}}");
                let row = tracked(&app, track(&app, &json!({})).body(body)).await;
                assert_eq!(row["properties"].is_null(), properties.is_empty());
            }
        }
        let broken = "{\"event\":\"e\",\n\"properties\":{\"a\":1e999}}";
        let response = track(&app, &json!({})).body(broken).send().await.unwrap();
        assert_eq!(response.status(), 400);
        let error = error(response).await;
        assert_eq!(error["code"], "MALFORMED_JSON");
        assert_eq!(error["details"], json!([{"message": "Malformed JSON at line 2 column 23"}]));
    }

    async fn track_event_nested_data_is_stored_or_refused(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let nested = |depth: usize, open: &str, close: &str| {
            let body =
                format!("{{\"event\":\"e\",\"properties\":{{\"a\":{}1{}}}}}", open.repeat(depth), close.repeat(depth));
            track(&app, &json!({})).body(body)
        };
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            tracked(&app, nested(100, open, close)).await;
            for depth in [200, 1000, 8000] {
                let response = nested(depth, open, close).send().await.unwrap();
                assert_eq!(response.status(), 400, "{depth}");
                assert_eq!(error(response).await["code"], "MALFORMED_JSON");
            }
        }
        assert_eq!(rows(&app).await.len(), 2);
    }

    async fn track_event_while_tracking_is_off_stores_nothing(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let event = json!({"event": "e", "properties": {"a": "x".repeat(9000)}});
        tracked(&app, track(&app, &event)).await;
        set(&app, "analytics.tracking_enabled", "false").await;
        let position = async |app: &TestApp| app.metric("weir_journal_position{journal=\"main\"}").await;
        let since = Instant::now();
        app.until("tracking is off", async || {
            let before = position(&app).await;
            let response = track(&app, &event).send().await.unwrap();
            assert_eq!(data(response).await, json!({"tracked": true}));
            position(&app).await == before
        })
        .await;
        assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
        assert!(app.log().contains("setting changed key=\"analytics.tracking_enabled\" old=\"true\" new=\"false\""));
        let stored = rows(&app).await.len();
        app.kill();
        app.launch().await;
        let response = track(&app, &event).send().await.unwrap();
        assert_eq!(data(response).await, json!({"tracked": true}));
        assert_eq!(track(&app, &json!({"event": ""})).send().await.unwrap().status(), 400, "rules hold all the same");
        assert_eq!(app.client.post(app.url(TRACK)).send().await.unwrap().status(), 401);
        assert_eq!(rows(&app).await.len(), stored);
        set(&app, "analytics.tracking_enabled", "true").await;
        app.until("tracking is on", async || {
            track(&app, &event).send().await.unwrap();
            rows(&app).await.len() > stored
        })
        .await;
    }
}

#[tokio::test]
async fn track_event_survives_outage_and_kill() {
    let mut app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    app.databases.allow_connections(Database::Main, false).await;
    for number in 0..5 {
        let response = track(&app, &json!({"event": format!("e{number}")})).send().await.unwrap();
        assert_eq!(data(response).await, json!({"tracked": true}));
    }
    app.kill();
    app.databases.allow_connections(Database::Main, true).await;
    app.launch().await;
    let stored: Vec<Value> = rows(&app).await.iter().map(|row| row["event"].clone()).collect();
    assert_eq!(stored, ["e0", "e1", "e2", "e3", "e4"]);
}

#[tokio::test]
async fn track_event_with_journal_full_is_not_acknowledged() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    for (name, value) in UNTHROTTLED {
        app.set(name, value);
    }
    app.set("WEIR_MAIN_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.set("WEIR_JOURNAL__MAX_BYTES", "1MiB");
    app.launch().await;
    let big = json!({"event": "e", "properties": {"a": "x".repeat(9000)}});
    let mut kept = 0;
    let refused = loop {
        let response = track(&app, &big).send().await.unwrap();
        if response.status() != 200 {
            break response;
        }
        kept += 1;
        assert!(kept < 1000, "1 MiB took 9 MB");
    };
    assert_eq!(refused.status(), 503);
    assert!(header(&refused, "retry-after").is_some());
    assert_eq!(error(refused).await["code"], "SERVICE_UNAVAILABLE");
    let visit = app.post("/track/init", &json!({"landingUrl": "x".repeat(8000)})).send().await.unwrap();
    assert_eq!(visit.status(), 503);
    assert!(header(&visit, "retry-after").is_some());
}

#[tokio::test]
async fn track_rate_limit_is_sixty_per_minute() {
    let app = TestApp::start(Backend::Sqlite).await;
    for left in (0..60).rev() {
        let response = track(&app, &json!({"event": "e"})).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "ratelimit-policy"), Some("\"track\";q=60;w=60"));
        assert!(header(&response, "ratelimit").unwrap().starts_with(&format!("\"track\";r={left};t=")));
    }
    let response = app.client.post(app.url(TRACK)).send().await.unwrap();
    assert_eq!(response.status(), 429, "before the bearer is looked at");
    assert_eq!(error(response).await["code"], "THROTTLE_LIMIT_EXCEEDED");
    assert_eq!(rows(&app).await.len(), 60);
}
