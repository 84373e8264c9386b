//! A client's address, and every secret, stays where it belongs: nowhere but in the consent record that may keep it.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};
use weir_testkit::raw_connection::{RawConnection, request};
use weir_testkit::{
    BROWSER, Backend, Database, JWT_SECRET, TRACKING_SECRET, TestApp, UNTHROTTLED, minimal_session, on_both_databases,
    session_with,
};

use crate::{CONSENT, SESSION};

/// What must not be found anywhere: the parts that only the clients' addresses have, however they are written.
const ADDRESSES: [&str; 4] = ["203.0.113.77", "203.0.113.78", "2001:db8:77", "2001:DB8:77"];
/// The same addresses as a binary format would write them.
const OCTETS: [&[u8]; 2] = [&[0x20, 0x01, 0x0d, 0xb8, 0, 0x77, 0, 0], b"20010db800770000"];
/// The one address that a visitor agreed to have kept.
const AGREED: &str = "198.51.100.42";

/// Addresses as proxies and attackers write them.
const FORWARDED: [(&str, &str); 12] = [
    ("x-forwarded-for", "203.0.113.77"),
    ("x-forwarded-for", "2001:db8:77::7"),
    ("x-forwarded-for", "[2001:DB8:77::7]:443, 203.0.113.78"),
    ("x-forwarded-for", "203.0.113.77:99999"),
    ("x-forwarded-for", "203.0.113.77.5, for=203.0.113.77"),
    ("x-forwarded-for", "\"203.0.113.77\""),
    ("cf-connecting-ip", "203.0.113.77"),
    ("cf-connecting-ip", "2001:db8:77::7%eth0"),
    ("cf-connecting-ip", "::ffff:203.0.113.77"),
    ("cf-connecting-ip", "203.0.113.77 203.0.113.78"),
    ("forwarded", "for=\"[2001:db8:77::7]:4711\";by=203.0.113.78"),
    ("x-real-ip", "203.0.113.77"),
];

/// What a client hears: status line, headers and body.
async fn heard(request: reqwest::RequestBuilder) -> String {
    let response = request.send().await.unwrap();
    let head = format!("{} {:?}", response.status(), response.headers());
    format!("{head}\n{}", response.text().await.unwrap())
}

