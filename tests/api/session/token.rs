//! `POST /api/v1/analytics/session` with a bio page: only with the page's tracking token.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use weir_testkit::{Backend, Database, TRACKING_SECRET, TestApp, UNTHROTTLED, data, on_both_databases, session_with};

use crate::SESSION;

const PAGE: &str = "0190a1b2-0000-7000-8000-00000000abcd";
const BUCKET_MS: i64 = 300_000;

fn bucket_now() -> i64 {
    chrono::Utc::now().timestamp_millis().div_euclid(BUCKET_MS)
}

/// The token as the page's renderer makes it.
fn token(secret: &str, page: &str, bucket: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{page}:{bucket}").as_bytes());
    hex::encode(mac.finalize().into_bytes())[..32].to_owned()
}

/// Sends a page with the token that `make` makes for this moment's bucket, and tells whether it was stored. Does it
/// again when a new bucket began meanwhile.
async fn is_stored(app: &TestApp, page: &str, make: impl Fn(i64) -> Option<String>) -> bool {
    loop {
        let bucket = bucket_now();
        let body = session_with(&json!({"bioPageId": page, "trackingToken": make(bucket)}));
        let response = app.post(SESSION, &body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let created = data(response).await;
        if bucket_now() != bucket {
            continue;
        }
        let Some(id) = created["id"].as_str() else { return false };
        assert_eq!(app.session(id).await["bio_page_id"], json!(page.to_lowercase()));
        return true;
    }
}

on_both_databases! {
    async fn tracking_token_of_current_or_previous_bucket_is_accepted(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let own = |shift: i64| move |bucket: i64| Some(token(TRACKING_SECRET, PAGE, bucket + shift));
        for (shift, stored) in [(0, true), (-1, true), (-2, false), (1, false), (-1_000_000, false)] {
            assert_eq!(is_stored(&app, PAGE, own(shift)).await, stored, "{shift} buckets off");
        }
        let rows = app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await;
        assert_eq!(rows, 2);
    }

    async fn tracking_token_missing_or_wrong_stores_nothing(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let right = |bucket| token(TRACKING_SECRET, PAGE, bucket);
        let other = "0190a1b2-0000-7000-8000-00000000abce";
        assert!(!is_stored(&app, PAGE, |_| None).await);
        assert!(!is_stored(&app, PAGE, |_| Some(String::new())).await);
        assert!(!is_stored(&app, PAGE, |bucket| Some(token("another secret", PAGE, bucket))).await);
        assert!(!is_stored(&app, PAGE, |bucket| Some(token(TRACKING_SECRET, other, bucket))).await);
        assert!(!is_stored(&app, PAGE, |bucket| Some(right(bucket)[..31].to_owned())).await);
        assert!(!is_stored(&app, PAGE, |bucket| Some(right(bucket) + "0")).await);
        assert!(!is_stored(&app, PAGE, |bucket| Some(format!(" {}", right(bucket)))).await);
        // A token without a single letter is its own upper case; one with a letter must not be believed in it.
        assert!(!is_stored(&app, PAGE, |bucket| Some(right(bucket).to_uppercase() + "A")).await);
        assert_eq!(app.outcomes("session", "bad_token").await, 8.0);
        assert_eq!(app.log().matches("rejected as spam").count(), 8);
        assert!(is_stored(&app, PAGE, |bucket| Some(right(bucket))).await);
        assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await, 1);
    }
}

#[tokio::test]
async fn tracking_token_for_malformed_page_id_stores_nothing() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for page in ["alice", "0190a1b2-0000-7000-8000-00000000abc", "0190a1b2-0000-7000-8000-00000000abcg"] {
        assert!(!is_stored(&app, page, |bucket| Some(token(TRACKING_SECRET, page, bucket))).await, "{page}");
    }
    assert!(is_stored(&app, PAGE, |bucket| Some(token(TRACKING_SECRET, PAGE, bucket))).await);
}

#[tokio::test]
async fn tracking_token_signs_page_id_as_written() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let upper = PAGE.to_uppercase();
    assert!(is_stored(&app, &upper, |bucket| Some(token(TRACKING_SECRET, &upper, bucket))).await);
    assert!(!is_stored(&app, &upper, |bucket| Some(token(TRACKING_SECRET, PAGE, bucket))).await);
    assert!(!is_stored(&app, PAGE, |bucket| Some(token(TRACKING_SECRET, &upper, bucket))).await);
}

#[tokio::test]
async fn tracking_token_printed_by_command_is_accepted() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for page in [PAGE, &PAGE.to_uppercase()] {
        let printed = app.run(&["token", page]).await;
        assert_eq!(printed.code, Some(0), "{printed:?}");
        let token = printed.stdout.trim().to_owned();
        assert_eq!(token.len(), 32);
        assert!(is_stored(&app, page, |_| Some(token.clone())).await, "{page}");
    }
}
