//! `POST /api/v1/analytics/batch`: what happened while a client was offline, item by item, and what it gets when it
//! sends the same again because it saw no answer.

use std::io::Write;

use weir_testkit::time;

use super::*;

const DAY_MS: i64 = 24 * 3_600_000;

/// Sends items that must be answered, each with a result of its own.
async fn results(app: &TestApp, items: &Value) -> Vec<Value> {
    let response = app.post(BATCH, &json!({"items": items})).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer = data(response).await;
    let results = answer["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), items.as_array().unwrap().len(), "{answer}");
    results
}

/// The one result of a batch of one item.
async fn result(app: &TestApp, item: &Value) -> Value {
    results(app, &json!([item])).await.remove(0)
}

fn statuses(results: &[Value]) -> Vec<u64> {
    results.iter().map(|result| result["status"].as_u64().unwrap()).collect()
}

/// The id that an item was answered with.
fn id_of(result: &Value) -> &str {
    assert_eq!(result["status"], json!(200), "{result}");
    result["data"]["id"].as_str().unwrap_or_else(|| panic!("{result} has no id"))
}

/// What a result says was wrong with its item.
fn wrong_with(result: &Value) -> Vec<String> {
    assert_eq!((&result["status"], &result["data"]), (&json!(400), &json!(null)), "{result}");
    messages(&result["error"])
}

/// An item with some fields set.
fn item(kind: &str, fields: &Value) -> Value {
    let mut item = match kind {
        "session" => json!({"type": kind, "body": minimal_session()}),
        "pageview" => json!({"type": kind, "body": {"url": "https://example.org/a", "sessionId": UNKNOWN}}),
        "leave" => json!({"type": kind, "id": UNKNOWN, "body": {"duration": 1}}),
        _ => json!({"type": kind, "id": UNKNOWN}),
    };
    for (name, value) in fields.as_object().unwrap() {
        item[name] = value.clone();
    }
    item
}

const KINDS: [&str; 4] = ["session", "pageview", "leave", "heartbeat"];

/// A whole visit under keys, and what it is answered with the first time.
fn visit(key: &str) -> Value {
    let keyed = |number: u32| format!("{key} {number}");
    json!([
        item("session", &json!({"key": keyed(0)})),
        item("pageview", &json!({"key": keyed(1), "sessionRef": 0, "body": {"url": "/a"}})),
        item("heartbeat", &json!({"key": keyed(2), "sessionRef": 0})),
        item("leave", &json!({"key": keyed(3), "viewRef": 1})),
    ])
}

/// The visit is there once.
async fn is_there_once(app: &TestApp, first: &[Value]) {
    let row = app.session(id_of(&first[0])).await;
    assert_eq!((&row["page_views"], &row["duration"]), (&json!(1), &json!(30)), "{row}");
    assert_eq!(view(app, id_of(&first[1])).await["duration"].as_f64(), Some(1.0));
}

on_both_databases! {
    async fn batch_of_whole_visit_equals_single_requests(backend) {
        let app = TestApp::start(backend).await;
        let earlier = begun(&app).await;
        let seen = viewed(&app, &earlier).await;
        let items = json!([
            {"type": "session", "ageMs": 9000, "body": session_with(&json!({"referrer": "https://www.example.com/x"}))},
            {"type": "pageview", "sessionRef": 0, "ageMs": 9000, "body": {"url": "https://example.org/a"}},
            {"type": "heartbeat", "sessionRef": 0, "ageMs": 7000},
            {"type": "pageview", "sessionRef": 0, "ageMs": 6500, "body": {"url": "/b", "title": "B"}},
            {"type": "leave", "viewRef": 3, "ageMs": 1000, "body": {"duration": 9999, "scrollDepth": 50}},
            {"type": "heartbeat", "id": earlier},
            {"type": "leave", "id": seen, "body": {"duration": 2.5}},
            {"type": "pageview", "body": {"sessionId": earlier, "url": "/c"}, "ignored": {"a": [1]}},
            {"type": "leave", "id": "x", "body": {"duration": 1}},
            {"type": "heartbeat", "id": "x"},
        ]);
        let results = results(&app, &items).await;
        assert_eq!(statuses(&results), [200; 10]);
        let keys = |index: usize| results[index]["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!((keys(0), keys(1)), (vec!["createdAt".into(), "id".into()], vec!["id".into()]));
        for index in [2, 4, 5, 6, 8, 9] {
            assert_eq!(results[index], json!({"status": 200, "data": {"ok": true}}), "{index}");
        }
        let row = app.session(id_of(&results[0])).await;
        assert_eq!(time(&row["started_at"]), time(&results[0]["data"]["createdAt"]));
        assert_eq!((&row["page_views"], &row["duration"], truth(&row["bounced"])), (&json!(2), &json!(30), false));
        assert_eq!(row["referrer_domain"], json!("example.com"));
        let (first, second) = (view(&app, id_of(&results[1])).await, view(&app, id_of(&results[3])).await);
        // All of it happened by one clock, the client's, however long the server took for each.
        assert_eq!(time(&first["entered_at"]), time(&row["started_at"]));
        assert_eq!((time(&second["entered_at"]) - time(&first["entered_at"])).num_milliseconds(), 2500);
        assert_eq!(first["duration"].as_f64(), Some(2.5));
        assert_eq!((second["duration"].as_f64(), second["scroll_depth"].as_f64()), (Some(3600.0), Some(50.0)));
        assert_eq!(time(&row["last_activity_at"]), time(&second["entered_at"]));
        let row = app.session(&earlier).await;
        assert_eq!((&row["page_views"], &row["duration"]), (&json!(2), &json!(30)));
        assert_eq!(view(&app, &seen).await["duration"].as_f64(), Some(2.5));
        assert_eq!(view(&app, id_of(&results[7])).await["path"], json!("/c"));
    }

    async fn batch_sent_again_gets_first_response_and_stores_nothing(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let first = results(&app, &visit("again")).await;
        for _ in 0..3 {
            assert_eq!(results(&app, &visit("again")).await, first);
        }
        is_there_once(&app, &first).await;
        // One at a time, without what it referred to, and with another body: the key alone counts.
        let alone = item("pageview", &json!({"key": "again 1", "sessionRef": 7, "body": {}}));
        assert_eq!(result(&app, &alone).await, first[1]);
        assert_eq!(result(&app, &item("heartbeat", &json!({"key": "again 2"}))).await, first[2]);
        // Within one batch as well.
        let twice = item("session", &json!({"key": "twice"}));
        let both = results(&app, &json!([twice, twice])).await;
        assert_eq!(both[0], both[1]);
        assert_eq!((count(&app, "analytics_sessions").await, count(&app, "analytics_pageviews").await), (2, 1));
        is_there_once(&app, &first).await;
    }

    async fn idempotency_keys_survive_kill_after_apply(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let first = results(&app, &visit("applied")).await;
        app.applied().await;
        app.kill();
        app.launch().await;
        assert_eq!(results(&app, &visit("applied")).await, first);
        // With an empty journal, only the database can tell.
        app.stop().await;
        std::fs::remove_dir_all(app.data_dir().join("journal")).unwrap();
        app.launch().await;
        assert_eq!(results(&app, &visit("applied")).await, first);
        is_there_once(&app, &first).await;
        assert_eq!(count(&app, "analytics_sessions").await, 1);
    }

    async fn idempotency_key_sent_concurrently_stores_once(backend) {
        const ROUNDS: usize = 30;
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for round in 0..ROUNDS {
            let items = json!({"items": visit(&round.to_string())}).to_string();
            let send = || async {
                let request = app.client.post(app.url(BATCH)).header("user-agent", BROWSER).body(items.clone());
                data(request.send().await.unwrap()).await["results"].clone()
            };
            let (one, two, three, four) = tokio::join!(send(), send(), send(), send());
            assert_eq!((&one, &one, &one), (&two, &three, &four), "round {round}");
            is_there_once(&app, one.as_array().unwrap()).await;
        }
        let rows = (count(&app, "analytics_sessions").await, count(&app, "analytics_pageviews").await);
        assert_eq!(rows, (i64::try_from(ROUNDS).unwrap(), i64::try_from(ROUNDS).unwrap()));
    }
}

on_both_databases! {
    async fn batch_retried_across_kills_is_stored_once(backend) {
        const ROUNDS: u64 = 8;
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        for round in 0..ROUNDS {
            let items = visit(&round.to_string());
            let request = app.post(BATCH, &json!({"items": items}));
            let sent = tokio::spawn(async move { request.send().await?.text().await });
            // Not an event to be awaited: the moment of death is meant to be any.
            tokio::time::sleep(std::time::Duration::from_millis(2 * round)).await;
            app.kill();
            let seen = sent.await.unwrap().ok();
            app.launch().await;
            let answered = results(&app, &items).await;
            if let Some(seen) = seen {
                let seen: Value = serde_json::from_str(&seen).unwrap();
                assert_eq!(seen["data"]["results"], json!(answered), "round {round}");
            }
            is_there_once(&app, &answered).await;
        }
        let rows = (count(&app, "analytics_sessions").await, count(&app, "analytics_pageviews").await);
        assert_eq!(rows, (i64::try_from(ROUNDS).unwrap(), i64::try_from(ROUNDS).unwrap()));
    }
}

#[tokio::test]
async fn idempotency_keys_survive_kill_before_apply() {
    let mut app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    app.databases.allow_connections(Database::Analytics, false).await;
    let first = results(&app, &visit("waiting")).await;
    id_of(&first[0]);
    app.kill();
    app.launch().await;
    // The database is still away: what the journal knows is answered, what only the database could know is not stored.
    assert_eq!(results(&app, &visit("waiting")).await, first);
    let unknown = results(&app, &visit("unknown")).await;
    assert_eq!(unknown[0], json!({"status": 200, "data": {"id": null}}));
    app.databases.allow_connections(Database::Analytics, true).await;
    assert_eq!(results(&app, &visit("waiting")).await, first);
    is_there_once(&app, &first).await;
    app.kill();
    app.launch().await;
    assert_eq!(results(&app, &visit("waiting")).await, first);
    is_there_once(&app, &first).await;
}

#[tokio::test]
async fn idempotency_key_unknown_during_database_outage_stores_nothing() {
    let mut app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    let first = results(&app, &visit("early")).await;
    app.applied().await;
    app.stop().await;
    // Nothing but the database knows the keys of the first run.
    std::fs::remove_dir_all(app.data_dir().join("journal")).unwrap();
    app.databases.allow_connections(Database::Analytics, false).await;
    app.launch().await;
    for key in ["early", "late"] {
        let away = results(&app, &visit(key)).await;
        assert_eq!(away[0], json!({"status": 200, "data": {"id": null}}), "{key}");
        assert_eq!(wrong_with(&away[1]), ["sessionRef must be the index of an earlier session item that was stored"]);
    }
    let beat = result(&app, &item("heartbeat", &json!({"key": "early 2"}))).await;
    assert_eq!((&beat["status"], &beat["error"]["code"]), (&json!(503), &json!("SERVICE_UNAVAILABLE")));
    id_of(&result(&app, &item("session", &json!({}))).await); // no key, no doubt
    app.databases.allow_connections(Database::Analytics, true).await;
    app.until("the keys are known", async || !results(&app, &visit("late")).await[0]["data"]["id"].is_null()).await;
    assert_eq!(results(&app, &visit("early")).await, first);
    is_there_once(&app, &first).await;
    assert_eq!(count(&app, "analytics_sessions").await, 3);
}

#[tokio::test]
async fn idempotency_key_is_per_type_and_bounded_in_length() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let session = begun(&app).await;
    let view = json!({"url": "/", "sessionId": session});
    for key in ["k".to_owned(), "ü".repeat(64), " ".to_owned(), "\u{1F980}\"\\".to_owned()] {
        let created = result(&app, &item("session", &json!({"key": key}))).await;
        let opened = result(&app, &item("pageview", &json!({"key": key, "body": view}))).await;
        assert_ne!(id_of(&created), id_of(&opened), "{key}");
        assert_eq!(result(&app, &item("session", &json!({"key": key}))).await, created, "{key}");
        assert_eq!(result(&app, &item("pageview", &json!({"key": key, "body": {}}))).await, opened, "{key}");
        for kind in ["leave", "heartbeat"] {
            assert_eq!(statuses(&[result(&app, &item(kind, &json!({"key": key}))).await]), [200], "{key}");
        }
    }
    assert_eq!((count(&app, "analytics_sessions").await, count(&app, "analytics_pageviews").await), (5, 4));
    for (key, expected) in [
        (json!("x".repeat(65)), "key must be shorter than or equal to 64 characters"),
        (json!("ü".repeat(65)), "key must be shorter than or equal to 64 characters"),
        (json!("a\0b"), "key must not contain a NUL character"),
        (json!(7), "key must be a string"),
    ] {
        assert_eq!(wrong_with(&result(&app, &item("session", &json!({"key": key}))).await), [expected]);
    }
    for none in [json!(null), json!("")] {
        let item = item("session", &json!({"key": none}));
        assert_ne!(id_of(&result(&app, &item).await), id_of(&result(&app, &item).await), "{none} is no key");
    }
}

#[tokio::test]
async fn idempotency_key_of_item_not_stored_stays_free() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let with = |body: Value| item("session", &json!({"key": "k", "body": body}));
    assert_eq!(statuses(&[result(&app, &with(json!({}))).await]), [400]);
    let denied = session_with(&json!({"consentAnalytics": "denied"}));
    assert_eq!(result(&app, &with(denied)).await, json!({"status": 200, "data": {"id": null}}));
    id_of(&result(&app, &with(minimal_session())).await);
    assert_eq!(count(&app, "analytics_sessions").await, 1);
}

