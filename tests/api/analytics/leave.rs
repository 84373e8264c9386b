//! `PATCH` and `POST /api/v1/analytics/pageview/:id/leave`: how long a page was read, and how far.

use super::*;

/// What a view's row says of its end: its duration and its depth.
async fn ending(app: &TestApp, id: &str) -> (Option<f64>, Option<f64>) {
    let row = view(app, id).await;
    (row["duration"].as_f64(), row["scroll_depth"].as_f64())
}

on_both_databases! {
    async fn leave_by_either_method_stores_duration_and_depth(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let session = begun(&app).await;
        let id = viewed(&app, &session).await;
        let path = leave_of(&id);
        assert_eq!(ending(&app, &id).await, (None, None));
        let before = app.session(&session).await;
        done(patch(&app, &path).json(&json!({"duration": 12.75, "scrollDepth": 33.5}))).await;
        assert_eq!(ending(&app, &id).await, (Some(12.75), Some(33.5)));
        done(app.post(&path, &json!({"duration": 3}))).await;
        assert_eq!(ending(&app, &id).await, (Some(3.0), Some(33.5)), "a depth that is not given stays");
        done(app.post(&path, &json!({"duration": 4, "scrollDepth": null}))).await;
        assert_eq!(ending(&app, &id).await, (Some(4.0), Some(33.5)), "null is not given");
        done(patch(&app, &path).json(&json!({"duration": 5, "scrollDepth": 100, "else": [1]}))).await;
        assert_eq!(ending(&app, &id).await, (Some(5.0), Some(100.0)));
        assert_eq!(app.session(&session).await, before, "the session is not concerned");
    }

    async fn leave_duration_wins_over_next_pageview(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let session = begun(&app).await;
        let first = viewed(&app, &session).await;
        let second = viewed(&app, &session).await;
        assert!(ending(&app, &first).await.0.unwrap() >= 0.0);
        done(app.post(&leave_of(&first), &json!({"duration": 1800}))).await;
        done(app.post(&leave_of(&second), &json!({"duration": 900}))).await;
        viewed(&app, &session).await;
        assert_eq!(ending(&app, &first).await.0, Some(1800.0));
        assert_eq!(ending(&app, &second).await.0, Some(900.0));
    }

    async fn leave_values_out_of_bounds_are_clamped(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let id = viewed(&app, &begun(&app).await).await;
        for (given, kept) in [
            ((json!(-1), json!(-0.5)), (0.0, 0.0)),
            ((json!(0), json!(0)), (0.0, 0.0)),
            ((json!(3600), json!(100)), (3600.0, 100.0)),
            ((json!(3600.001), json!(100.5)), (3600.0, 100.0)),
            ((json!(1e300), json!(1e300)), (3600.0, 100.0)),
            ((json!(-1e300), json!(-1e300)), (0.0, 0.0)),
            ((json!(u64::MAX), json!(i64::MIN)), (3600.0, 0.0)),
            ((json!(0.1), json!(99.999_999)), (0.1, 99.999_999)),
        ] {
            done(app.post(&leave_of(&id), &json!({"duration": given.0, "scrollDepth": given.1}))).await;
            assert_eq!(ending(&app, &id).await, (Some(kept.0), Some(kept.1)), "{given:?}");
        }
    }
}

#[tokio::test]
async fn leave_as_beacon_is_accepted() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let id = viewed(&app, &begun(&app).await).await;
    for (seconds, content_type) in
        [(1, "text/plain;charset=UTF-8"), (2, "text/plain"), (3, "application/json; charset=utf-8")]
    {
        let beacon = app.client.post(app.url(&leave_of(&id))).header("content-type", content_type);
        done(beacon.body(json!({"duration": seconds}).to_string())).await;
        assert_eq!(ending(&app, &id).await.0, Some(f64::from(seconds)), "{content_type}");
    }
    let form = app.client.post(app.url(&leave_of(&id))).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(form.body("duration=4").send().await.unwrap().status(), 415);
    assert_eq!(ending(&app, &id).await.0, Some(3.0));
}

#[tokio::test]
async fn leave_with_any_id_gets_same_response() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let duration = json!({"duration": 1});
    for id in [UNKNOWN, "d9428888-122b-41e1-b85c-61d2e8b8a5f3", "ffffffff-ffff-ffff-ffff-ffffffffffff"] {
        done(app.post(&leave_of(id), &duration)).await;
        done(patch(&app, &leave_of(id)).body(duration.to_string())).await;
    }
    let before = journalled(&app).await;
    for id in NO_UUIDS {
        done(app.post(&leave_of(id), &duration)).await;
    }
    assert!((journalled(&app).await - before).abs() < f64::EPSILON, "what is nobody's id was journalled");
    assert_eq!(count(&app, "analytics_pageviews").await, 0);
    assert_eq!(violations(app.post(&leave_of("x"), &json!({}))).await.len(), 1, "validation comes first");
}

#[tokio::test]
async fn leave_with_non_numbers_is_refused_and_stores_nothing() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let id = viewed(&app, &begun(&app).await).await;
    let wrong = |field: &str| format!("{field} must be a number conforming to the specified constraints");
    let before = journalled(&app).await;
    for value in [json!(null), json!("5"), json!(""), json!(true), json!([1]), json!({})] {
        let body = json!({"duration": value});
        assert_eq!(violations(app.post(&leave_of(&id), &body)).await, [wrong("duration")], "{body}");
        assert_eq!(violations(patch(&app, &leave_of(&id)).json(&body)).await, [wrong("duration")], "{body}");
        if !value.is_null() {
            let body = json!({"scrollDepth": value, "duration": 1});
            assert_eq!(violations(app.post(&leave_of(&id), &body)).await, [wrong("scrollDepth")], "{body}");
        }
    }
    let both = [wrong("duration"), wrong("scrollDepth")];
    assert_eq!(violations(app.post(&leave_of(&id), &json!({"scrollDepth": "x"}))).await, both);
    assert_eq!(violations(app.post(&leave_of(&id), &json!({"scrollDepth": "x", "duration": "y"}))).await, both);
    assert_eq!(
        violations(app.client.post(app.url(&leave_of(&id)))).await,
        [wrong("duration")],
        "an empty body is {{}}"
    );
    for body in ["{\"duration\":NaN}", "{\"duration\":1e999}", "{\"duration\":Infinity}", "{"] {
        let response = app.client.post(app.url(&leave_of(&id))).body(body).send().await.unwrap();
        assert_eq!(response.status(), 400, "{body}");
        assert_eq!(error(response).await["code"], "MALFORMED_JSON", "{body}");
    }
    assert!((journalled(&app).await - before).abs() < f64::EPSILON, "a refused leave was journalled");
    assert_eq!(ending(&app, &id).await, (None, None));
}
