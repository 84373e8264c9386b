//! `POST /api/v1/consent/cookies`: a choice is a row, and the row says no more than the visitor agreed to.

mod history;
mod status;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_testkit::keys::{now_seconds, unsigned};
use weir_testkit::{
    BROWSER, Backend, Database, TestApp, UNTHROTTLED, access_token, data, error, header, on_both_databases,
    signed_with_secret, time, truth,
};

use crate::CONSENT;

fn choice(analytics: bool) -> Value {
    json!({"analytics": analytics, "marketing": true, "functional": false})
}

/// Sends a choice that must be saved, and reads its row, the newest.
async fn saved(app: &TestApp, request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(data(response).await, json!({"saved": true}));
    rows(app).await.pop().unwrap()
}

async fn rows(app: &TestApp) -> Vec<Value> {
    app.applied().await;
    app.rows(Database::Main, "SELECT * FROM consent_records ORDER BY id").await
}

fn from(app: &TestApp, ip: &str, body: &Value) -> reqwest::RequestBuilder {
    app.post(CONSENT, body).header("x-forwarded-for", ip)
}

/// A row's preferences, whichever way the engine keeps JSON.
fn preferences(row: &Value) -> Value {
    match &row["preferences"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    }
}

async fn minted(app: &TestApp, user: &str, variables: &[(&str, &str)]) -> String {
    let printed = app.run_with(&["jwt", user], variables).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    printed.stdout.trim().to_owned()
}

on_both_databases! {
    async fn consent_choice_is_stored_as_sent(backend) {
        let app = TestApp::start(backend).await;
        let began = chrono::Utc::now();
        let row = saved(&app, from(&app, "203.0.113.9", &choice(true))).await;
        assert_eq!(row.as_object().unwrap().len(), 10, "{row}");
        assert_eq!(uuid::Uuid::parse_str(row["id"].as_str().unwrap()).unwrap().get_version_num(), 7);
        assert_eq!(row["user_id"], json!(null));
        assert_eq!(row["document_type"], json!("COOKIE_CONSENT"));
        assert_eq!(row["document_version"], json!("1.0"));
        assert!(truth(&row["accepted"]));
        assert_eq!(preferences(&row), choice(true));
        assert_eq!(row["ip_address"], json!("203.0.113.9"));
        assert_eq!(row["user_agent"], json!(BROWSER));
        let off = (time(&row["created_at"]) - began).num_milliseconds();
        assert!((-1000..60_000).contains(&off), "{off}");
    }

    async fn consent_ip_address_is_kept_only_with_analytics_consent(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        assert_eq!(saved(&app, from(&app, "203.0.113.9", &choice(false))).await["ip_address"], json!(null));
        let all_else = json!({"analytics": false, "marketing": true, "functional": true});
        assert_eq!(saved(&app, from(&app, "203.0.113.9", &all_else)).await["ip_address"], json!(null));
        for (given, canonical) in [
            ("[2001:DB8:0::9]:443", "2001:db8::9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:1234, 10.0.0.1", "203.0.113.9"),
            ("nonsense", "127.0.0.1"),
        ] {
            assert_eq!(saved(&app, from(&app, given, &choice(true))).await["ip_address"], json!(canonical), "{given}");
        }
    }

    async fn consent_choices_repeated_are_separate_rows(backend) {
        let app = TestApp::start(backend).await;
        let token = minted(&app, "user-1", &[]).await;
        for analytics in [true, false, true, true] {
            saved(&app, app.post(CONSENT, &choice(analytics)).bearer_auth(&token)).await;
        }
        let rows = rows(&app).await;
        let made: Vec<Value> = rows.iter().map(|row| preferences(row)["analytics"].clone()).collect();
        assert_eq!(made, [true, false, true, true]);
        assert!(rows.iter().all(|row| row["user_id"] == json!("user-1")));
    }

    async fn consent_privacy_version_change_applies_within_seconds(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        assert_eq!(saved(&app, app.post(CONSENT, &choice(true))).await["document_version"], json!("1.0"));
        let set = app.run(&["settings", "set", "legal.privacy_version", "2.1"]).await;
        assert_eq!(set.code, Some(0), "{set:?}");
        let since = Instant::now();
        app.until("the new version is used", async || {
            saved(&app, app.post(CONSENT, &choice(true))).await["document_version"] == json!("2.1")
        })
        .await;
        assert!(since.elapsed() < Duration::from_secs(6), "it took {:?}", since.elapsed());
        let versions: Vec<Value> = rows(&app).await.iter().map(|row| row["document_version"].clone()).collect();
        assert!(versions.is_sorted_by_key(ToString::to_string), "an old row was changed: {versions:?}");
    }

    async fn consent_user_is_set_only_by_valid_bearer(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let longest = "ü".repeat(255);
        for user in ["user-1", "0190a1b2-0000-7000-8000-00000000000a", "a user with spaces", &longest] {
            let token = minted(&app, user, &[]).await;
            let row = saved(&app, app.post(CONSENT, &choice(false)).bearer_auth(&token)).await;
            assert_eq!(row["user_id"], json!(user));
        }
        let good = minted(&app, "user-1", &[]).await;
        let of_another_secret = minted(&app, "user-1", &[("WEIR_JWT_SECRET", "another secret")]).await;
        let signed = |claims: Value| signed_with_secret(&claims);
        let now = now_seconds();
        let by_id = signed(json!({"id": "user-2", "exp": now + 60}));
        let row = saved(&app, app.post(CONSENT, &choice(false)).bearer_auth(by_id)).await;
        assert_eq!(row["user_id"], json!("user-2"));
        let (head, rest) = good.split_once('.').unwrap();
        // {"alg":"none","typ":"JWT"}
        let without_algorithm = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", rest.split_once('.').unwrap().0);
        for bad in [
            format!("Bearer {of_another_secret}"),
            format!("Bearer {without_algorithm}"),
            format!("Bearer {head}.{}", &rest[..rest.len() - 4]),
            format!("Bearer {}", signed(json!({"sub": "user-1", "exp": now - 60}))),
            format!("Bearer {}", signed(json!({"sub": "user-1", "exp": now + 3600, "nbf": now + 600}))),
            format!("Bearer {}", signed(json!({"sub": "user-1"}))),
            format!("Bearer {}", signed(json!({"sub": "x".repeat(256), "exp": now + 60}))),
            format!("Bearer {}", signed(json!({"sub": "a\0b", "exp": now + 60}))),
            format!("Basic {good}"),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            good.clone(),
        ] {
            let row = saved(&app, app.post(CONSENT, &choice(false)).header("authorization", &bad)).await;
            assert_eq!(row["user_id"], json!(null), "{bad}");
        }
        let lower_case = format!("bearer {good}");
        let row = saved(&app, app.post(CONSENT, &choice(false)).header("authorization", lower_case)).await;
        assert_eq!(row["user_id"], json!("user-1"), "a scheme has no case");
    }

    async fn consent_choice_invalid_stores_nothing(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let all = ["analytics", "marketing", "functional"];
        let broken = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
        let two = json!({"functional": 1, "analytics": true});
        let mut cases = vec![(json!({}), broken(&all)), (two, broken(&all[1..]))];
        for field in all {
            for value in [json!(null), json!("true"), json!(0), json!(1), json!([]), json!({}), json!("")] {
                let mut body = choice(true);
                body[field] = value;
                cases.push((body, broken(&[field])));
            }
        }
        for (body, fields) in cases {
            let response = app.post(CONSENT, &body).send().await.unwrap();
            assert_eq!(response.status(), 400, "{body}");
            let error = error(response).await;
            assert_eq!(error["code"], "VALIDATION_ERROR");
            let expected: Vec<Value> = fields
                .iter()
                .map(|field| json!({"field": field, "message": format!("{field} must be a boolean value")}))
                .collect();
            assert_eq!(error["details"], json!(expected), "{body}");
        }
        saved(&app, app.post(CONSENT, &choice(true))).await;
        assert_eq!(rows(&app).await.len(), 1);
    }
}