#[tokio::test]
async fn batch_item_time_is_now_minus_age() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for age in [0, 1, 60_000, DAY_MS - 1, DAY_MS] {
        let sent = chrono::Utc::now().timestamp_millis();
        let results = results(
            &app,
            &json!([
                item("session", &json!({"ageMs": age})),
                item("pageview", &json!({"ageMs": age, "sessionRef": 0, "body": {"url": "/"}})),
            ]),
        )
        .await;
        let within = sent - age..=chrono::Utc::now().timestamp_millis() - age;
        let row = app.session(id_of(&results[0])).await;
        let opened = view(&app, id_of(&results[1])).await;
        for at in
            [&results[0]["data"]["createdAt"], &row["started_at"], &row["last_activity_at"], &opened["entered_at"]]
        {
            assert!(within.contains(&time(at).timestamp_millis()), "{age}: {at} is not in {within:?}");
        }
    }
    // What is reported late does not take back what was seen since.
    let session = begun(&app).await;
    let before = app.session(&session).await;
    result(&app, &item("heartbeat", &json!({"id": session, "ageMs": 3_600_000}))).await;
    let after = app.session(&session).await;
    assert_eq!((&after["last_activity_at"], &after["duration"]), (&before["last_activity_at"], &json!(30)));
    // Clocks step back, and a page may lie in the background for longer than a day.
    for (age, counts_as) in [(json!(-3), 0), (json!(-0.5), 0), (json!(DAY_MS + 1), DAY_MS), (json!(1e300), DAY_MS)] {
        let sent = chrono::Utc::now().timestamp_millis();
        let items = json!([
            item("session", &json!({"ageMs": age})),
            item("pageview", &json!({"ageMs": age, "sessionRef": 0, "body": {"url": "/"}})),
        ]);
        let results = results(&app, &items).await;
        let within = sent - counts_as..=chrono::Utc::now().timestamp_millis() - counts_as;
        let opened = view(&app, id_of(&results[1])).await;
        for at in [&results[0]["data"]["createdAt"], &opened["entered_at"]] {
            assert!(within.contains(&time(at).timestamp_millis()), "{age}: {at} is not in {within:?}");
        }
    }
    for age in [json!("5"), json!(true), json!([1])] {
        for kind in KINDS {
            let expected = ["ageMs must be a number conforming to the specified constraints"];
            assert_eq!(wrong_with(&result(&app, &item(kind, &json!({"ageMs": age}))).await), expected, "{kind} {age}");
        }
    }
    id_of(&result(&app, &item("session", &json!({"ageMs": null}))).await);
    // What performance.now() measures.
    id_of(&result(&app, &item("session", &json!({"ageMs": 1234.5}))).await);
}

