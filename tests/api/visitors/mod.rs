//! `POST /track/init`: a browser keeps one token, and what it brought is kept with it.

mod across_restarts;
mod fingerprints;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use weir_testkit::{
    BROWSER, Backend, Database, TestApp, UNTHROTTLED, bare, exclusive, header, on_both_databases, time,
};

/// Where visitors get their tokens.
pub const INIT: &str = "/track/init";
/// Well-formed, and nobody's.
const STRANGE: &str = "visitor_00112233445566778899aabbccddeeff";

/// Somebody's request: from an address, with a browser's usual user agent.
pub fn from(app: &TestApp, ip: &str, body: &Value) -> reqwest::RequestBuilder {
    app.post(INIT, body).header("x-forwarded-for", ip)
}

/// Sends a request that must be served: the token, and whether it is new.
pub async fn init(request: reqwest::RequestBuilder) -> (String, bool) {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer = bare(response).await;
    assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
    let token = answer["token"].as_str().unwrap().to_owned();
    let hex = token.strip_prefix("visitor_").unwrap();
    assert!(hex.len() == 32 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{token}");
    (token, answer["isNew"].as_bool().unwrap())
}

/// The row of a token, once everything acknowledged is applied.
pub async fn row(app: &TestApp, token: &str) -> Value {
    app.applied().await;
    let mut rows = app.rows(Database::Main, &format!("SELECT * FROM visitors WHERE token = '{token}'")).await;
    assert_eq!(rows.len(), 1, "rows of {token}");
    rows.remove(0)
}

/// How many visitors there are.
async fn count(app: &TestApp) -> i64 {
    app.applied().await;
    app.databases.count(Database::Main, "SELECT count(*) AS n FROM visitors").await
}

/// A user as an account service would have made it.
pub async fn user(app: &TestApp, id: &str, hash_id: &str, referral_code: &str) {
    let sql = format!(
        "INSERT INTO users (id, hash_id, referral_code, created_at)
         VALUES ('{id}', '{hash_id}', '{referral_code}', '2026-01-01T00:00:00.000Z')"
    );
    app.databases.execute(Database::Main, &sql).await;
}

on_both_databases! {
    async fn visitor_new_is_stored_with_all_attributes(backend) {
        let app = TestApp::start(backend).await;
        let began = chrono::Utc::now();
        let body = json!({
            "utmSource": "news", "utmMedium": "mail", "utmCampaign": "spring", "utmTerm": "t",
            "utmContent": "ü 漢 🦀", "referrer": "https://example.com/a?b",
            "landingUrl": "https://example.org/x?utm_source=news#y", "other": [1],
        });
        let request = from(&app, "203.0.113.1", &body).header("cf-ipcountry", "tr").header("cf-ipcity", "%C4%B0zmir");
        let (token, is_new) = init(request).await;
        assert!(is_new);
        let row = row(&app, &token).await;
        for (column, value) in [
            ("user_agent", json!(BROWSER)),
            ("utm_source", json!("news")),
            ("utm_medium", json!("mail")),
            ("utm_campaign", json!("spring")),
            ("utm_term", json!("t")),
            ("utm_content", json!("ü 漢 🦀")),
            ("referrer", json!("https://example.com/a?b")),
            ("landing_url", json!("https://example.org/x?utm_source=news#y")),
            ("invited_by_id", Value::Null),
            ("user_id", Value::Null),
            ("country", json!("TR")),
            ("city", json!("İzmir")),
            ("state", Value::Null),
        ] {
            assert_eq!(row[column], value, "{column}");
        }
        assert_eq!(row.as_object().unwrap().len(), 17, "{row}");
        assert!((time(&row["created_at"]) - began).num_milliseconds().abs() < 60_000);
        assert_eq!(time(&row["created_at"]), time(&row["updated_at"]));
    }

    async fn visitor_with_empty_body_has_unknown_attributes(backend) {
        let app = TestApp::start(backend).await;
        let (token, is_new) = init(app.client.post(app.url(INIT))).await;
        assert!(is_new);
        let row = row(&app, &token).await;
        for column in ["user_agent", "utm_source", "referrer", "landing_url", "country"] {
            assert_eq!(row[column], Value::Null, "{column}");
        }
        // Neither is a fingerprint of nothing shared with one of something.
        let (other, is_new) = init(app.client.post(app.url(INIT)).header("user-agent", BROWSER).body("{}")).await;
        assert!(is_new && other != token);
        let nulls = json!({"token": null, "utmSource": null, "userAgent": null, "invitedBy": null});
        assert_eq!(init(app.client.post(app.url(INIT)).body(nulls.to_string())).await, (token, false));
    }

    async fn visitor_of_same_browser_and_address_is_one(backend) {
        let app = TestApp::start(backend).await;
        let (first, is_new) = init(from(&app, "203.0.113.1", &json!({}))).await;
        assert!(is_new);
        assert_eq!(init(from(&app, "203.0.113.1", &json!({}))).await, (first.clone(), false));
        assert_eq!(
            init(from(&app, "::ffff:203.0.113.1", &json!({}))).await,
            (first.clone(), false),
            "the same address"
        );
        let mut seen = BTreeSet::from([first.clone()]);
        for (ip, agent) in [
            ("203.0.113.2", BROWSER),
            ("203.0.113.1", "another browser"),
            ("2001:db8::1", BROWSER),
            ("2001:db8::2", BROWSER),
            // The text of the address runs into the user agent: these two differ in both.
            ("203.0.113.11", "1 browser"),
        ] {
            let request = from(&app, ip, &json!({"userAgent": agent}));
            let (token, is_new) = init(request).await;
            assert!(is_new && seen.insert(token), "{ip} {agent}");
        }
        let by_body =
            from(&app, "203.0.113.1", &json!({"userAgent": BROWSER})).header("user-agent", "a proxy of its own");
        assert_eq!(init(by_body).await, (first, false), "the body's user agent counts");
        assert_eq!(count(&app).await, 6);
    }

    async fn visitor_user_agent_in_body_is_stored(backend) {
        let app = TestApp::start(backend).await;
        let (token, _) = init(from(&app, "203.0.113.1", &json!({"userAgent": "told by the page"}))).await;
        assert_eq!(row(&app, &token).await["user_agent"], json!("told by the page"));
    }

    async fn visitor_requested_concurrently_is_created_once(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for round in 0..4 {
            let mut requests = JoinSet::new();
            for _ in 0..50 {
                requests.spawn(init(from(&app, &format!("203.0.113.{round}"), &json!({}))));
            }
            let answers = requests.join_all().await;
            let tokens: BTreeSet<&String> = answers.iter().map(|(token, _)| token).collect();
            assert_eq!(tokens.len(), 1);
            assert_eq!(answers.iter().filter(|(_, is_new)| *is_new).count(), 1);
        }
        assert_eq!(count(&app).await, 4);
    }

    async fn visitor_token_known_is_accepted_from_anywhere(backend) {
        let app = TestApp::start(backend).await;
        let (token, _) = init(from(&app, "203.0.113.1", &json!({}))).await;
        let elsewhere = from(&app, "203.0.113.99", &json!({"token": token, "userAgent": "another browser"}));
        assert_eq!(init(elsewhere).await, (token.clone(), false));
        assert_eq!(count(&app).await, 1);
        assert_eq!(row(&app, &token).await["user_agent"], json!(BROWSER), "what is set stays");
    }

    async fn visitor_token_stored_by_another_process_is_known(backend) {
        let app = TestApp::start(backend).await;
        let sql = format!(
            "INSERT INTO visitors (token, created_at, updated_at) VALUES ('{STRANGE}', {now}, {now})",
            now = app.databases.ago(Duration::ZERO)
        );
        app.databases.execute(Database::Main, &sql).await;
        assert_eq!(init(from(&app, "203.0.113.1", &json!({"token": STRANGE}))).await, (STRANGE.to_owned(), false));
        assert_eq!(count(&app).await, 1);
    }

    async fn visitor_token_unknown_is_replaced(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let strangers = [STRANGE, &STRANGE.to_uppercase(), &STRANGE[..39], &format!("{STRANGE}0"), "x", "visitor_", ""];
        for (number, token) in strangers.into_iter().enumerate() {
            let ip = format!("203.0.113.{number}");
            let (given, is_new) = init(from(&app, &ip, &json!({"token": token, "utmSource": "news"}))).await;
            assert!(is_new && given != token, "{token:?}");
            assert_eq!(row(&app, &given).await["utm_source"], json!("news"));
            // The fingerprint leads to it, whatever token the next request makes up.
            assert_eq!(init(from(&app, &ip, &json!({"token": STRANGE}))).await, (given, false));
        }
        assert_eq!(count(&app).await, 7);
    }

    async fn visitor_attributes_are_filled_once_and_never_overwritten(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        user(&app, "u1", "hash1", "code1").await;
        user(&app, "u2", "hash2", "code2").await;
        let first = json!({
            "utmSource": "first", "utmTerm": "", "referrer": "https://a.example/", "landingUrl": "https://b.example/",
        });
        let (token, _) = init(from(&app, "203.0.113.1", &first)).await;
        // One by the token from elsewhere, one by the fingerprint alone, and none of them waits for the writer.
        for (ip, body) in [
            (
                "203.0.113.9",
                json!({"token": token, "utmSource": "second", "utmMedium": "second", "invitedBy": "nobody"}),
            ),
            ("203.0.113.1", json!({"utmMedium": "third", "utmCampaign": "third", "invitedBy": "code1"})),
            (
                "203.0.113.9",
                json!({"token": token, "utmTerm": "fourth", "utmContent": "fourth", "invitedBy": "hash2",
                                   "referrer": "https://later.example/", "landingUrl": "https://later.example/"}),
            ),
            ("203.0.113.1", json!({"token": STRANGE, "utmTerm": "fifth", "utmContent": "fifth"})),
        ] {
            assert_eq!(init(from(&app, ip, &body)).await, (token.clone(), false), "{body}");
        }
        let row = row(&app, &token).await;
        for (column, value) in [
            ("utm_source", "first"),
            ("utm_medium", "second"),
            ("utm_term", "fourth"),
            ("utm_content", "fourth"),
            ("invited_by_id", "u2"),
            ("referrer", "https://a.example/"),
            ("landing_url", "https://b.example/"),
        ] {
            assert_eq!(row[column], json!(value), "{column}");
        }
        assert_eq!(row["utm_campaign"], Value::Null, "who is found by fingerprint alone may be somebody else");
        assert!(time(&row["updated_at"]) > time(&row["created_at"]));
        // The same once the writer has long been there.
        let late = json!({"token": token, "utmSource": "late", "utmContent": "late", "invitedBy": "code2"});
        init(from(&app, "203.0.113.1", &late)).await;
        assert_eq!(self::row(&app, &token).await, row);
        assert_eq!(count(&app).await, 1);
    }

    async fn visitor_who_signed_in_is_not_handed_out_by_fingerprint(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        user(&app, "inviter", "h1", "c1").await;
        let (first, _) = init(from(&app, "203.0.113.1", &json!({"utmSource": "of A"}))).await;
        let signed_in = crate::sign_in::sign_in(&app, "a@example.org", Some(&first)).await;
        assert_eq!(signed_in["isNewUser"], json!(true), "{signed_in}");
        let other = json!({"invitedBy": "h1", "utmSource": "of B"});
        let (second, is_new) = init(from(&app, "203.0.113.1", &other)).await;
        assert!(is_new && second != first);
        let row_of_b = row(&app, &second).await;
        assert_eq!((&row_of_b["invited_by_id"], &row_of_b["utm_source"]), (&json!("inviter"), &json!("of B")));
        let row_of_a = row(&app, &first).await;
        assert_eq!((&row_of_a["invited_by_id"], &row_of_a["utm_source"]), (&Value::Null, &json!("of A")));
        assert_eq!(init(from(&app, "203.0.113.1", &json!({}))).await, (second.clone(), false));
        // The owner is still known by the token itself.
        assert_eq!(init(from(&app, "203.0.113.9", &json!({"token": first}))).await, (first.clone(), false));
        // Also by a process that was not there.
        assert_eq!(crate::sign_in::sign_in(&app, "b@example.org", Some(&second)).await["isNewUser"], json!(true));
        app.kill();
        app.launch().await;
        let (third, is_new) = init(from(&app, "203.0.113.1", &json!({}))).await;
        assert!(is_new && ![&first, &second].contains(&&third));
    }

    async fn inviter_is_found_by_hash_id_before_referral_code(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        user(&app, "by-code", "h1", "same").await;
        user(&app, "by-hash", "same", "c2").await;
        for (number, (invitation, inviter)) in [
            ("same", json!("by-hash")),
            ("h1", json!("by-code")),
            ("c2", json!("by-hash")),
            ("by-code", Value::Null),
            ("SAME", Value::Null),
            ("' OR 1=1 --", Value::Null),
            ("", Value::Null),
        ]
        .into_iter()
        .enumerate()
        {
            let (token, is_new) =
                init(from(&app, &format!("203.0.113.{number}"), &json!({"invitedBy": invitation}))).await;
            assert!(is_new);
            assert_eq!(row(&app, &token).await["invited_by_id"], inviter, "{invitation}");
        }
    }

    async fn inviter_equal_to_own_user_is_ignored(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        user(&app, "u1", "hash1", "code1").await;
        user(&app, "u2", "hash2", "code2").await;
        let (token, _) = init(from(&app, "203.0.113.1", &json!({}))).await;
        app.applied().await;
        app.databases
            .execute(Database::Main, &format!("UPDATE visitors SET user_id = 'u1' WHERE token = '{token}'"))
            .await;
        for own in ["hash1", "code1"] {
            init(from(&app, "203.0.113.1", &json!({"token": token, "invitedBy": own}))).await;
            assert_eq!(row(&app, &token).await["invited_by_id"], Value::Null, "{own}");
        }
        init(from(&app, "203.0.113.1", &json!({"token": token, "invitedBy": "code2"}))).await;
        assert_eq!(row(&app, &token).await["invited_by_id"], json!("u2"));
    }

    async fn visitor_request_invalid_stores_nothing(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let fields = [
            "token",
            "userAgent",
            "utmSource",
            "utmMedium",
            "utmCampaign",
            "utmTerm",
            "utmContent",
            "referrer",
            "landingUrl",
            "invitedBy",
        ];
        let all: Value =
            fields.iter().map(|field| ((*field).to_owned(), json!(7))).collect::<serde_json::Map<_, _>>().into();
        let detail = |field: &str, rule: &str| json!({"field": field, "message": format!("{field} {rule}")});
        let every: Vec<Value> = fields.iter().map(|field| detail(field, "must be a string")).collect();
        let mut cases = vec![(all, every)];
        for field in fields {
            let max = if ["referrer", "landingUrl"].contains(&field) { 8192 } else { 1024 };
            cases.push((json!({field: "a\0b"}), vec![detail(field, "must not contain a NUL character")]));
            cases.push((json!({field: ["x"]}), vec![detail(field, "must be a string")]));
            init(from(&app, &format!("203.0.113.{max}"), &json!({field: "é".repeat(max + 1)}))).await;
        }
        let before = app.metric("weir_journal_position{journal=\"main\"}").await;
        for (body, details) in cases {
            let response = from(&app, "203.0.113.1", &body).send().await.unwrap();
            assert_eq!(response.status(), 400);
            assert_eq!(bare(response).await, json!({"message": "error.validation", "details": details}));
        }
        for (body, status) in [("{", 400), ("[]", 400), ("\"x\"", 400)] {
            let response = app.client.post(app.url(INIT)).body(body).send().await.unwrap();
            assert_eq!(response.status(), status, "{body}");
        }
        assert_eq!(app.metric("weir_journal_position{journal=\"main\"}").await, before);
    }
}

#[tokio::test]
async fn visitor_rate_limit_is_thirty_per_minute() {
    let app = TestApp::start(Backend::Sqlite).await;
    for left in (0..30).rev() {
        let response = from(&app, "203.0.113.1", &json!({})).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "ratelimit-policy"), Some("\"track_init\";q=30;w=60"));
        assert!(header(&response, "ratelimit").unwrap().starts_with(&format!("\"track_init\";r={left};t=")));
    }
    let response = from(&app, "203.0.113.1", &json!({"utmSource": 7})).send().await.unwrap();
    assert_eq!(response.status(), 429, "before anything is looked at");
    assert!(header(&response, "retry-after").is_some());
    assert_eq!(bare(response).await, json!({"message": "error.throttle.limit_exceeded"}));
    init(from(&app, "203.0.113.2", &json!({}))).await;
}