#[tokio::test]
async fn consent_user_agent_is_truncated_or_null() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let silent = || app.client.post(app.url(CONSENT)).body(choice(true).to_string());
    assert_eq!(saved(&app, silent()).await["user_agent"], json!(null));
    assert_eq!(saved(&app, silent().header("user-agent", "")).await["user_agent"], json!(null));
    let long = reqwest::header::HeaderValue::from_bytes("ü".repeat(1025).as_bytes()).unwrap();
    assert_eq!(saved(&app, silent().header("user-agent", long)).await["user_agent"], json!("ü".repeat(1024)));
    // A choice is a choice, whoever makes it.
    assert_eq!(saved(&app, silent().header("user-agent", "curl/8.5.0")).await["user_agent"], json!("curl/8.5.0"));
}

#[tokio::test]
async fn consent_rate_limit_is_ten_per_minute() {
    let app = TestApp::start(Backend::Sqlite).await;
    for left in (0..10).rev() {
        let response = app.post(CONSENT, &choice(true)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "ratelimit-policy"), Some("\"consent\";q=10;w=60"));
        assert!(header(&response, "ratelimit").unwrap().starts_with(&format!("\"consent\";r={left};t=")));
    }
    let response = app.post(CONSENT, &choice(true)).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert!(header(&response, "retry-after").is_some());
    assert_eq!(error(response).await["code"], "THROTTLE_LIMIT_EXCEEDED");
    saved(&app, from(&app, "203.0.113.9", &choice(true))).await;
    assert_eq!(rows(&app).await.len(), 11);
}