#[tokio::test]
async fn batch_reference_to_missing_item_is_refused() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let view = json!({"url": "/"});
    let denied = session_with(&json!({"consentAnalytics": "denied"}));
    let items = json!([
        item("pageview", &json!({"sessionRef": 1, "body": view})), // a later item
        item("session", &json!({})),
        item("pageview", &json!({"sessionRef": 2, "body": view})), // itself
        item("pageview", &json!({"sessionRef": 99, "body": view})), // no item at all
        item("pageview", &json!({"sessionRef": 0, "body": view})), // one that was refused
        item("session", &json!({"body": {}})),
        item("heartbeat", &json!({"sessionRef": 5})), // a session that was refused
        item("session", &json!({"body": denied})),
        item("heartbeat", &json!({"sessionRef": 7})), // a session that was not stored
        item("leave", &json!({"viewRef": 1})),        // a session is no view
        item("pageview", &json!({"sessionRef": 1, "body": view})),
        item("heartbeat", &json!({"sessionRef": 10})), // a view is no session
        item("leave", &json!({"viewRef": 10, "id": null})),
        item("heartbeat", &json!({"sessionRef": 1, "id": "x"})),
    ]);
    let results = results(&app, &items).await;
    assert_eq!(statuses(&results), [400, 200, 400, 400, 400, 400, 400, 200, 400, 400, 200, 400, 200, 200]);
    let of_session = "sessionRef must be the index of an earlier session item that was stored";
    for index in [0, 2, 3, 4, 6, 8, 11] {
        assert_eq!(wrong_with(&results[index]), [of_session], "{index}");
    }
    assert_eq!(wrong_with(&results[9]), ["viewRef must be the index of an earlier pageview item that was stored"]);
    let row = app.session(id_of(&results[1])).await;
    assert_eq!((&row["page_views"], &row["duration"]), (&json!(1), &json!(30)));
    assert_eq!((count(&app, "analytics_sessions").await, count(&app, "analytics_pageviews").await), (1, 1));
    for field in ["sessionRef", "viewRef"] {
        for (reference, rule) in [(json!(-1), "not be less than 0"), (json!(100), "not be greater than 99")] {
            let wrong = item("heartbeat", &json!({ field: reference }));
            assert_eq!(wrong_with(&result(&app, &wrong).await), [format!("{field} must {rule}")]);
        }
        let wrong = item("leave", &json!({ field: 0.5 }));
        assert_eq!(wrong_with(&result(&app, &wrong).await), [format!("{field} must be an integer number")]);
        assert_eq!(wrong_with(&result(&app, &item("leave", &json!({ field: "0" }))).await).len(), 3);
    }
}

