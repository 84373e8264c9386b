//! `POST /internal/v1/users`: a company's own account service tells of a new user.

use weir_testkit::{Backend, Database, UNTHROTTLED, access_token, data, header, on_both_databases, time};

use super::*;
use crate::visitors::{INIT, init, row, user};

const USERS: &str = "/internal/v1/users";
const KEY: &str = "a key for tests";

async fn start(backend: Backend) -> TestApp {
    TestApp::start_with(backend, &[UNTHROTTLED, &[("WEIR_INTERNAL_KEY", KEY)]].concat()).await
}

fn create(app: &TestApp, body: &Value) -> reqwest::RequestBuilder {
    app.post(USERS, body).header("x-internal-key", KEY)
}

/// Sends a user that must be made, or be there already; the answer's `created`.
async fn created(app: &TestApp, body: &Value) -> bool {
    let response = create(app, body).send().await.unwrap();
    let status = response.status();
    let answer = bare(response).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer.as_object().unwrap().len(), 3, "{answer}");
    let rows = app.rows(Database::Main, "SELECT id, hash_id FROM users").await;
    let row = rows.iter().find(|row| row["id"] == body["id"]).unwrap();
    assert_eq!((&answer["id"], &answer["hashId"]), (&row["id"], &row["hash_id"]));
    answer["created"].as_bool().unwrap()
}

async fn stored(app: &TestApp, id: &str) -> Value {
    app.rows(Database::Main, "SELECT * FROM users").await.into_iter().find(|row| row["id"] == json!(id)).unwrap()
}

