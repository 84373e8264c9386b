//! A data directory that version 1 of the journal's format left behind: every later version must read it.
//!
//! `tests/fixtures/journal-v1` has both journals as the binary of that version wrote them, with records of every kind, and
//! the rows that they came to. Its bytes are never to be changed. A later version of the format gets a directory of its own,
//! from what `journal_current_format_writes_every_record_kind` leaves in `target/tmp/journals`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Map;
use weir_domain::{AnalyticsEvent, AnalyticsRecord, JournalRecord, MainRecord};
use weir_journal::{Journal, JournalOptions, Position};
use weir_log::{LogReader, ReadLimits};
use weir_testkit::{BROWSER, access_token, data, time};

use super::*;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journal-v1");
/// What of a journal's directory is not the moment's alone.
const FILES: [&str; 3] = ["identity.json", "clean", "writers"];
const SESSIONS: &str = "/api/v1/analytics/session";
const VIEWS: &str = "/api/v1/analytics/pageview";
const BIO_PAGE: &str = "0190a1b2-0000-7000-8000-000000000001";

/// What `visits` and `people` leave in the journals. An item under a key counts twice: as keyed, and as what it is.
const EVERY_KIND: [(&str, usize); 10] = [
    ("consent", 2),
    ("funnel event", 2),
    ("heartbeat", 3),
    ("identify", 1),
    ("keyed", 4),
    ("leave", 2),
    ("pageview", 3),
    ("session", 3),
    ("visitor", 2),
    ("visitor fill", 1),
];

/// What is compared: fingerprints and keys are cleared when their time is over, so they are in no row for long.
const TABLES: [(Database, &str, &str); 5] = [
    (Database::Analytics, "analytics_sessions", "id"),
    (Database::Analytics, "analytics_pageviews", "id"),
    (Database::Main, "consent_records", "id"),
    (Database::Main, "funnel_events", "id"),
    (Database::Main, "visitors", "token"),
];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        if FILES.contains(&name.as_str()) || name.ends_with(".journal") {
            fs::copy(file.path(), to.join(name)).unwrap();
        }
    }
}

/// A row in the same words from both engines, without what a database numbers itself.
fn comparable(row: &Value) -> Value {
    let columns =
        row.as_object().unwrap().iter().filter(|(name, _)| !["fingerprint", "stored_order"].contains(&name.as_str()));
    let value = |name: &str, value: &Value| match (name, value) {
        (_, Value::Null) => Value::Null,
        (name, value) if name.ends_with("_at") => json!(time(value).timestamp_millis()),
        ("accepted" | "bounced", value) => json!(weir_testkit::truth(value)),
        ("preferences" | "properties", Value::String(text)) => serde_json::from_str(text).unwrap(),
        ("duration" | "scroll_depth", value) => json!(value.as_f64().unwrap()),
        (_, value) => value.clone(),
    };
    Value::Object(columns.map(|(name, found)| (name.clone(), value(name, found))).collect())
}

async fn tables(app: &TestApp) -> Value {
    app.applied().await;
    let mut tables = Map::new();
    for (database, table, key) in TABLES {
        let rows = app.rows(database, &format!("SELECT * FROM {table} ORDER BY {key}")).await;
        tables.insert(table.to_owned(), rows.iter().map(comparable).collect());
    }
    Value::Object(tables)
}

