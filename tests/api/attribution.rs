//! `GET /api/v1/users/attribution`: where a user came from, complete and unchanging.

use serde_json::{Value, json};
use weir_testkit::{Database, TestApp, UNTHROTTLED, access_token, data, error, on_both_databases};

use crate::sign_in::{MOBILE, sign_in, sign_in_as};
use crate::visitors::{INIT, init, user};

const ATTRIBUTION: &str = "/api/v1/users/attribution";
const KEYS: [&str; 13] = [
    "referredBy",
    "referralCode",
    "firstReferrerUrl",
    "firstLandingPage",
    "acquiredViaCreatorId",
    "utmSource",
    "utmMedium",
    "utmCampaign",
    "utmTerm",
    "utmContent",
    "registrationDevice",
    "registrationCountry",
    "createdAt",
];

async fn attribution(app: &TestApp, bearer: &str) -> Value {
    let response = app.client.get(app.url(ATTRIBUTION)).bearer_auth(bearer).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let found = data(response).await;
    let mut keys: Vec<&str> = found.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = KEYS.to_vec();
    keys.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let at = found["createdAt"].as_str().unwrap();
    assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
    found
}

on_both_databases! {
    async fn attribution_after_first_sign_in_is_complete_and_constant(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        user(&app, "inviter", "hash1", "code1").await;
        let brought = json!({
            "utmSource": "news", "utmMedium": "mail", "utmCampaign": "spring", "utmTerm": "t", "utmContent": "c",
            "referrer": "https://example.com/from?x=1", "invitedBy": "hash1",
            "landingUrl": "https://example.org/pricing/pro?utm_source=news#top",
        });
        let (token, _) = init(app.post(INIT, &brought).header("cf-ipcountry", "DE")).await;
        let signed_in = sign_in_as(&app, "ann@example.org", Some(&token), MOBILE, "TR").await;
        let bearer = signed_in["accessToken"].as_str().unwrap().to_owned();
        let found = attribution(&app, &bearer).await;
        let expected = json!({
            "referredBy": "inviter", "referralCode": "code1",
            "firstReferrerUrl": "https://example.com/from?x=1", "firstLandingPage": "/pricing/pro",
            "acquiredViaCreatorId": null, "utmSource": "news", "utmMedium": "mail", "utmCampaign": "spring",
            "utmTerm": "t", "utmContent": "c", "registrationDevice": "mobile", "registrationCountry": "TR",
            "createdAt": signed_in["user"]["createdAt"],
        });
        assert_eq!(found, expected);
        // Whatever else happens, later sign-ins with other visitors and other devices among it.
        let (other, _) = init(app.post(
            INIT,
            &json!({"userAgent": "other", "utmSource": "other", "landingUrl": "https://example.org/other"}),
        ))
        .await;
        let again = sign_in(&app, "ann@example.org", Some(&other)).await;
        assert_eq!(again["isNewUser"], json!(false));
        init(app.post(INIT, &json!({"token": token, "utmSource": "late", "invitedBy": "code1"}))).await;
        assert_eq!(attribution(&app, &bearer).await, expected);
        assert_eq!(attribution(&app, again["accessToken"].as_str().unwrap()).await, expected);
    }

    async fn attribution_unknown_fields_are_null(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        user(&app, "bare", "hash1", "code1").await;
        let found = attribution(&app, &access_token("bare")).await;
        for key in &KEYS[..12] {
            assert_eq!(found[key], Value::Null, "{key}");
        }
        assert_eq!(found["createdAt"], json!("2026-01-01T00:00:00.000Z"));
    }

    async fn attribution_of_user_without_row_is_404(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let response = app.client.get(app.url(ATTRIBUTION)).bearer_auth(access_token("nobody")).send().await.unwrap();
        assert_eq!(response.status(), 404);
        let error = error(response).await;
        assert_eq!((&error["code"], &error["i18nKey"]), (&json!("USER_NOT_FOUND"), &json!("error.user.not_found")));
    }

    async fn attribution_with_writing_method_is_405(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        user(&app, "bare", "hash1", "code1").await;
        for method in [reqwest::Method::POST, reqwest::Method::PUT, reqwest::Method::PATCH, reqwest::Method::DELETE] {
            let request = app.client.request(method, app.url(ATTRIBUTION)).bearer_auth(access_token("bare"));
            let response = request.body("{\"utmSource\":\"x\"}").send().await.unwrap();
            assert_eq!(response.status(), 405);
        }
        let rows = app.rows(Database::Main, "SELECT utm_source FROM users").await;
        assert_eq!(rows, [json!({"utm_source": null})]);
    }
}