#[tokio::test]
async fn visitor_requests_during_database_outage_are_served() {
    // It looks at how long answers take.
    let _alone = exclusive().await;
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    user(&app, "u1", "hash1", "code1").await;
    let (known, _) = init(from(&app, "203.0.113.1", &json!({}))).await;
    app.applied().await;
    // Stored by another process: not in this one's memory.
    let stored = "visitor_0123456789abcdef0123456789abcdef";
    let now = app.databases.ago(Duration::ZERO);
    let sql = format!(
        "INSERT INTO visitors (token, utm_source, created_at, updated_at) VALUES ('{stored}', 'set', {now}, {now})"
    );
    app.databases.execute(Database::Main, &sql).await;
    app.databases.allow_connections(Database::Main, false).await;

    let quickly = async |request: reqwest::RequestBuilder| {
        let began = Instant::now();
        let answer = init(request).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        answer
    };
    let brought =
        |token: &str| json!({"token": token, "utmSource": "brought", "utmTerm": "brought", "invitedBy": "code1"});
    for token in [&known, stored, STRANGE] {
        assert_eq!(quickly(from(&app, "203.0.113.1", &brought(token))).await, (token.to_owned(), false));
    }
    let (new, is_new) = quickly(from(&app, "203.0.113.2", &json!({"utmSource": "new", "invitedBy": "hash1"}))).await;
    assert!(is_new);
    assert_eq!(quickly(from(&app, "203.0.113.2", &json!({"utmTerm": "later"}))).await, (new.clone(), false));
    let (malformed, is_new) = quickly(from(&app, "203.0.113.3", &json!({"token": "visitor_x"}))).await;
    assert!(is_new && malformed != new);
    assert!(app.metric("weir_writer_lag_records{database=\"main\"}").await >= 4.0, "nothing was applied");

    app.databases.allow_connections(Database::Main, true).await;
    let pick = |row: &Value| [row["utm_source"].clone(), row["utm_term"].clone(), row["invited_by_id"].clone()];
    assert_eq!(pick(&row(&app, &known).await), [json!("brought"), json!("brought"), json!("u1")]);
    assert_eq!(pick(&row(&app, stored).await), [json!("set"), json!("brought"), json!("u1")]);
    assert_eq!(pick(&row(&app, &new).await), [json!("new"), json!(null), json!("u1")]);
    let strange = format!("SELECT count(*) AS n FROM visitors WHERE token = '{STRANGE}'");
    assert_eq!(app.databases.count(Database::Main, &strange).await, 0);
    assert_eq!(count(&app).await, 4);
}

#[tokio::test]
async fn visitor_requests_without_reachable_database_are_not_delayed() {
    // It looks at how long answers take.
    let _alone = exclusive().await;
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    for (name, value) in UNTHROTTLED {
        app.set(name, value);
    }
    app.set("WEIR_MAIN_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.launch().await;
    for round in 0..20 {
        let began = Instant::now();
        assert_eq!(init(from(&app, "203.0.113.1", &json!({"token": STRANGE}))).await, (STRANGE.to_owned(), false));
        let (_, is_new) = init(from(&app, &format!("203.0.113.{}", 2 + round), &json!({}))).await;
        assert!(is_new);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
}
