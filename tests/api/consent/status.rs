//! `GET /api/v1/consent/cookies/status`: whether the caller's choice still holds, and never an old answer.

use super::*;

const STATUS: &str = "/api/v1/consent/cookies/status";

/// The status of a caller, or of nobody.
async fn status(app: &TestApp, bearer: Option<&str>) -> Value {
    let request = app.client.get(app.url(STATUS));
    let response = match bearer {
        Some(bearer) => request.bearer_auth(bearer),
        None => request,
    }
    .send()
    .await
    .unwrap();
    assert_eq!(response.status(), 200);
    data(response).await
}

fn says(current: &str, user: Option<&str>) -> Value {
    json!({"currentVersion": current, "userVersion": user, "requiresReConsent": user != Some(current)})
}

on_both_databases! {
    async fn consent_status_holds_until_policy_version_changes(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let (ann, bob) = (access_token("ann"), access_token("bob"));
        assert_eq!(status(&app, None).await, says("1.0", None));
        assert_eq!(status(&app, Some(&ann)).await, says("1.0", None));
        for analytics in [true, false] {
            let response = app.post(CONSENT, &choice(analytics)).bearer_auth(&ann).send().await.unwrap();
            assert_eq!(data(response).await, json!({"saved": true}));
            assert_eq!(status(&app, Some(&ann)).await, says("1.0", Some("1.0")));
        }
        assert_eq!(status(&app, Some(&bob)).await, says("1.0", None), "another's choice");
        // An anonymous choice has nobody to be found by.
        app.post(CONSENT, &choice(true)).send().await.unwrap();
        assert_eq!(status(&app, None).await, says("1.0", None));
        assert_eq!(app.run(&["settings", "set", "legal.privacy_version", "2.0"]).await.code, Some(0));
        app.until("the new version holds", async || status(&app, None).await == says("2.0", None)).await;
        assert_eq!(status(&app, Some(&ann)).await, says("2.0", Some("1.0")));
        app.post(CONSENT, &choice(false)).bearer_auth(&ann).send().await.unwrap();
        assert_eq!(status(&app, Some(&ann)).await, says("2.0", Some("2.0")));
    }

    async fn consent_status_with_invalid_bearer_is_anonymous(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let ann = access_token("ann");
        app.post(CONSENT, &choice(true)).bearer_auth(&ann).send().await.unwrap();
        assert_eq!(status(&app, Some(&ann)).await, says("1.0", Some("1.0")));
        let expired = signed_with_secret(&json!({"sub": "ann", "exp": now_seconds() - 60}));
        for bad in [
            "x",
            "",
            &format!("{ann}x"),
            &expired,
            &unsigned("none", "1", &json!({"sub": "ann", "exp": now_seconds() + 60})),
        ] {
            assert_eq!(status(&app, Some(bad)).await, says("1.0", None), "{bad}");
        }
    }

    async fn consent_status_under_load_sees_every_acknowledged_choice(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..12 {
            let (http, save, ask) = (app.client.clone(), app.url(CONSENT), app.url(STATUS));
            clients.spawn(async move {
                for round in 0..25 {
                    let bearer = access_token(&format!("user-{client}-{round}"));
                    let saved =
                        http.post(&save).bearer_auth(&bearer).body(choice(true).to_string()).send().await.unwrap();
                    assert_eq!(data(saved).await, json!({"saved": true}));
                    let asked = http.get(&ask).bearer_auth(&bearer).send().await.unwrap();
                    assert_eq!(asked.status(), 200);
                    assert_eq!(data(asked).await, says("1.0", Some("1.0")));
                }
            });
        }
        clients.join_all().await;
    }
}

#[tokio::test]
async fn consent_status_during_database_outage_is_never_stale() {
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    let ann = access_token("ann");
    app.post(CONSENT, &choice(true)).bearer_auth(&ann).send().await.unwrap();
    assert_eq!(status(&app, Some(&ann)).await, says("1.0", Some("1.0")));
    app.databases.allow_connections(Database::Main, false).await;
    let refused = async |path: &str| {
        let began = Instant::now();
        let response = app.client.get(app.url(path)).bearer_auth(&ann).send().await.unwrap();
        assert_eq!(response.status(), 503, "{path}");
        assert!(header(&response, "retry-after").unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(error(response).await["code"], "SERVICE_UNAVAILABLE");
        assert!(began.elapsed() < Duration::from_millis(3_500), "{path}: {:?}", began.elapsed());
    };
    let reads = [STATUS, "/api/v1/users/consent", "/api/v1/users/attribution"];
    for path in reads {
        refused(path).await;
    }
    // With a choice that the database does not have yet.
    let saved = app.post(CONSENT, &choice(false)).bearer_auth(&ann).send().await.unwrap();
    assert_eq!(data(saved).await, json!({"saved": true}));
    for path in reads {
        refused(path).await;
    }
    assert_eq!(status(&app, None).await, says("1.0", None), "who is nobody needs no database");
    app.databases.allow_connections(Database::Main, true).await;
    app.applied().await;
    assert_eq!(status(&app, Some(&ann)).await, says("1.0", Some("1.0")));
}

#[tokio::test]
async fn consent_status_rate_limit_is_ten_per_minute() {
    let app = TestApp::start(Backend::Sqlite).await;
    for left in (0..10).rev() {
        let response = app.client.get(app.url(STATUS)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "ratelimit-policy"), Some("\"consent_status\";q=10;w=60"));
        assert!(header(&response, "ratelimit").unwrap().starts_with(&format!("\"consent_status\";r={left};t=")));
    }
    let response = app.client.get(app.url(STATUS)).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(error(response).await["code"], "THROTTLE_LIMIT_EXCEEDED");
    let saved = app.post(CONSENT, &choice(true)).send().await.unwrap();
    assert_eq!(saved.status(), 200, "saving is counted by itself");
}