#[tokio::test]
async fn batch_item_invalid_does_not_affect_others() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let kinds = "type must be one of the following values: session, pageview, leave, heartbeat";
    let bad: [(Value, &[&str]); 12] = [
        (json!({}), &[kinds]),
        (json!({"type": "identify", "id": UNKNOWN}), &[kinds]),
        (json!({"type": "Session", "body": minimal_session()}), &[kinds]),
        (json!({"type": 1, "key": 2, "id": 3}), &[kinds, "key must be a string", "id must be a string"]),
        (
            json!({"type": "session"}),
            &[
                "visitorId should not be empty",
                "visitorId must be a string",
                "landingPage should not be empty",
                "landingPage must be a string",
            ],
        ),
        (
            item("session", &json!({"body": session_with(&json!({"osVersion": "x".repeat(21)}))})),
            &["osVersion must be shorter than or equal to 20 characters"],
        ),
        (json!({"type": "pageview", "body": {"url": "/"}}), &["sessionId must be a string"]),
        (
            json!({"type": "pageview", "body": null}),
            &["sessionId must be a string", "url should not be empty", "url must be a string"],
        ),
        (json!({"type": "leave", "body": {"duration": 1}}), &["id must be a string"]),
        (
            json!({"type": "leave", "id": UNKNOWN}),
            &["duration must be a number conforming to the specified constraints"],
        ),
        (json!({"type": "heartbeat"}), &["id must be a string"]),
        (item("leave", &json!({"id": "a\0b"})), &["id must not contain a NUL character"]),
    ];
    for (wrong, expected) in bad {
        let results =
            results(&app, &json!([item("session", &json!({})), wrong, item("heartbeat", &json!({"sessionRef": 0}))]))
                .await;
        assert_eq!(statuses(&results), [200, 400, 200], "{wrong}");
        assert_eq!(wrong_with(&results[1]), expected, "{wrong}");
        assert_eq!(app.session(id_of(&results[0])).await["duration"], json!(30));
    }
    for wrong in [json!(null), json!(7), json!("x"), json!([]), json!([minimal_session()])] {
        let results = results(&app, &json!([wrong, item("session", &json!({}))])).await;
        assert_eq!(statuses(&results), [400, 200], "{wrong}");
        assert_eq!(results[0]["error"]["code"], json!("VALIDATION_ERROR"));
        let body = item("session", &json!({"body": wrong}));
        assert_eq!(statuses(&[result(&app, &body).await]), [400], "{wrong}");
    }
    let request = app.post(BATCH, &json!({"items": [{"type": "leave"}]})).header("x-request-id", "of-the-batch");
    let error = data(request.send().await.unwrap()).await["results"][0]["error"].clone();
    assert_eq!(error["correlationId"], json!("of-the-batch"));
    assert!(error["message"].is_string() && error["i18nKey"].is_string() && error["i18nVars"].is_object(), "{error}");
}

