//! `POST /api/v1/analytics/pageview`: a page is opened, and the session's counters go on.

use weir_testkit::time;

use super::*;

/// A view's body with some fields set.
fn with(session: &str, fields: &Value) -> Value {
    let mut body = json!({"sessionId": session, "url": "https://example.org/a"});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// Sends a view that must be stored, and reads its row.
async fn stored(app: &TestApp, body: &Value) -> Value {
    let response = app.post(PAGEVIEW, body).send().await.unwrap();
    assert_eq!(response.status(), 200, "{body}");
    let answer = data(response).await;
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    view(app, answer["id"].as_str().expect("stored")).await
}

on_both_databases! {
    async fn pageview_is_stored_and_counted_by_session(backend) {
        let app = TestApp::start(backend).await;
        let (session, other) = (begun(&app).await, begun(&app).await);
        let untouched = app.session(&other).await;
        let full = json!({
            "path": "/given",
            "title": "Ünïcode 🦀",
            "referrer": "https://www.example.com/x",
            "id": UNKNOWN,
            "more": {"a": 1},
        });
        let sent = chrono::Utc::now().timestamp_millis();
        let first = stored(&app, &with(&session, &full)).await;
        assert_eq!(first.as_object().unwrap().len(), 9, "{first}");
        assert_eq!(uuid::Uuid::parse_str(first["id"].as_str().unwrap()).unwrap().get_version_num(), 7);
        for (column, value) in [
            ("session_id", json!(session)),
            ("url", json!("https://example.org/a")),
            ("path", json!("/given")),
            ("title", json!("Ünïcode 🦀")),
            ("referrer", json!("https://www.example.com/x")),
            ("duration", json!(null)),
            ("scroll_depth", json!(null)),
        ] {
            assert_eq!(first[column], value, "{column}");
        }
        let entered = time(&first["entered_at"]);
        assert!((sent..=chrono::Utc::now().timestamp_millis()).contains(&entered.timestamp_millis()));
        let row = app.session(&session).await;
        assert_eq!((&row["page_views"], truth(&row["bounced"])), (&json!(1), true));
        assert_eq!(time(&row["last_activity_at"]), entered);
        assert_eq!(row["duration"], json!(0), "only heartbeats add to it");

        let second = stored(&app, &with(&session, &json!({}))).await;
        let row = app.session(&session).await;
        assert_eq!((&row["page_views"], truth(&row["bounced"])), (&json!(2), false));
        assert_eq!(time(&row["last_activity_at"]), time(&second["entered_at"]));
        let third = stored(&app, &with(&session, &json!({}))).await;
        assert_eq!(app.session(&session).await["page_views"], json!(3));
        for (earlier, later) in [(&first, &second), (&second, &third)] {
            let read = (time(&later["entered_at"]) - time(&earlier["entered_at"])).as_seconds_f64();
            let row = view(&app, earlier["id"].as_str().unwrap()).await;
            assert!((row["duration"].as_f64().unwrap() - read).abs() < 1e-9, "{row} is not {read}");
        }
        assert_eq!(view(&app, third["id"].as_str().unwrap()).await["duration"], json!(null));
        assert_eq!(app.session(&other).await, untouched);
    }

    async fn pageview_of_unknown_session_is_stored_uncounted(backend) {
        let app = TestApp::start(backend).await;
        let known = begun(&app).await;
        let untouched = app.session(&known).await;
        let of_another_kind = "d9428888-122b-41e1-b85c-61d2e8b8a5f3";
        for session in [UNKNOWN, UNKNOWN, of_another_kind, "00000000-0000-0000-0000-000000000000"] {
            let row = stored(&app, &with(session, &json!({}))).await;
            assert_eq!((&row["session_id"], &row["duration"]), (&json!(session), &json!(null)));
        }
        assert_eq!(count(&app, "analytics_sessions").await, 1);
        assert_eq!(app.session(&known).await, untouched);
        let upper = stored(&app, &with(&known.to_uppercase(), &json!({}))).await;
        assert_eq!(upper["session_id"], json!(known), "an id has no case");
        assert_eq!(app.session(&known).await["page_views"], json!(1));
    }
}

#[tokio::test]
async fn pageview_without_path_derives_path_from_url() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let session = begun(&app).await;
    for (fields, path) in [
        (json!({"url": "https://example.org/a/b?c=d#e"}), json!("/a/b")),
        (json!({"url": "https://example.org"}), json!("/")),
        (json!({"url": "HTTPS://user:pw@EXAMPLE.org:8443/A/%C3%BC/"}), json!("/A/%C3%BC/")),
        (json!({"url": "https://example.org/ü b"}), json!("/%C3%BC%20b")),
        (json!({"url": "/only/a/path?x#y"}), json!("/only/a/path")),
        (json!({"url": "https://example.org/a", "path": null}), json!("/a")),
        (json!({"url": "https://example.org/a", "path": ""}), json!("/a")),
        (json!({"url": "https://example.org/a", "path": "not/derived"}), json!("not/derived")),
        (json!({"url": "about:blank"}), json!(null)),
        (json!({"url": "no url at all"}), json!(null)),
    ] {
        let row = stored(&app, &with(&session, &fields)).await;
        assert_eq!((&row["url"], &row["path"]), (&fields["url"], &path), "{fields}");
    }
}