/// Sends everything that can go well or wrong from each of the addresses, and returns all that was answered.
async fn traffic(app: &TestApp) -> String {
    let mut answers = String::new();
    for (name, value) in FORWARDED {
        let denied = json!({"analytics": false, "marketing": true, "functional": true});
        let page = json!({"bioPageId": "0190a1b2-0000-7000-8000-00000000000a", "trackingToken": "wrong"});
        for request in [
            app.post(SESSION, &minimal_session()),
            app.post(SESSION, &session_with(&json!({"visitorId": ""}))),
            app.post(SESSION, &session_with(&json!({"consentAnalytics": "denied"}))),
            app.post(SESSION, &session_with(&page)),
            app.client.post(app.url(SESSION)).header("user-agent", "curl/8.5.0").body(minimal_session().to_string()),
            app.client.post(app.url(SESSION)).header("user-agent", BROWSER).body("{"),
            app.client.post(app.url(SESSION)).header("content-encoding", "gzip").body("no gzip"),
            app.client.post(app.url(SESSION)).header("content-type", "text/html").body("<p>"),
            app.client.post(app.url(SESSION)).body(" ".repeat(70_000)),
            app.client.put(app.url(SESSION)),
            app.client.get(app.url("/nothing")),
            app.client.get(app.url("/health/ready")),
            app.post(CONSENT, &denied),
            app.post(CONSENT, &denied).bearer_auth("no.token.atall"),
            app.post(CONSENT, &json!({})),
        ] {
            answers += &heard(request.header(name, value)).await;
        }
        let mut wire = RawConnection::open(app);
        let header = format!("{name}: {value}");
        let cut = request("POST", SESSION, &[&header], minimal_session().to_string().as_bytes());
        wire.send(&cut[..cut.len() - 3]);
    }
    answers
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Every row of every table of a database, as text.
async fn everything(app: &TestApp, database: Database) -> String {
    let tables = match app.databases.backend {
        Backend::Sqlite => "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        Backend::Postgres => {
            "SELECT table_name AS name FROM information_schema.tables \
             WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        }
    };
    let mut text = String::new();
    for table in app.rows(database, tables).await {
        let name = table["name"].as_str().unwrap();
        if name == "_sqlx_migrations" {
            continue;
        }
        let rows: Vec<Value> = app.rows(database, &format!("SELECT * FROM \"{name}\"")).await;
        writeln!(text, "{name}: {rows:?}").unwrap();
    }
    text
}

/// Nothing of the kind is in it: neither plain, nor in hexadecimal, nor in binary.
fn assert_clean(what: &str, bytes: &[u8]) {
    let hex = ADDRESSES.map(hex::encode);
    let needles = ADDRESSES.iter().map(|address| address.as_bytes()).chain(hex.iter().map(String::as_bytes));
    let needles: Vec<&[u8]> = needles.chain(OCTETS).collect();
    let found = aho_corasick::AhoCorasick::new(&needles).unwrap().find(bytes);
    if let Some(found) = found {
        let around = &bytes[found.start().saturating_sub(100)..bytes.len().min(found.end() + 100)];
        panic!("{what} holds an address: {:?}", String::from_utf8_lossy(around));
    }
}

on_both_databases! {
    async fn ip_address_without_consent_is_kept_nowhere(backend) {
        let variables = [UNTHROTTLED, &[("WEIR_JOURNAL__SEGMENT_BYTES", "65536")]].concat();
        let mut app = TestApp::start_with(backend, &variables).await;
        let answers = traffic(&app).await;
        let agreed = json!({"analytics": true, "marketing": false, "functional": false});
        let response = app.post(CONSENT, &agreed).header("x-forwarded-for", AGREED).send().await.unwrap();
        assert_eq!(response.status(), 200);
        app.applied().await;
        let metrics = app.metrics().await;
        let analytics = everything(&app, Database::Analytics).await;
        let main = everything(&app, Database::Main).await;

        // What is looked through is what was written.
        assert!(analytics.contains("https://example.org/") && main.contains("COOKIE_CONSENT"));
        assert!(answers.contains("VALIDATION_ERROR") && metrics.contains("weir_requests_total"));
        assert!(app.log().contains("rejected as spam"));
        assert_eq!(main.matches(AGREED).count(), 1, "the one address that may be kept");
        for text in [&analytics, &metrics, &answers, &app.log()] {
            assert!(!text.contains(AGREED));
        }

        let texts = [("analytics", &analytics), ("main", &main), ("an answer", &answers), ("metrics", &metrics)];
        for (what, text) in texts {
            assert_clean(what, text.as_bytes());
        }
        for moment in ["running", "stopped"] {
            let found = files(app.directory.path());
            let is_journal = |path: &std::path::PathBuf| path.extension().is_some_and(|kind| kind == "journal");
            assert!(found.iter().any(is_journal), "{found:?}");
            assert!(found.iter().any(|path| path.ends_with("weir.log")), "{found:?}");
            for path in &found {
                assert_clean(&format!("{} ({moment})", path.display()), &std::fs::read(path).unwrap());
            }
            if moment == "running" {
                assert!(app.stop().await.success());
            }
        }
    }

    async fn ip_address_during_database_failure_is_not_logged(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        app.still_serves().await;
        app.databases.execute(Database::Analytics, "ALTER TABLE analytics_sessions RENAME TO away").await;
        app.databases.execute(Database::Main, "ALTER TABLE consent_records RENAME TO away").await;
        let answers = traffic(&app).await;
        let agreed = json!({"analytics": true, "marketing": false, "functional": false});
        let response = app.post(CONSENT, &agreed).header("x-forwarded-for", AGREED).send().await.unwrap();
        assert_eq!(response.status(), 200);
        app.until("the failure is told", async || app.log().contains("records stay in the journal")).await;
        assert_clean("the log", app.log().as_bytes());
        assert_clean("an answer", answers.as_bytes());
        assert_clean("metrics", app.metrics().await.as_bytes());
        assert!(!app.log().contains(AGREED), "an address was logged with the failure");
        for path in files(&app.data_dir()) {
            assert_clean(&path.display().to_string(), &std::fs::read(&path).unwrap());
        }
    }

    async fn secrets_are_neither_logged_nor_answered(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let page = "0190a1b2-0000-7000-8000-00000000000a";
        let token = app.run(&["token", page]).await.stdout.trim().to_owned();
        let bearer = app.run(&["jwt", "user-1"]).await.stdout.trim().to_owned();
        let body = session_with(&json!({"bioPageId": page, "trackingToken": token, "visitorId": "visitor-to-hide"}));
        app.stored(app.post(SESSION, &body)).await;
        let choice = json!({"analytics": true, "marketing": false, "functional": false});
        let mut answers = heard(app.post(CONSENT, &choice).bearer_auth(&bearer)).await;
        answers += &heard(app.post(CONSENT, &choice).bearer_auth(format!("{bearer}x"))).await;
        answers += &app.metrics().await;
        let status = app.run(&["journal", "status"]).await;
        write!(answers, "{status:?}{:?}", app.run(&["check"]).await).unwrap();
        app.applied().await;
        assert!(app.stop().await.success());
        let password = url::Url::parse(&app.databases.main_url).unwrap().password().map(str::to_owned);
        let secrets = [TRACKING_SECRET, JWT_SECRET, &token, &bearer, "visitor-to-hide"];
        for secret in secrets.into_iter().chain(password.as_deref()) {
            assert!(!app.log().contains(secret), "the log holds {secret}");
            assert!(!answers.contains(secret), "an answer holds {secret}");
        }
        assert!(app.log().contains("stopped"), "the log was written to the end");
    }
}