#[tokio::test]
async fn batch_from_bot_returns_null_ids_and_stores_nothing() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let before = journalled(&app).await;
    let items = json!({"items": [
        item("session", &json!({"key": "k"})),
        item("pageview", &json!({})),
        item("pageview", &json!({"sessionRef": 0, "body": {"url": "/"}})),
    ]});
    let request = app.client.post(app.url(BATCH)).header("user-agent", "curl/8.5.0").body(items.to_string());
    let results = data(request.send().await.unwrap()).await["results"].as_array().unwrap().clone();
    assert_eq!(
        results[..2],
        [json!({"status": 200, "data": {"id": null}}), json!({"status": 200, "data": {"id": null}})]
    );
    assert_eq!(results[2]["status"], json!(400));
    assert!((journalled(&app).await - before).abs() < f64::EPSILON);
    let no_uuid = item("pageview", &json!({"body": {"url": "/", "sessionId": "x"}}));
    assert_eq!(result(&app, &no_uuid).await, json!({"status": 200, "data": {"id": null}}));
    id_of(&result(&app, &item("session", &json!({"key": "k"}))).await); // a bot's key is still free
}

#[tokio::test]
async fn batch_items_count_against_route_limits_unless_key_known() {
    let app = TestApp::start(Backend::Sqlite).await;
    let items: Vec<Value> = (0..12).map(|number| item("session", &json!({"key": number.to_string()}))).collect();
    let first = results(&app, &json!(items)).await;
    assert_eq!(statuses(&first), [vec![200; 10], vec![429; 2]].concat());
    for refused in &first[10..] {
        assert_eq!(refused["data"], json!(null));
        assert_eq!(refused["error"]["code"], json!("THROTTLE_LIMIT_EXCEEDED"));
    }
    let again = results(&app, &json!(items)).await;
    assert_eq!(again[..10], first[..10], "what is stored is answered, limit or not");
    assert_eq!(statuses(&again)[10..], [429; 2]);
    assert_eq!(app.post(SESSION, &minimal_session()).send().await.unwrap().status(), 429, "one limit for both ways");
    assert_eq!(count(&app, "analytics_sessions").await, 10);
    // Each type its own: five heartbeats, ten leaves, thirty views.
    let of = |kind: &str, times: usize| (0..times).map(|_| item(kind, &json!({}))).collect::<Vec<_>>();
    for (kind, limit) in [("heartbeat", 5), ("leave", 10), ("pageview", 30)] {
        let results = results(&app, &json!(of(kind, limit + 2))).await;
        assert_eq!(statuses(&results), [vec![200; limit], vec![429; 2]].concat(), "{kind}");
    }
    // A refused item counts; what another client does, does not.
    let elsewhere = json!({"items": [{"type": "heartbeat"}, {"type": "heartbeat", "id": "x"}]});
    let request = || app.post(BATCH, &elsewhere).header("x-forwarded-for", "203.0.113.1");
    for expected in [[400, 200], [400, 200], [400, 429]] {
        let response = request().send().await.unwrap();
        assert_eq!(header(&response, "ratelimit-policy"), Some("\"batch\";q=30;w=60"));
        let results = data(response).await["results"].as_array().unwrap().clone();
        assert!(
            statuses(&results) == expected || expected == [400, 429] && statuses(&results)[1] == 429,
            "{results:?}"
        );
    }
}

