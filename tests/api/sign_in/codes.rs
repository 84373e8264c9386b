//! Codes: who has the live one of an address is let in, once, and nobody else learns anything.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use weir_testkit::smtp::SmtpServer;
use weir_testkit::{Backend, Database, UNTHROTTLED, header, on_both_databases};

use super::*;

async fn rows(app: &TestApp) -> Vec<Value> {
    app.rows(Database::Main, "SELECT * FROM sign_in_codes").await
}

/// The moments of a JSON list in a row.
fn moments(row: &Value, column: &str) -> Vec<i64> {
    serde_json::from_str(row[column].as_str().unwrap()).unwrap()
}

/// Everything of an answer that could tell two questions apart.
async fn shape(request: reqwest::RequestBuilder) -> (u16, Vec<String>, String) {
    let response = request.send().await.unwrap();
    let told = ["content-type", "content-length", "vary", "cache-control"]
        .map(|name| format!("{name}: {:?}", header(&response, name)));
    let mut names: Vec<String> = response.headers().keys().map(ToString::to_string).collect();
    names.extend(told);
    (response.status().as_u16(), names, response.text().await.unwrap())
}

on_both_databases! {
    async fn sign_in_code_live_is_accepted_once(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let code = code_for(&app, "ann@example.org").await;
        assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        let first = signed_in(verify(&app, "ann@example.org", &code)).await;
        assert_eq!(first["isNewUser"], json!(true));
        let user = &first["user"];
        assert_eq!((&user["email"], &user["invitedBy"]), (&json!("ann@example.org"), &Value::Null));
        let row = &app.rows(Database::Main, "SELECT * FROM users").await[0];
        assert_eq!((&user["id"], &user["referralCode"]), (&row["hash_id"], &row["referral_code"]));
        assert_ne!(row["id"], row["hash_id"], "the id itself stays inside");
        assert_eq!(row["email"], json!("ann@example.org"));
        is_refused(verify(&app, "ann@example.org", &code), "used").await;

        let again = sign_in(&app, "ann@example.org", None).await;
        assert_eq!((&again["isNewUser"], &again["user"]), (&json!(false), user));
        let other = sign_in(&app, "bob@example.org", None).await;
        assert_eq!(other["isNewUser"], json!(true));
        assert_ne!(other["user"]["id"], user["id"]);
        assert_ne!(other["user"]["referralCode"], user["referralCode"]);
        let attribution =
            app.client.get(app.url("/api/v1/users/attribution")).bearer_auth(again["accessToken"].as_str().unwrap());
        assert_eq!(attribution.send().await.unwrap().status(), 200, "the access token is good");
    }

    async fn sign_in_code_invalid_always_gets_same_response(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        is_refused(verify(&app, "nobody@example.org", "123456"), "never asked").await;
        let code = code_for(&app, "wrong@example.org").await;
        is_refused(verify(&app, "wrong@example.org", &another(&code)), "wrong").await;
        is_refused(verify(&app, "wrong@example.org", &format!("{code}0")), "longer").await;
        is_refused(verify(&app, "wrong@example.org", &code[..5]), "shorter").await;
        is_refused(verify(&app, "nobody@example.org", &code), "another's").await;
        signed_in(verify(&app, "wrong@example.org", &format!(" {code} "))).await;

        let first = code_for(&app, "replaced@example.org").await;
        let mut second = code_for(&app, "replaced@example.org").await;
        if first == second {
            // One time in a million.
            second = code_for(&app, "replaced@example.org").await;
        }
        is_refused(verify(&app, "replaced@example.org", &first), "replaced").await;
        signed_in(verify(&app, "replaced@example.org", &second)).await;

        app.databases.execute(Database::Main, "DELETE FROM sign_in_codes").await;
        let code = code_for(&app, "late@example.org").await;
        let row = rows(&app).await.remove(0);
        let left = weir_testkit::time(&row["expires_at"]) - chrono::Utc::now();
        assert!((590..=600).contains(&left.num_seconds()), "{left}");
        let past = app.databases.ago(Duration::from_millis(1));
        app.databases.execute(Database::Main, &format!("UPDATE sign_in_codes SET expires_at = {past}")).await;
        is_refused(verify(&app, "late@example.org", &code), "expired").await;
        assert_eq!(app.databases.count(Database::Main, "SELECT count(*) AS n FROM users").await, 2);
    }

    async fn sign_in_code_request_reveals_no_account(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        sign_in(&app, "known@example.org", None).await;
        let ask = |email: &str| app.post(REQUEST_CODE, &json!({"email": email}));
        let known = shape(ask("known@example.org")).await;
        assert_eq!((known.0, known.2.as_str()), (200, "{\"sent\":true}"));
        assert_eq!(shape(ask("unknown@example.org")).await, known);
        // Also for an address that has had its codes, and one whose attempts are over.
        for _ in 0..6 {
            assert_eq!(shape(ask("known@example.org")).await, known);
        }
        assert_eq!(app.databases.count(Database::Main, "SELECT count(*) AS n FROM users").await, 1);
    }

    async fn sign_in_code_after_five_wrong_attempts_is_refused(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let code = code_for(&app, "ann@example.org").await;
        let mut attempts = JoinSet::new();
        for number in 0..20 {
            let attempt = verify(&app, "ann@example.org", &another(&code))
                .header("x-forwarded-for", format!("203.0.113.{number}"));
            attempts.spawn(is_refused(attempt, "wrong"));
        }
        attempts.join_all().await;
        assert_eq!(moments(&rows(&app).await[0], "failures_at").len(), 5);
        is_refused(verify(&app, "ann@example.org", &code), "after five failures").await;
        let next = code_for(&app, "ann@example.org").await;
        is_refused(verify(&app, "ann@example.org", &next), "a new code after five failures").await;
        is_refused(verify(&app, " ANN@example.org", &next), "the same address").await;
        let other = code_for(&app, "bob@example.org").await;
        signed_in(verify(&app, "bob@example.org", &other)).await;

        // An hour later.
        let hour_ago = chrono::Utc::now().timestamp_millis() - 3_600_001;
        let age = format!("UPDATE sign_in_codes SET failures_at = '[{}]'", vec![hour_ago.to_string(); 5].join(","));
        app.databases.execute(Database::Main, &age).await;
        signed_in(verify(&app, "ann@example.org", &next)).await;
    }

    async fn sign_in_failures_count_across_codes_of_address(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for number in 0..5 {
            let code = code_for(&app, "ann@example.org").await;
            is_refused(verify(&app, "ann@example.org", &another(&code)), "wrong").await;
            if number == 4 {
                is_refused(verify(&app, "ann@example.org", &code), "after five failures").await;
            }
        }
    }

    async fn sign_in_code_used_concurrently_admits_one(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for round in 0..5 {
            let address = format!("ann-{round}@example.org");
            let code = code_for(&app, &address).await;
            let one = || async { verify(&app, &address, &code).send().await.unwrap().status().as_u16() };
            let (a, b, c) = tokio::join!(one(), one(), one());
            let mut statuses = [a, b, c];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 401, 401]);
        }
        assert_eq!(app.databases.count(Database::Main, "SELECT count(*) AS n FROM users").await, 5);
    }

    async fn sign_in_codes_are_limited_to_five_per_hour(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut last = String::new();
        for _ in 0..5 {
            last = code_for(&app, "ann@example.org").await;
        }
        for _ in 0..3 {
            let response = app.post(REQUEST_CODE, &json!({"email": "Ann@Example.org"})).send().await.unwrap();
            assert_eq!(bare(response).await, json!({"sent": true}));
        }
        // Codes are sent one after another: this one would come after those.
        code_for(&app, "bob@example.org").await;
        assert_eq!(codes_in_log(&app, "ann@example.org").len(), 5);
        signed_in(verify(&app, "ann@example.org", &last)).await;
        let hour_ago = chrono::Utc::now().timestamp_millis() - 3_600_001;
        let age = format!("UPDATE sign_in_codes SET codes_at = '[{}]'", vec![hour_ago.to_string(); 5].join(","));
        app.databases.execute(Database::Main, &age).await;
        code_for(&app, "ann@example.org").await;
    }

    async fn sign_in_address_ignores_case_and_spaces(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let first = sign_in(&app, "Ann@Example.ORG", None).await;
        assert_eq!(first["user"]["email"], json!("ann@example.org"));
        let code = code_for(&app, "  ann@EXAMPLE.org\t").await;
        let again = signed_in(verify(&app, "ANN@example.org ", &code)).await;
        assert_eq!(again["user"], first["user"]);
        assert_eq!(rows(&app).await.len(), 1);
    }

    async fn sign_in_code_and_address_are_stored_only_hashed(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let code = code_for(&app, "ann@example.org").await;
        let row = rows(&app).await.remove(0);
        let text = row.to_string();
        let plain = |text: &str| hex::encode(Sha256::digest(text.as_bytes()));
        for secret in
            ["ann", "example", &plain("ann@example.org"), &plain(&code), &plain(&format!("ann@example.org{code}"))]
        {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        for column in ["address_hash", "code_hash"] {
            assert_eq!(row[column].as_str().unwrap().len(), 64, "{text}");
        }
        assert_ne!(row["code_hash"], json!(code));
        signed_in(verify(&app, "ann@example.org", &code)).await;
        assert_eq!(rows(&app).await[0]["code_hash"], Value::Null, "a used code is gone");
    }

    async fn sign_in_code_violations_are_all_listed(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let detail = |field: &str, rule: &str| json!({"field": field, "message": format!("{field} {rule}")});
        let no_email = || detail("email", "must be an email");
        for (body, details) in [
            (json!({}), vec![detail("email", "must be a string"), no_email()]),
            (json!({"email": 7}), vec![detail("email", "must be a string"), no_email()]),
            (json!({"email": ""}), vec![no_email()]),
            (json!({"email": "ann"}), vec![no_email()]),
            (json!({"email": "\"a b\"@example.org"}), vec![no_email()]),
            (json!({"email": "ann@example.org\r\nBcc: eve@example.org"}), vec![no_email()]),
            (json!({"email": format!("{}@example.org", "a".repeat(250))}), vec![no_email()]),
        ] {
            let response = app.post(REQUEST_CODE, &body).send().await.unwrap();
            assert_eq!(response.status(), 400, "{body}");
            assert_eq!(bare(response).await, json!({"message": "error.validation", "details": details}), "{body}");
        }
        let response = app.post(VERIFY, &json!({"email": "ann@example.org", "visitorToken": 7})).send().await.unwrap();
        let details = [
            detail("code", "should not be empty"),
            detail("code", "must be a string"),
            detail("visitorToken", "must be a string"),
        ];
        assert_eq!(bare(response).await["details"], json!(details));
        let response = app.post(VERIFY, &json!({"code": "1\0"})).send().await.unwrap();
        let details =
            [detail("email", "must be a string"), no_email(), detail("code", "must not contain a NUL character")];
        assert_eq!(bare(response).await["details"], json!(details));
        assert_eq!(rows(&app).await.len(), 0);
    }
}