on_both_databases! {
    async fn internal_user_without_key_is_401(backend) {
        let app = start(backend).await;
        for key in [None, Some(""), Some("a key"), Some("A key for tests"), Some("a key for testsx")] {
            for body in ["{\"id\":\"u\"}", "{}", "{"] {
                let request = app.client.post(app.url(USERS)).body(body);
                let request = key.iter().fold(request, |request, key| request.header("x-internal-key", *key));
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), 401, "{key:?}");
                assert_eq!(bare(response).await, json!({"message": "auth.unauthorized"}));
            }
        }
        let with_bearer = app.post(USERS, &json!({"id": "v"})).bearer_auth(KEY).send().await.unwrap();
        assert_eq!(with_bearer.status(), 401);
        assert_eq!(app.databases.count(Database::Main, "SELECT count(*) AS n FROM users").await, 0);
    }

    async fn internal_user_sent_again_is_unchanged(backend) {
        let app = start(backend).await;
        let body = json!({
            "id": "11111111-2222-3333-4444-555555555555", "email": " Ann@Example.org", "referralCode": "ANN-1",
            "acquiredViaCreatorId": "creator-1", "createdAt": "2024-02-29T12:34:56.789+03:00",
        });
        assert!(created(&app, &body).await);
        let id = body["id"].as_str().unwrap();
        let first = stored(&app, id).await;
        assert_eq!((&first["email"], &first["referral_code"]), (&json!("ann@example.org"), &json!("ANN-1")));
        assert_eq!(first["acquired_via_creator_id"], json!("creator-1"));
        assert_eq!(time(&first["created_at"]).to_rfc3339(), "2024-02-29T09:34:56.789+00:00");
        let other = json!({
            "id": id, "email": "other@example.org", "referralCode": "OTHER", "createdAt": "2025-01-01T00:00:00Z",
        });
        for again in [&body, &other, &json!({"id": id})] {
            assert!(!created(&app, again).await, "{again}");
        }
        assert_eq!(stored(&app, id).await, first);
        let read =
            app.client.get(app.url("/api/v1/users/attribution")).bearer_auth(access_token(id)).send().await.unwrap();
        let found = data(read).await;
        assert_eq!(found["acquiredViaCreatorId"], json!("creator-1"));
        assert_eq!(found["createdAt"], json!("2024-02-29T09:34:56.789Z"));
        // The account is the address's: a code leads to it.
        let by_code = sign_in(&app, "ann@example.org", None).await;
        assert_eq!((&by_code["isNewUser"], &by_code["user"]["id"]), (&json!(false), &first["hash_id"]));
    }

    async fn internal_user_needs_only_id(backend) {
        let app = start(backend).await;
        let began = chrono::Utc::now();
        let nulls =
            json!({"id": "u 1 'x'", "email": null, "referralCode": "", "visitorToken": null, "createdAt": null});
        assert!(created(&app, &nulls).await);
        assert!(created(&app, &json!({"id": "ü".repeat(255)})).await);
        let row = stored(&app, "u 1 'x'").await;
        assert_eq!(row["email"], Value::Null);
        assert!(!row["referral_code"].as_str().unwrap().is_empty(), "a code of their own is drawn");
        assert!((time(&row["created_at"]) - began).num_milliseconds().abs() < 60_000);
    }

    async fn internal_user_with_taken_email_or_code_is_409(backend) {
        let app = start(backend).await;
        assert!(created(&app, &json!({"id": "u1", "email": "ann@example.org", "referralCode": "ANN"})).await);
        for (body, message) in [
            (json!({"id": "u2", "email": "ANN@example.org"}), "error.user.email_taken"),
            (json!({"id": "u2", "referralCode": "ANN"}), "error.user.referral_code_taken"),
            (json!({"id": "u2", "email": "ann@example.org", "referralCode": "ANN"}), "error.user.email_taken"),
        ] {
            let response = create(&app, &body).send().await.unwrap();
            assert_eq!(response.status(), 409, "{body}");
            assert_eq!(bare(response).await, json!({"message": message}));
        }
        assert_eq!(app.databases.count(Database::Main, "SELECT count(*) AS n FROM users").await, 1);
    }

    async fn internal_user_sent_concurrently_is_created_once(backend) {
        let app = start(backend).await;
        for round in 0..4 {
            let (id, email) = (format!("u{round}"), format!("u{round}@example.org"));
            let body = json!({"id": id, "email": email, "referralCode": format!("R{round}")});
            let (a, b, c) = tokio::join!(created(&app, &body), created(&app, &body), created(&app, &body));
            assert_eq!([a, b, c].iter().filter(|created| **created).count(), 1);
        }
    }

    async fn internal_user_referral_code_of_maximum_length_is_kept(backend) {
        let app = start(backend).await;
        // Nothing in it repeats, so that no database can make it smaller.
        let longest: String =
            (0..1024_u32).map(|number| char::from_u32(0x1_0000 + number * 61 % 0xFFFF).unwrap()).collect();
        assert!(created(&app, &json!({"id": "u1", "referralCode": longest})).await);
        let taken = create(&app, &json!({"id": "u2", "referralCode": longest})).send().await.unwrap();
        assert_eq!(taken.status(), 409);
        let (token, _) = init(app.post(INIT, &json!({"invitedBy": longest}))).await;
        assert_eq!(row(&app, &token).await["invited_by_id"], json!("u1"));
    }

    async fn internal_user_violations_are_all_listed(backend) {
        let app = start(backend).await;
        let detail = |field: &str, rule: &str| json!({"field": field, "message": format!("{field} {rule}")});
        let mut cases = vec![
            (json!({}), vec![detail("id", "should not be empty"), detail("id", "must be a string")]),
            (json!({"id": "x".repeat(256)}), vec![detail("id", "must be shorter than or equal to 255 characters")]),
            (json!({"id": "a\0"}), vec![detail("id", "must not contain a NUL character")]),
            (json!({"id": "u", "email": "ann"}), vec![detail("email", "must be an email")]),
            (
                json!({"id": "u", "referralCode": "é".repeat(1025)}),
                vec![detail("referralCode", "must be shorter than or equal to 1024 characters")],
            ),
            (
                json!({"id": "u", "referralCode": 7, "visitorToken": 7, "acquiredViaCreatorId": 7}),
                vec![
                    detail("referralCode", "must be a string"),
                    detail("visitorToken", "must be a string"),
                    detail("acquiredViaCreatorId", "must be a string"),
                ],
            ),
        ];
        for bad in [
            json!("yesterday"),
            json!(""),
            json!("2024-02-30T00:00:00Z"),
            json!("2024-02-28T24:00:01Z"),
            json!("0000-01-01T00:59:59+01:00"),
            json!("9999-12-31T23:00:00-01:00"),
            json!("9999-12-31T23:59:60Z"),
            json!(1_700_000_000),
            json!("2024-02-28T12:00:00"),
        ] {
            cases.push((
                json!({"id": "u", "createdAt": bad}),
                vec![detail("createdAt", "must be a valid ISO 8601 date string")],
            ));
        }
        for (body, details) in cases {
            let response = create(&app, &body).send().await.unwrap();
            assert_eq!(response.status(), 400, "{body}");
            assert_eq!(bare(response).await, json!({"message": "error.validation", "details": details}), "{body}");
        }
        assert_eq!(app.databases.count(Database::Main, "SELECT count(*) AS n FROM users").await, 0);
    }

    async fn internal_user_created_at_extremes_are_accepted(backend) {
        let app = start(backend).await;
        for (number, at) in
            ["0000-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z", "2016-12-31T23:59:60Z"]
                .into_iter()
                .enumerate()
        {
            let id = format!("u{number}");
            assert!(created(&app, &json!({"id": id, "createdAt": at})).await, "{at}");
            let read = app
                .client
                .get(app.url("/api/v1/users/attribution"))
                .bearer_auth(access_token(&id))
                .send()
                .await
                .unwrap();
            let told = data(read).await["createdAt"].as_str().unwrap().to_owned();
            let expected = chrono::DateTime::parse_from_rfc3339(at).unwrap().timestamp_millis();
            assert_eq!(
                chrono::DateTime::parse_from_rfc3339(&told).unwrap().timestamp_millis(),
                expected,
                "{at}: {told}"
            );
        }
    }

    async fn internal_user_links_visitor_with_own_device_and_country(backend) {
        let app = start(backend).await;
        user(&app, "inviter", "hash1", "code1").await;
        let brought = json!({
            "utmSource": "news", "landingUrl": "https://example.org/x?y", "invitedBy": "hash1", "userAgent": MOBILE,
        });
        let (token, _) = init(app.post(INIT, &brought).header("cf-ipcountry", "TR")).await;
        // From a server in another country, with a library's user agent.
        let request = create(&app, &json!({"id": "u1", "visitorToken": token})).header("cf-ipcountry", "US");
        assert_eq!(request.send().await.unwrap().status(), 200);
        let first = stored(&app, "u1").await;
        for (column, value) in [
            ("utm_source", "news"),
            ("first_landing_page", "/x"),
            ("invited_by_id", "inviter"),
            ("signup_referral_code", "code1"),
            ("registration_device", "mobile"),
            ("registration_country", "TR"),
        ] {
            assert_eq!(first[column], json!(value), "{column}");
        }
        assert_eq!(row(&app, &token).await["user_id"], json!("u1"));
        // The visitor is taken now: to others, and to nobody at all, it gives nothing.
        for (id, visitor) in
            [("u2", token.as_str()), ("u3", "visitor_00112233445566778899aabbccddeeff"), ("u4", "nonsense")]
        {
            assert!(created(&app, &json!({"id": id, "visitorToken": visitor})).await);
            let other = stored(&app, id).await;
            for column in
                ["utm_source", "first_landing_page", "invited_by_id", "registration_device", "registration_country"]
            {
                assert_eq!(other[column], Value::Null, "{id}: {column}");
            }
        }
        assert_eq!(row(&app, &token).await["user_id"], json!("u1"));
        assert_eq!(stored(&app, "u1").await, first);
    }
}

#[tokio::test]
async fn internal_user_during_database_outage_is_503() {
    let app = start(Backend::Postgres).await;
    app.databases.allow_connections(Database::Main, false).await;
    for body in [json!({"id": "u1"}), json!({"id": "u1", "visitorToken": "visitor_00112233445566778899aabbccddeeff"})] {
        let response = create(&app, &body).send().await.unwrap();
        assert_eq!(response.status(), 503);
        assert!(header(&response, "retry-after").is_some());
    }
    let bad = app.post(USERS, &json!({"id": "u1"})).send().await.unwrap();
    assert_eq!(bad.status(), 401);
}

#[tokio::test]
async fn internal_user_has_no_rate_limit() {
    let app = TestApp::start_with(Backend::Sqlite, &[("WEIR_INTERNAL_KEY", KEY)]).await;
    for number in 0..70 {
        let response = create(&app, &json!({"id": format!("u{number}")})).send().await.unwrap();
        assert_eq!((response.status().as_u16(), header(&response, "ratelimit")), (200, None));
    }
}
