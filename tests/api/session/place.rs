//! `POST /api/v1/analytics/session`: where the visitor is, from the GeoIP database or a trusted proxy's headers.

use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::{Value, json};
use weir_testkit::{Backend, TestApp, UNTHROTTLED, on_both_databases, session_with};

use crate::SESSION;

const COLUMNS: [&str; 5] = ["country", "city", "region", "continent", "timezone"];
const KNOWN: &str = "203.0.113.9";
const UNKNOWN: &str = "198.51.100.9";

/// A database in the layout of GeoLite2-City with one city for 203.0.113.0/24 and `2001:db8:77::/48`, a row that knows
/// nothing but its country for 192.0.2.0/25, and one that no reader can make sense of for 192.0.2.128/25.
fn database(city: &str) -> Vec<u8> {
    let mut writer = mmdb_writer::Writer::builder("GeoLite2-City").description(&[("en", "a test's")]).build();
    let mut insert = |network: &str, row: Value| writer.insert(network.parse::<IpNet>().unwrap(), &row).unwrap();
    let whole = json!({
        "city": {"names": {"de": "anders", "en": city}},
        "continent": {"code": "EU", "names": {"en": "Europe"}},
        "country": {"iso_code": "SE", "names": {"en": "Sweden"}},
        "location": {"time_zone": "Europe/Stockholm"},
        "subdivisions": [
            {"iso_code": "E", "names": {"en": "Östergötland County"}},
            {"iso_code": "X", "names": {"en": "second"}},
        ],
    });
    insert("203.0.113.0/24", whole.clone());
    insert("2001:db8:77::/48", whole);
    insert("192.0.2.0/25", json!({"country": {"iso_code": "NO"}}));
    insert("192.0.2.128/25", json!({"country": {"iso_code": "NO"}, "city": {"names": 7}}));
    writer.to_bytes().unwrap()
}

fn database_path(app: &TestApp) -> PathBuf {
    app.directory.path().join("city.mmdb")
}

/// Puts the file in place at once, as tools that fetch such databases do.
fn replace_database(app: &TestApp, bytes: &[u8]) {
    let fresh = app.directory.path().join("city.mmdb.new");
    std::fs::write(&fresh, bytes).unwrap();
    std::fs::rename(fresh, database_path(app)).unwrap();
}

async fn prepare(backend: Backend) -> TestApp {
    let mut app = TestApp::prepare(backend).await;
    for (name, value) in UNTHROTTLED {
        app.set(name, value);
    }
    app.set("WEIR_GEOIP_DATABASE", &database_path(&app).display().to_string());
    replace_database(&app, &database("Linköping"));
    app
}

async fn start(backend: Backend) -> TestApp {
    let mut app = prepare(backend).await;
    app.launch().await;
    app
}

