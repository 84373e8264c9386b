//! `POST /api/v1/analytics/session`: what is stored of a visit.

mod gates;
mod place;
mod token;
mod user_agent;
mod validation;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use weir_testkit::{
    Backend, Database, TestApp, UNTHROTTLED, minimal_session, on_both_databases, session_with, time, truth,
};

use crate::SESSION;

/// A session's request without a `User-Agent`, so that nothing overrides what the client says of itself.
fn without_user_agent(app: &TestApp, body: &Value) -> reqwest::RequestBuilder {
    app.client.post(app.url(SESSION)).header("content-type", "application/json").body(body.to_string())
}

on_both_databases! {
    async fn session_fields_are_all_stored(backend) {
        let app = TestApp::start(backend).await;
        let body = json!({
            "visitorId": "visitor-ü", "landingPage": "https://example.org/ü?a=b#c", "consentAnalytics": "granted",
            "creatorId": "0190A1B2-0000-7000-8000-00000000000A", "referrer": "https://www.example.com/from",
            "utmSource": "news", "utmMedium": "mail", "utmCampaign": "spring", "utmTerm": "weir", "utmContent": "top",
            "language": "tr-TR", "device": "fridge", "browser": "Netscape", "os": "BeOS", "osVersion": "5.0.3",
            "connectionType": "4g", "timezone": "Europe/Istanbul", "screenWidth": 7680, "screenHeight": 0,
            "trackingToken": "not needed without a page",
        });
        let row = app.stored(without_user_agent(&app, &body)).await;
        let expected = json!({
            "visitor_id": hex::encode(Sha256::digest("visitor-ü")), "user_id": null, "bio_page_id": null,
            "creator_id": "0190a1b2-0000-7000-8000-00000000000a", "landing_page": "https://example.org/ü?a=b#c",
            "referrer": "https://www.example.com/from", "referrer_domain": "example.com",
            "utm_source": "news", "utm_medium": "mail", "utm_campaign": "spring", "utm_term": "weir",
            "utm_content": "top", "device": "fridge", "browser": "Netscape", "os": "BeOS", "os_version": "5.0.3",
            "screen_width": 7680, "screen_height": 0, "connection_type": "4g", "timezone": "Europe/Istanbul",
            "language": "tr-TR", "country": null, "city": null, "region": null, "continent": null,
            "page_views": 0, "duration": 0,
        });
        for (column, value) in expected.as_object().unwrap() {
            assert_eq!(&row[column], value, "{column}");
        }
        let beside = ["id", "bounced", "started_at", "last_activity_at"];
        assert_eq!(row.as_object().unwrap().len(), expected.as_object().unwrap().len() + beside.len(), "{row}");
    }

    async fn session_new_is_bounced_and_starts_at_response_time(backend) {
        let app = TestApp::start(backend).await;
        let created = app.create_session(&minimal_session()).await;
        let created_at = created["createdAt"].as_str().unwrap();
        let shape = regex::Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").unwrap();
        assert!(shape.is_match(created_at), "{created_at}");
        let id = uuid::Uuid::parse_str(created["id"].as_str().unwrap()).unwrap();
        assert_eq!(id.get_version_num(), 7);
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        let millis = i64::try_from(seconds).unwrap() * 1000 + i64::from(nanos / 1_000_000);
        assert_eq!(millis, time(&created["createdAt"]).timestamp_millis(), "the id carries the time of the row");
        assert!((chrono::Utc::now().timestamp_millis() - millis).abs() < 60_000, "{created_at} is not now");

        let row = app.session(created["id"].as_str().unwrap()).await;
        assert_eq!(time(&row["started_at"]), time(&created["createdAt"]));
        assert_eq!(row["last_activity_at"], row["started_at"]);
        assert_eq!((&row["page_views"], &row["duration"]), (&json!(0), &json!(0)));
        assert!(truth(&row["bounced"]));
    }

    async fn session_requests_repeated_are_separate_sessions(backend) {
        let app = TestApp::start(backend).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(app.create_session(&minimal_session()).await["id"].as_str().unwrap().to_owned());
        }
        assert!(ids.is_sorted(), "{ids:?}");
        app.applied().await;
        let rows = app.rows(Database::Analytics, "SELECT id FROM analytics_sessions ORDER BY id").await;
        assert_eq!(rows.iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    }

    async fn session_landing_page_of_8192_characters_is_stored_whole(backend) {
        let app = TestApp::start(backend).await;
        let longest = format!("https://example.org/{}", "ü".repeat(8192 - 20));
        let row = app.stored(app.post(SESSION, &session_with(&json!({"landingPage": longest})))).await;
        assert_eq!(row["landing_page"], json!(longest));
        let longer = format!("{longest}x");
        let refused = app.post(SESSION, &session_with(&json!({"landingPage": longer}))).send().await.unwrap();
        assert_eq!(refused.status(), 400);
    }
}

#[tokio::test]
async fn session_referrer_host_is_stored_without_www() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for (referrer, domain) in [
        (json!("https://www.instagram.com/alice"), "instagram.com"),
        (json!("https://www.www.example.org/"), "www.example.org"),
        (json!("https://shop.www.example.org/"), "shop.www.example.org"),
        (json!("HTTPS://User:Secret@WWW.EXAMPLE.ORG:8443/a?b#c"), "example.org"),
        (json!("https://bücher.example/"), "xn--bcher-kva.example"),
        (json!("http://[2001:db8::1]/"), "[2001:db8::1]"),
        (json!("android-app://com.example.mail/"), "com.example.mail"),
        (json!("not a url"), "direct"),
        (json!("example.org/path"), "direct"),
        (json!("about:blank"), "direct"),
        (json!(""), "direct"),
        (json!(null), "direct"),
    ] {
        let row = app.stored(app.post(SESSION, &session_with(&json!({"referrer": referrer})))).await;
        assert_eq!(row["referrer_domain"], json!(domain), "{referrer}");
        let stored = if referrer == json!("") { Value::Null } else { referrer };
        assert_eq!(row["referrer"], stored);
    }
    let row = app.stored(app.post(SESSION, &minimal_session())).await;
    assert_eq!((&row["referrer_domain"], &row["referrer"]), (&json!("direct"), &json!(null)));
}

on_both_databases! {
    async fn session_creator_id_malformed_is_dropped(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for creator in ["", "alice", "0190a1b2-0000-7000-8000-00000000000", "0190a1b2-0000-7000-8000-00000000000g"] {
            let row = app.stored(app.post(SESSION, &session_with(&json!({"creatorId": creator})))).await;
            assert_eq!(row["creator_id"], json!(null), "{creator:?}");
        }
        let id = "0190a1b2-0000-7000-8000-00000000000a";
        let row = app.stored(app.post(SESSION, &session_with(&json!({"creatorId": id})))).await;
        assert_eq!(row["creator_id"], json!(id));
    }

    async fn session_visitor_id_is_stored_only_as_hash(backend) {
        let app = TestApp::start(backend).await;
        let row = app.stored(app.post(SESSION, &session_with(&json!({"visitorId": "a very personal id"})))).await;
        // printf 'a very personal id' | sha256sum
        let hash = "fa7b64a717f49368ab630c0bf573dbb9bc9f3ea6297ad7857746035647101174";
        assert_eq!(row["visitor_id"], json!(hash));
        assert!(!row.to_string().contains("personal") && !app.log().contains("personal"));
    }
}