#[tokio::test]
async fn sign_in_code_with_mail_server_is_not_logged() {
    let server = SmtpServer::start();
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set("WEIR_SMTP_URL", &server.url());
    app.set("WEIR_MAIL_FROM", "Weir <weir@example.net>");
    app.launch().await;
    app.until("the banner says it", async || app.printed().iter().any(|line| line.contains("codes go by mail"))).await;
    let response = app.post(REQUEST_CODE, &json!({"email": "Ann@Example.org"})).send().await.unwrap();
    assert_eq!(bare(response).await, json!({"sent": true}));
    let mail = server.wait_for_mail_to("ann@example.org").await;
    assert_eq!(mail.from, "weir@example.net");
    let code = mail.code(6).unwrap();
    assert_eq!(signed_in(verify(&app, "ann@example.org", code)).await["isNewUser"], json!(true));
    app.stop().await;
    for secret in [code, "ann@example.org", "Ann@Example.org"] {
        assert!(!app.log().contains(secret), "the log holds {secret}");
    }
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn banner_without_mail_server_says_codes_are_logged() {
    let app = TestApp::start(Backend::Sqlite).await;
    app.until("the banner says it", async || {
        app.printed().iter().any(|line| line.contains("codes go into this log, which is for development only"))
    })
    .await;
    assert!(app.log().contains("no smtp_url is set: sign-in codes are written to the log"));
}

#[tokio::test]
async fn mail_server_silent_does_not_delay_sign_in_codes() {
    let server = SmtpServer::start_with(weir_testkit::smtp::Behaviour::Hangs);
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set("WEIR_SMTP_URL", &server.url());
    app.set("WEIR_MAIL_FROM", "weir@example.net");
    app.launch().await;
    let began = std::time::Instant::now();
    for number in 0..5 {
        let response =
            app.post(REQUEST_CODE, &json!({"email": format!("a{number}@example.org")})).send().await.unwrap();
        assert_eq!(bare(response).await, json!({"sent": true}));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn sign_in_during_database_outage_is_503() {
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    let code = code_for(&app, "ann@example.org").await;
    app.databases.allow_connections(Database::Main, false).await;
    for request in
        [app.post(REQUEST_CODE, &json!({"email": "ann@example.org"})), verify(&app, "ann@example.org", &code)]
    {
        let began = std::time::Instant::now();
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 503);
        assert!(header(&response, "retry-after").unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(bare(response).await, json!({"message": "error.service.unavailable"}));
        assert!(began.elapsed() < Duration::from_millis(3500), "{:?}", began.elapsed());
    }
    app.databases.allow_connections(Database::Main, true).await;
    signed_in(verify(&app, "ann@example.org", &code)).await;
}

#[tokio::test]
async fn sign_in_waits_for_acknowledged_visitor_but_not_outage() {
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    let code = code_for(&app, "ann@example.org").await;
    app.databases.allow_connections(Database::Main, false).await;
    let (token, _) = crate::visitors::init(app.post("/track/init", &json!({"utmSource": "news"}))).await;
    let body = json!({"email": "ann@example.org", "code": code, "visitorToken": token});
    assert_eq!(app.post(VERIFY, &body).send().await.unwrap().status(), 503, "the visitor is not there yet");
    app.databases.allow_connections(Database::Main, true).await;
    app.applied().await;
    signed_in(app.post(VERIFY, &body)).await;
    let linked = app.rows(Database::Main, "SELECT utm_source FROM users").await;
    assert_eq!(linked, [json!({"utm_source": "news"})]);
}

#[tokio::test]
async fn sign_in_routes_have_separate_rate_limits() {
    let app = TestApp::start(Backend::Sqlite).await;
    let email = json!({"email": "not an address", "code": "1", "provider": "x", "idToken": "x"});
    for (path, name, limit) in
        [(REQUEST_CODE, "auth_code", 5), (VERIFY, "auth_verify", 10), (EXTERNAL, "auth_external", 10)]
    {
        for left in (0..limit).rev() {
            let response = app.post(path, &email).send().await.unwrap();
            assert_eq!(response.status(), 400, "{path}");
            assert_eq!(header(&response, "ratelimit-policy"), Some(format!("\"{name}\";q={limit};w=60").as_str()));
            assert!(header(&response, "ratelimit").unwrap().starts_with(&format!("\"{name}\";r={left};t=")), "{path}");
        }
        let response = app.post(path, &email).send().await.unwrap();
        assert_eq!(response.status(), 429, "{path}");
        assert!(header(&response, "retry-after").is_some());
        assert_eq!(bare(response).await, json!({"message": "error.throttle.limit_exceeded"}));
        let elsewhere = app.post(path, &email).header("x-forwarded-for", "203.0.113.1").send().await.unwrap();
        assert_eq!(elsewhere.status(), 400);
    }
}

on_both_databases! {
    /// So the time that it takes tells nothing either.
    async fn sign_in_code_request_reads_no_account(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        sign_in(&app, "known@example.org", None).await;
        app.databases
            .execute(Database::Main, "ALTER TABLE users RENAME TO away; ALTER TABLE user_identities RENAME TO away_too")
            .await;
        for address in ["known@example.org", "unknown@example.org"] {
            code_for(&app, address).await;
        }
    }
}