#[tokio::test]
async fn batch_accepts_only_1_to_100_items() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let items = |count: usize| (0..count).map(|_| item("heartbeat", &json!({}))).collect::<Vec<_>>();
    for count in [1, 100] {
        assert_eq!(statuses(&results(&app, &json!(items(count))).await), vec![200; count]);
    }
    let mut referring: Vec<Value> = vec![item("session", &json!({}))];
    referring.extend((1..100).map(|_| item("pageview", &json!({"sessionRef": 0, "body": {"url": "/"}}))));
    let results = results(&app, &json!(referring)).await;
    assert_eq!(app.session(id_of(&results[0])).await["page_views"], json!(99));
    let before = journalled(&app).await;
    for (body, expected) in [
        (json!({"items": items(101)}), "items must contain no more than 100 elements"),
        (json!({"items": []}), "items must contain at least 1 elements"),
        (json!({}), "items must be an array"),
        (json!({"items": null}), "items must be an array"),
        (json!({"items": {}}), "items must be an array"),
        (json!({"items": "x"}), "items must be an array"),
        (json!({"items": 7}), "items must be an array"),
    ] {
        assert_eq!(violations(app.post(BATCH, &body)).await, [expected]);
    }
    assert_eq!(violations(app.client.post(app.url(BATCH))).await, ["items must be an array"]);
    for body in [json!([]), json!([items(1)]), json!("x"), json!(null)] {
        let response = app.post(BATCH, &body).send().await.unwrap();
        assert_eq!(response.status(), 400, "{body}");
        let error = error(response).await;
        assert_eq!((&error["code"], &error["message"]), (&json!("VALIDATION_ERROR"), &json!("body must be an object")));
    }
    for body in ["{\"items\":[{\"type\":secret}]}", "{\"items\":[}", "{\"items\":[]"] {
        let response = app.client.post(app.url(BATCH)).body(body).send().await.unwrap();
        assert_eq!(response.status(), 400, "{body}");
        let error = error(response).await;
        assert_eq!(error["code"], json!("MALFORMED_JSON"), "{body}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert!((journalled(&app).await - before).abs() < f64::EPSILON, "a refused batch was journalled");
}

#[tokio::test]
async fn batch_repeated_field_takes_last_value() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let session = minimal_session();
    let item = format!(r#"{{"type":"leave","type":"session","body":[],"body":{{}},"body":{session}}}"#);
    let body = format!(r#"{{"items":7,"items":[{item}],"other":"items"}}"#);
    let response = app.client.post(app.url(BATCH)).header("user-agent", BROWSER).body(body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    id_of(&data(response).await["results"][0]);
}

#[tokio::test]
async fn batch_body_in_any_encoding_has_256_kib_limit() {
    const MAX_BYTES: usize = 256 << 10;
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let of_bytes = |bytes: usize| {
        let padded = |padding: &str| json!({"items": [item("session", &json!({}))], "padding": padding}).to_string();
        padded(&"x".repeat(bytes - padded("").len())).into_bytes()
    };
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let send = async |body: Vec<u8>, encoding: &str| {
        let request =
            app.client.post(app.url(BATCH)).header("user-agent", BROWSER).header("content-type", "text/plain");
        request.header("content-encoding", encoding).body(body).send().await.unwrap()
    };
    for bytes in [1000, (64 << 10) + 1, MAX_BYTES] {
        for (body, encoding) in [
            (of_bytes(bytes), "identity"),
            (gzip(&of_bytes(bytes)), "gzip"),
            (zstd::encode_all(of_bytes(bytes).as_slice(), 3).unwrap(), "zstd"),
        ] {
            let response = send(body, encoding).await;
            assert_eq!(response.status(), 200, "{bytes} {encoding}");
            id_of(&data(response).await["results"][0]);
        }
    }
    for (body, encoding) in [
        (of_bytes(MAX_BYTES + 1), "identity"),
        (gzip(&of_bytes(MAX_BYTES + 1)), "gzip"),
        (of_bytes(2 << 20), "identity"),
    ] {
        let response = send(body, encoding).await;
        assert_eq!(response.status(), 413, "{encoding}");
        assert_eq!(error(response).await["code"], json!("PAYLOAD_TOO_LARGE"));
    }
    let response = send(b"not gzip".to_vec(), "gzip").await;
    assert_eq!((response.status().as_u16(), error(response).await["code"].as_str()), (400, Some("MALFORMED_ENCODING")));
    assert_eq!(count(&app, "analytics_sessions").await, 9);
}