/// How many records of each kind journals have, by a copy of them in this directory.
fn kinds_of(journals: &Path, directory: &Path) -> BTreeMap<&'static str, usize> {
    for journal in ["analytics", "main"] {
        copy(&journals.join(journal), &directory.join(journal));
    }
    let mut kinds = BTreeMap::new();
    for record in payloads(&directory.join("analytics")) {
        let AnalyticsRecord { key, event } = <AnalyticsRecord>::decode(&record).unwrap();
        let kind = match event {
            AnalyticsEvent::Session(_) => "session",
            AnalyticsEvent::Pageview(_) => "pageview",
            AnalyticsEvent::Leave(_) => "leave",
            AnalyticsEvent::Heartbeat(_) => "heartbeat",
            AnalyticsEvent::Identify(_) => "identify",
        };
        *kinds.entry(kind).or_default() += 1;
        *kinds.entry("keyed").or_default() += usize::from(key.is_some());
    }
    for record in payloads(&directory.join("main")) {
        let kind = match MainRecord::decode(&record).unwrap() {
            MainRecord::Consent(_) => "consent",
            MainRecord::FunnelEvent(_) => "funnel event",
            MainRecord::Visitor(_) => "visitor",
            MainRecord::VisitorFill(_) => "visitor fill",
            MainRecord::Account(_) => "account",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

fn payloads(directory: &Path) -> Vec<Vec<u8>> {
    let journal = Journal::open("fixture", directory, JournalOptions::default(), Arc::new(())).unwrap();
    let (mut reader, limits) = (journal.reader(), ReadLimits { records: 1000, bytes: 1 << 20 });
    let batch = reader.read(Position::START, reader.end(), limits).unwrap();
    assert_eq!((batch.through, batch.corrupt), (reader.end(), vec![]));
    journal.appender().close();
    batch.records.iter().map(|record| record.payload.to_vec()).collect()
}

#[test]
fn journal_v1_fixture_has_every_record_kind() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(kinds_of(Path::new(FIXTURE), directory.path()), BTreeMap::from(EVERY_KIND));
}

on_both_databases! {
    async fn journal_v1_fixture_applies_to_expected_rows(backend) {
        let mut app = TestApp::prepare(backend).await;
        for journal in ["analytics", "main"] {
            copy(&Path::new(FIXTURE).join(journal), &app.data_dir().join("journal").join(journal));
        }
        app.launch().await;
        let expected: Value = serde_json::from_slice(&fs::read(Path::new(FIXTURE).join("rows.json")).unwrap()).unwrap();
        let found = tables(&app).await;
        for (_, table, _) in TABLES {
            assert_eq!(found[table], expected[table], "{table}");
        }
        let letters = app.run(&["dead-letters", "list"]).await;
        assert_eq!((letters.code, letters.stdout.as_str()), (Some(0), ""));
        app.still_serves().await;
    }
}

/// A request of somebody at 192.0.2.7, an address that is nobody's.
fn from_somebody(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request.header("x-forwarded-for", "192.0.2.7").header("cf-ipcountry", "DE")
}

async fn answered(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    data(response).await
}

/// A visit with everything that a client can say of it, and one with nothing.
async fn visits(app: &TestApp) {
    let token = app.run(&["token", BIO_PAGE]).await.stdout.trim().to_owned();
    let full = json!({
        "visitorId": "visitor-1", "landingPage": "https://example.org/ü?a=1", "consentAnalytics": "granted",
        "bioPageId": BIO_PAGE, "creatorId": "0190a1b2-0000-7000-8000-000000000002", "trackingToken": token,
        "referrer": "https://www.example.com/from", "utmSource": "news", "utmMedium": "mail", "utmCampaign": "spring",
        "utmTerm": "term", "utmContent": "content", "language": "de", "connectionType": "4g",
        "timezone": "Europe/Berlin", "screenWidth": 1920, "screenHeight": 1080,
    });
    let session = answered(from_somebody(app.post(SESSIONS, &full))).await["id"].as_str().unwrap().to_owned();
    app.create_session(&weir_testkit::minimal_session()).await;
    let mut views = Vec::new();
    for (path, more) in [("/a", json!({"title": "A", "referrer": "https://example.org/"})), ("/b", json!({}))] {
        let mut body = json!({"sessionId": session, "url": format!("https://example.org{path}")});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        views.push(answered(app.post(VIEWS, &body)).await["id"].as_str().unwrap().to_owned());
    }
    let patch = |path: String| app.client.patch(app.url(&path)).header("user-agent", BROWSER);
    let leave = json!({"duration": 12.5, "scrollDepth": 75}).to_string();
    answered(patch(format!("{VIEWS}/{}/leave", views[1])).header("content-type", "application/json").body(leave)).await;
    for _ in 0..2 {
        answered(patch(format!("{SESSIONS}/{session}/heartbeat"))).await;
    }
    answered(patch(format!("{SESSIONS}/{session}/identify")).bearer_auth(access_token("user-1"))).await;
    let items = json!([
        {"type": "session", "key": "k0", "body": weir_testkit::minimal_session()},
        {"type": "pageview", "key": "k1", "sessionRef": 0, "body": {"url": "/a"}},
        {"type": "heartbeat", "key": "k2", "sessionRef": 0},
        {"type": "leave", "key": "k3", "viewRef": 1, "body": {"duration": 3}},
    ]);
    answered(app.post("/api/v1/analytics/batch", &json!({"items": items}))).await;
}

/// Choices, steps and visitors.
async fn people(app: &TestApp) {
    let choice = |analytics: bool| json!({"analytics": analytics, "marketing": false, "functional": true});
    let save = |body: &Value| from_somebody(app.post("/api/v1/consent/cookies", body));
    answered(save(&choice(true)).bearer_auth(access_token("user-1"))).await;
    answered(save(&choice(false))).await;
    for body in [
        json!({"event": "signup_completed", "sessionId": "s-1", "properties": {"plan": "pro", "price": 12.5}}),
        json!({"event": "logged_out"}),
    ] {
        answered(app.post("/api/v1/analytics/track", &body).bearer_auth(access_token("user-1"))).await;
    }
    let init = async |body: Value| {
        let response = from_somebody(app.post("/track/init", &body)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        weir_testkit::bare(response).await["token"].clone()
    };
    let full = json!({
        "userAgent": "one", "utmSource": "news", "utmMedium": "mail", "utmCampaign": "spring", "utmTerm": "term",
        "referrer": "https://www.example.com/from", "landingUrl": "https://example.org/",
    });
    let token = init(full).await;
    init(json!({"token": token, "utmContent": "late", "utmSource": "too late"})).await;
    init(json!({"userAgent": "two"})).await;
}

/// What the fixture has, this version writes; before anything was released the fixture was made so.
#[tokio::test]
async fn journal_current_format_writes_every_record_kind() {
    let mut app = TestApp::start_with(Backend::Sqlite, &[("WEIR_INTERNAL_KEY", "a key")]).await;
    visits(&app).await;
    people(&app).await;
    let user = app.post("/internal/v1/users", &json!({"id": "ann", "email": "ann@example.org"}));
    assert_eq!(user.header("x-internal-key", "a key").send().await.unwrap().status(), 200);
    let rows = tables(&app).await;
    assert!(app.stop().await.success());
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("journals");
    if made.exists() {
        fs::remove_dir_all(&made).unwrap();
    }
    for journal in ["analytics", "main"] {
        copy(&app.data_dir().join("journal").join(journal), &made.join(journal));
    }
    fs::write(made.join("rows.json"), serde_json::to_string_pretty(&rows).unwrap() + "\n").unwrap();
    // Looked at in a copy: looking takes the note of the orderly end away.
    let directory = tempfile::tempdir().unwrap();
    let mut every_kind = BTreeMap::from(EVERY_KIND);
    // Kinds that came later.
    every_kind.insert("account", 1);
    assert_eq!(kinds_of(&made, directory.path()), every_kind);
}