fn visit(app: &TestApp, ip: &str, headers: &[(&str, &str)]) -> reqwest::RequestBuilder {
    let request = app.post(SESSION, &session_with(&json!({"timezone": "own"}))).header("x-forwarded-for", ip);
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

async fn place(app: &TestApp, ip: &str, headers: &[(&str, &str)]) -> [Value; 5] {
    let row = app.stored(visit(app, ip, headers)).await;
    COLUMNS.map(|column| row[column].clone())
}

fn whole(city: &str) -> [Value; 5] {
    [json!("SE"), json!(city), json!("Östergötland County"), json!("EU"), json!("Europe/Stockholm")]
}

fn from_proxy(country: Value, city: Value) -> [Value; 5] {
    [country, city, json!(null), json!(null), json!("own")]
}

on_both_databases! {
    async fn geo_location_of_known_address_is_stored(backend) {
        let app = start(backend).await;
        for ip in [KNOWN, "2001:db8:77::7", "::ffff:203.0.113.9", "[2001:db8:77::7]:443"] {
            assert_eq!(place(&app, ip, &[]).await, whole("Linköping"), "{ip}");
        }
        assert_eq!(place(&app, UNKNOWN, &[]).await, from_proxy(json!(null), json!(null)));
    }
}

#[tokio::test]
async fn geo_location_row_wins_over_proxy_headers() {
    let app = start(Backend::Sqlite).await;
    let headers = [("cf-ipcountry", "TR"), ("cf-ipcity", "Ankara")];
    assert_eq!(place(&app, KNOWN, &headers).await, whole("Linköping"));
    assert_eq!(place(&app, "192.0.2.9", &headers).await, from_proxy(json!("NO"), json!(null)));
    assert_eq!(place(&app, UNKNOWN, &headers).await, from_proxy(json!("TR"), json!("Ankara")));
}

#[tokio::test]
async fn geo_location_with_failed_lookup_is_unknown() {
    let app = start(Backend::Sqlite).await;
    let headers = [("cf-ipcountry", "TR"), ("cf-ipcity", "Ankara")];
    assert_eq!(place(&app, "192.0.2.200", &headers).await, from_proxy(json!(null), json!(null)));
    assert_eq!(place(&app, KNOWN, &headers).await, whole("Linköping"));
}

async fn headers_are_read(app: &TestApp) {
    for (country, city, expected) in [
        ("TR", "Ankara", from_proxy(json!("TR"), json!("Ankara"))),
        ("TR", "%C4%B0stanbul", from_proxy(json!("TR"), json!("İstanbul"))),
        ("TR", "New%20York", from_proxy(json!("TR"), json!("New York"))),
        ("XX", "Ankara", from_proxy(json!(null), json!("Ankara"))),
        ("T1", "Ankara", from_proxy(json!(null), json!("Ankara"))),
        ("TR", "", from_proxy(json!("TR"), json!(null))),
        ("TR", "a%00b", from_proxy(json!("TR"), json!(null))),
        ("a country", "Ankara", from_proxy(json!(null), json!("Ankara"))),
    ] {
        let headers = [("cf-ipcountry", country), ("cf-ipcity", city)];
        assert_eq!(place(app, UNKNOWN, &headers).await, expected, "{country} {city}");
    }
    // Cities also come as they are.
    let city = reqwest::header::HeaderValue::from_bytes("İzmir".as_bytes()).unwrap();
    let row = app.stored(visit(app, UNKNOWN, &[]).header("cf-ipcity", city)).await;
    assert_eq!(row["city"], json!("İzmir"));
}

#[tokio::test]
async fn geo_location_without_row_comes_from_proxy_headers() {
    headers_are_read(&start(Backend::Sqlite).await).await;
}

#[tokio::test]
async fn geo_location_without_database_comes_from_proxy_headers() {
    headers_are_read(&TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await).await;
}

#[tokio::test]
async fn geo_headers_from_untrusted_proxy_are_ignored() {
    let mut app = prepare(Backend::Sqlite).await;
    app.set("WEIR_TRUSTED_PROXIES", "192.0.2.1");
    app.launch().await;
    let headers = [("cf-ipcountry", "TR"), ("cf-ipcity", "Ankara"), ("cf-connecting-ip", KNOWN)];
    assert_eq!(place(&app, KNOWN, &headers).await, from_proxy(json!(null), json!(null)));
    app.set("WEIR_TRUSTED_PROXIES", "127.0.0.1");
    app.stop().await;
    app.launch().await;
    assert_eq!(place(&app, UNKNOWN, &headers[..2]).await, from_proxy(json!("TR"), json!("Ankara")));
}

#[tokio::test]
async fn geoip_database_replaced_while_running_is_used() {
    let app = start(Backend::Sqlite).await;
    assert_eq!(place(&app, KNOWN, &[]).await, whole("Linköping"));
    replace_database(&app, &database("Norrköping"));
    app.until("the new database is in use", async || place(&app, KNOWN, &[]).await == whole("Norrköping")).await;
    assert_eq!(app.metric("weir_geoip_reloads_total{result=\"loaded\"}").await, 1.0);
}

#[tokio::test]
async fn geoip_database_broken_does_not_replace_good() {
    let app = start(Backend::Sqlite).await;
    let good = database("Norrköping");
    let other =
        mmdb_writer::Writer::builder("GeoLite2-ASN").description(&[("en", "a test's")]).build().to_bytes().unwrap();
    let mut refused = 0.0;
    for broken in [&b"no database"[..], &good[..good.len() / 2], b"", &other] {
        refused += 1.0;
        replace_database(&app, broken);
        app.until("the file is refused", async || {
            app.metric("weir_geoip_reloads_total{result=\"refused\"}").await == refused
        })
        .await;
        assert_eq!(place(&app, KNOWN, &[]).await, whole("Linköping"));
    }
    assert_eq!(app.log().matches("the one in memory stays in use").count(), 4);
    std::fs::remove_file(database_path(&app)).unwrap();
    replace_database(&app, &good);
    app.until("the good database is in use", async || place(&app, KNOWN, &[]).await == whole("Norrköping")).await;
}

#[tokio::test]
async fn geoip_database_unusable_at_start_is_refused_by_name() {
    let app = prepare(Backend::Sqlite).await;
    let path = database_path(&app).display().to_string();
    let good = database("Linköping");
    for broken in [&b"no database"[..], b"", &good[..good.len() / 2]] {
        replace_database(&app, broken);
        let refused = app.run(&[]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(&format!("geoip_database {path}")), "{refused:?}");
        assert!(refused.stderr.contains("is not a usable MaxMind database"), "{refused:?}");
    }
    std::fs::remove_file(database_path(&app)).unwrap();
    let refused = app.run(&[]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains(&path) && refused.stderr.contains("No such file"), "{refused:?}");
    replace_database(&app, &good);
    let mut app = app;
    app.launch().await;
    assert_eq!(place(&app, KNOWN, &[]).await, whole("Linköping"));
}