#[tokio::test]
async fn pageview_by_bot_or_malformed_session_id_stores_nothing() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let session = begun(&app).await;
    let body = with(&session, &json!({})).to_string();
    let as_agent = |agent: &str| app.client.post(app.url(PAGEVIEW)).header("user-agent", agent).body(body.clone());
    for agent in ["curl/8.5.0", "Googlebot/2.1", "Mozilla/5.0 (compatible; SomeCRAWLER)", "WhatsApp/2.2"] {
        app.discarded(as_agent(agent)).await;
    }
    for id in ["", "x", "01a1fba729af74da8a0414eb46ead50e", "{01a1fba7-29af-74da-8a04-14eb46ead50e}", "undefined"] {
        app.discarded(app.post(PAGEVIEW, &with(id, &json!({})))).await;
    }
    assert_eq!(app.session(&session).await["page_views"], json!(0));
    done_with_id(as_agent("")).await;
    done_with_id(app.client.post(app.url(PAGEVIEW)).body(body.clone())).await;
    assert_eq!(app.session(&session).await["page_views"], json!(2), "no user agent is no bot");
    // What is wrong is told to bots too.
    let wrong = app.client.post(app.url(PAGEVIEW)).header("user-agent", "curl/8.5.0").body("{}");
    assert_eq!(violations(wrong).await.len(), 3);
}

#[tokio::test]
async fn pageview_optional_text_too_long_is_cut_and_counted() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let session = begun(&app).await;
    for (field, max) in [("path", 8192), ("title", 1024), ("referrer", 8192)] {
        let row = stored(&app, &with(&session, &json!({ field: "ü".repeat(max + 1) }))).await;
        assert_eq!(row[field], json!("ü".repeat(max)), "{field}");
        assert_eq!(app.metric(&format!("weir_fields_cut_total{{field=\"{field}\"}}")).await, 1.0, "{field}");
    }
    let item = json!({"items": [{"type": "pageview", "body": with(&session, &json!({"title": "x".repeat(1100)}))}]});
    let answer = data(app.post("/api/v1/analytics/batch", &item).send().await.unwrap()).await;
    assert!(answer["results"][0]["data"]["id"].is_string(), "{answer}");
    assert_eq!(app.metric("weir_fields_cut_total{field=\"title\"}").await, 2.0);
}

async fn done_with_id(request: reqwest::RequestBuilder) {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(data(response).await["id"].is_string());
}

#[tokio::test]
async fn pageview_violations_are_all_listed_in_field_order() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let session = begun(&app).await;
    let before = journalled(&app).await;
    let no_url = ["url should not be empty", "url must be a string"];
    let cases: [(Value, &[&str]); 14] = [
        (json!({}), &["sessionId must be a string", no_url[0], no_url[1]]),
        (json!({"sessionId": null, "url": null}), &["sessionId must be a string", no_url[0], no_url[1]]),
        (json!({"url": "/"}), &["sessionId must be a string"]),
        (json!({"url": "/", "sessionId": 7}), &["sessionId must be a string"]),
        (json!({"url": "/", "sessionId": [session]}), &["sessionId must be a string"]),
        (json!({"sessionId": session}), &no_url),
        (json!({"sessionId": session, "url": ""}), &["url should not be empty"]),
        (json!({"sessionId": session, "url": 1}), &["url must be a string"]),
        (
            json!({"referrer": {}, "title": 1, "path": false, "url": true, "sessionId": 1}),
            &[
                "sessionId must be a string",
                "url must be a string",
                "path must be a string",
                "title must be a string",
                "referrer must be a string",
            ],
        ),
        (with(&session, &json!({"title": "a\0b"})), &["title must not contain a NUL character"]),
        (with(&session, &json!({"url": "/\0"})), &["url must not contain a NUL character"]),
        (with("a\0b", &json!({})), &["sessionId must not contain a NUL character"]),
        (with(&"x".repeat(1025), &json!({})), &["sessionId must be shorter than or equal to 1024 characters"]),
        (with(&session, &json!({"title": "\0".repeat(1025)})), &["title must not contain a NUL character"]),
    ];
    for (body, expected) in cases {
        assert_eq!(violations(app.post(PAGEVIEW, &body)).await, expected, "{body}");
    }
    let long = with(&session, &json!({"url": "ü".repeat(8193)}));
    assert_eq!(violations(app.post(PAGEVIEW, &long)).await, ["url must be shorter than or equal to 8192 characters"]);
    assert!((journalled(&app).await - before).abs() < f64::EPSILON, "a refused view was journalled");
    for (field, max) in [("url", 8192), ("path", 8192), ("title", 1024), ("referrer", 8192)] {
        let longest = "ü".repeat(max);
        assert_eq!(stored(&app, &with(&session, &json!({ field: longest }))).await[field], json!(longest));
    }
    let absent = stored(&app, &with(&session, &json!({"path": null, "title": null, "referrer": null}))).await;
    assert_eq!((&absent["title"], &absent["referrer"]), (&json!(null), &json!(null)));
}

#[tokio::test]
async fn pageview_body_follows_common_body_rules() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let session = begun(&app).await;
    let body = with(&session, &json!({})).to_string();
    let send = |body: String, content_type: &str| {
        app.client.post(app.url(PAGEVIEW)).header("content-type", content_type).body(body)
    };
    done_with_id(send(body.clone(), "text/plain;charset=UTF-8")).await;
    for (request, status, code) in [
        (send(body.clone(), "text/html"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (send(body.clone() + &" ".repeat(64 << 10), "text/plain"), 413, "PAYLOAD_TOO_LARGE"),
        (send("{\n \"url\": secret}".into(), "text/plain"), 400, "MALFORMED_JSON"),
        (send("[]".into(), "text/plain"), 400, "VALIDATION_ERROR"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{code}");
        let error = error(response).await;
        assert_eq!(error["code"], code);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert_eq!(app.session(&session).await["page_views"], json!(1));
}
