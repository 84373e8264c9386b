//! `POST /api/v1/analytics/session`: who is not stored, and in which order that is decided.

use serde_json::{Value, json};
use weir_testkit::{
    BROWSER, Backend, Database, TestApp, UNTHROTTLED, data, error, minimal_session, on_both_databases, session_with,
};

use super::without_user_agent;
use crate::SESSION;

const BOT_TOKENS: [&str; 22] = [
    "bot", "crawl", "spider", "slurp", "baidu", "yandex", "bing", "google", "facebook", "twitter", "linkedin",
    "whatsapp", "telegram", "preview", "fetch", "curl", "wget", "python", "java", "php", "ruby", "go-http",
];

fn with_user_agent(app: &TestApp, user_agent: &str, body: &Value) -> reqwest::RequestBuilder {
    without_user_agent(app, body).header("user-agent", user_agent)
}

on_both_databases! {
    async fn session_from_bot_stores_nothing(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for token in BOT_TOKENS {
            let upper = token.to_uppercase();
            let mixed = format!("{}{}", &upper[..1], &token[1..]);
            for user_agent in [token.to_owned(), format!("Mozilla/5.0 (compatible; x{upper}y/1.0)"), mixed] {
                app.discarded(with_user_agent(&app, &user_agent, &minimal_session())).await;
            }
        }
        app.still_serves().await;
        assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await, 1);
        assert_eq!(app.outcomes("session", "bot").await, 66.0);
    }

    async fn session_without_consent_stores_nothing(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let refusals = ["denied", "Granted", "GRANTED", " granted", "granted ", "granted\n", "grante", "true", ""];
        for consent in refusals {
            app.discarded(app.post(SESSION, &session_with(&json!({"consentAnalytics": consent})))).await;
        }
        let mut body = minimal_session();
        body.as_object_mut().unwrap().remove("consentAnalytics");
        app.discarded(app.post(SESSION, &body)).await;
        app.still_serves().await;
        assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await, 1);
        assert_eq!(app.outcomes("session", "no_consent").await, 10.0);
    }
}

#[tokio::test]
async fn session_without_user_agent_is_stored() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let facts = json!({"device": "tv", "browser": "B", "os": "O", "osVersion": "1.2"});
    for request in [
        without_user_agent(&app, &session_with(&facts)),
        with_user_agent(&app, "", &session_with(&facts)),
        with_user_agent(&app, "b-o-t, go http", &session_with(&facts)),
    ] {
        let row = app.stored(request).await;
        assert_eq!([&row["device"], &row["browser"], &row["os"], &row["os_version"]], ["tv", "B", "O", "1.2"]);
    }
}

#[tokio::test]
async fn session_throttle_precedes_validation() {
    let app = TestApp::start_with(Backend::Sqlite, &[("WEIR_THROTTLE__SESSION", "2/60s")]).await;
    for expected in [400, 400, 429, 429] {
        let response = app.post(SESSION, &json!({})).send().await.unwrap();
        assert_eq!(response.status(), expected);
    }
    let response = app.post(SESSION, &minimal_session()).send().await.unwrap();
    assert_eq!(error(response).await["code"], "THROTTLE_LIMIT_EXCEEDED");
    app.stored(app.post(SESSION, &minimal_session()).header("x-forwarded-for", "203.0.113.1")).await;
}

#[tokio::test]
async fn session_validation_precedes_bot_filter_and_consent() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for request in [
        with_user_agent(&app, "curl/8.5.0", &session_with(&json!({"visitorId": ""}))),
        with_user_agent(&app, BROWSER, &session_with(&json!({"visitorId": "", "consentAnalytics": "denied"}))),
        with_user_agent(&app, "curl/8.5.0", &json!({})),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400);
        assert_eq!(error(response).await["details"][0]["message"], "visitorId should not be empty");
    }
    app.still_serves().await;
}

#[tokio::test]
async fn session_bot_filter_precedes_consent_and_token() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let denied = json!({"consentAnalytics": "denied", "bioPageId": "no page", "trackingToken": "no token"});
    app.discarded(with_user_agent(&app, "curl/8.5.0", &session_with(&denied))).await;
    assert_eq!((app.outcomes("session", "bot").await, app.outcomes("session", "no_consent").await), (1.0, 0.0));
    app.discarded(app.post(SESSION, &session_with(&denied))).await;
    assert_eq!((app.outcomes("session", "no_consent").await, app.outcomes("session", "bad_token").await), (1.0, 0.0));
    let granted = json!({"bioPageId": "no page", "trackingToken": "no token"});
    app.discarded(app.post(SESSION, &session_with(&granted))).await;
    assert_eq!(app.outcomes("session", "bad_token").await, 1.0);
    app.still_serves().await;
}

/// User agents of apps and phones that people use, each with one of the rule's words.
const PEOPLE: [&str; 3] = [
    "Mozilla/5.0 (Linux; Android 14; SM-S921B; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/126.0 Mobile Safari/537.36 \
     musical_ly_2023500030 JsSdk/1.0 NetType/WIFI Channel/googleplay AppName/musical_ly",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/21G80 Twitter for \
     iPhone/10.60",
    "Mozilla/5.0 (Linux; Android 12; CUBOT P60) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Mobile Safari/537.36",
];

on_both_databases! {
    async fn session_and_view_from_an_app_of_people_are_stored(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for user_agent in PEOPLE {
            let visit = with_user_agent(&app, user_agent, &minimal_session());
            let row = app.stored(visit).await;
            assert_eq!(row["device"], json!("mobile"), "{user_agent}");
            let view = json!({"sessionId": row["id"], "url": "https://example.org/"});
            let view = app.client.post(app.url("/api/v1/analytics/pageview")).body(view.to_string());
            let view = view.header("content-type", "application/json").header("user-agent", user_agent);
            let view = view.send().await.unwrap();
            assert!(data(view).await["id"].is_string(), "{user_agent}");
        }
        assert_eq!(app.metric("weir_bots_total{word=\"bot\"}").await, 0.0);
    }
}

#[tokio::test]
async fn session_under_each_bot_rule_is_stored_or_counted_by_its_word() {
    let headless =
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/130.0.0.0 Safari/537.36";
    let own = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) OurBot App/3";
    for (rule, people, stored, words) in [
        ("people-first", "", [true, true, false], &["bot"][..]),
        ("people-first", "OurBot App/", [true, true, true], &[]),
        ("original", "OurBot App/", [false, true, false], &["twitter", "bot"]),
        ("strict", "OurBot App/", [true, false, true], &["headlesschrome"]),
    ] {
        let mut app = TestApp::prepare(Backend::Sqlite).await;
        for (name, value) in UNTHROTTLED {
            app.set(name, value);
        }
        app.set("WEIR_BOTS__RULE", rule);
        app.set("WEIR_BOTS__PEOPLE", people);
        app.launch().await;
        for (user_agent, is_stored) in [PEOPLE[1], headless, own].into_iter().zip(stored) {
            let visit = with_user_agent(&app, user_agent, &minimal_session()).send().await.unwrap();
            assert_eq!(data(visit).await["id"].is_string(), is_stored, "{rule} {people}: {user_agent}");
        }
        for word in ["bot", "twitter", "headlesschrome"] {
            let expected = if words.contains(&word) { 1.0 } else { 0.0 };
            assert_eq!(app.metric(&format!("weir_bots_total{{word=\"{word}\"}}")).await, expected, "{rule}: {word}");
        }
    }
}
