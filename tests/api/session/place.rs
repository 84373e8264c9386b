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
async fn geoip_database_unusable_at_start_is_named_and_loaded_when_it_is_mended() {
    let mut app = prepare(Backend::Sqlite).await;
    let path = database_path(&app).display().to_string();
    let good = database("Linköping");
    replace_database(&app, &good[..good.len() / 2]);
    let checked = app.run(&["check"]).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(checked.stderr.contains(&format!("geoip_database {path} is not a usable MaxMind database")), "{checked:?}");
    app.launch().await;
    assert_eq!(place(&app, KNOWN, &[]).await, from_proxy(json!(null), json!(null)));
    app.until("the file is refused", async || app.metric("weir_geoip_reloads_total{result=\"refused\"}").await == 1.0)
        .await;
    assert!(app.log().contains(&path), "{}", app.log());
    replace_database(&app, &good);
    app.until("the good database is in use", async || place(&app, KNOWN, &[]).await == whole("Linköping")).await;
    assert_eq!(app.metric("weir_geoip_loaded").await, 1.0);
}

#[tokio::test]
async fn geoip_database_missing_at_start_is_loaded_when_it_comes() {
    let mut app = prepare(Backend::Sqlite).await;
    std::fs::remove_file(database_path(&app)).unwrap();
    let checked = app.run(&["check"]).await;
    assert_eq!(checked.code, Some(2));
    assert!(checked.stderr.contains("No such file"), "{checked:?}");
    app.launch().await;
    assert!(app.log().contains("no geoip database yet"), "{}", app.log());
    assert_eq!(app.metric("weir_geoip_loaded").await, 0.0);
    let headers = [("cf-ipcountry", "TR"), ("cf-ipcity", "Ankara")];
    assert_eq!(place(&app, KNOWN, &headers).await, from_proxy(json!("TR"), json!("Ankara")));
    replace_database(&app, &database("Linköping"));
    app.until("it is in use", async || place(&app, KNOWN, &headers).await == whole("Linköping")).await;
    let built_at = app.metric("weir_geoip_build_timestamp_seconds").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 3600.0..=now + 60.0).contains(&built_at), "{built_at} of {now}");
}

/// A database of this type with one row for each of 203.0.113.0/28, 203.0.113.16/28, ….
async fn start_on_rows(backend: Backend, kind: &str, rows: &[Value], settings: &[(&str, &str)]) -> TestApp {
    let mut writer = mmdb_writer::Writer::builder(kind).description(&[("en", "a test's")]).build();
    for (number, row) in rows.iter().enumerate() {
        writer.insert(format!("203.0.113.{}/28", number * 16).parse::<IpNet>().unwrap(), row).unwrap();
    }
    let mut app = prepare(backend).await;
    for (name, value) in settings {
        app.set(name, value);
    }
    replace_database(&app, &writer.to_bytes().unwrap());
    app.launch().await;
    app
}

/// Where a visitor from the row of this number is, who says that the time is Denver's, or says nothing of it.
async fn place_in_row(app: &TestApp, number: usize, timezone: Option<&str>, headers: &[(&str, &str)]) -> [Value; 5] {
    let request = app.post(SESSION, &session_with(&json!({"timezone": timezone})));
    let request = request.header("x-forwarded-for", format!("203.0.113.{}", number * 16 + 1));
    let row = app.stored(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await;
    COLUMNS.map(|column| row[column].clone())
}

on_both_databases! {
    async fn geo_location_of_country_alone_does_not_override_the_client_s_time_zone(backend) {
        let zone = |country: &str, zone: &str| json!({"country": {"iso_code": country}, "location": {"time_zone": zone}});
        let mut city = zone("US", "America/Los_Angeles");
        city["city"] = json!({"names": {"en": "Los Angeles"}});
        let mut state = zone("US", "America/Los_Angeles");
        state["subdivisions"] = json!([{"names": {"en": "California"}}]);
        let rows = [zone("US", "America/Chicago"), city, state, zone("AT", "Europe/Vienna"), zone("AT", "+01:00")];
        let app = start_on_rows(backend, "GeoLite2-City", &rows, &[]).await;
        for (number, client, expected) in [
            (0, Some("America/Denver"), "America/Denver"),
            (0, None, "America/Chicago"),
            (1, Some("America/Denver"), "America/Los_Angeles"),
            (2, Some("America/Denver"), "America/Los_Angeles"),
            (3, Some("America/Denver"), "Europe/Vienna"),
            (3, None, "Europe/Vienna"),
            (4, Some("America/Denver"), "America/Denver"),
        ] {
            assert_eq!(place_in_row(&app, number, client, &[]).await[4], json!(expected), "{number} {client:?}");
        }
    }
}

#[tokio::test]
async fn geo_location_country_that_is_none_comes_from_elsewhere() {
    let rows = [
        json!({"registered_country": {"iso_code": "FR"}}),
        json!({"country": {"iso_code": "ZZ"}}),
        json!({"continent": {"code": "EU"}}),
        json!({"country": {"iso_code": "EU"}, "registered_country": {"iso_code": "A1"}}),
        json!({"country": {"iso_code": "SE"}, "registered_country": {"iso_code": "FR"}}),
        json!({"continent": {"code": "--"}, "city": {"names": {"en": "-"}}, "subdivisions": [{"names": {"en": "-"}}]}),
    ];
    let app = start_on_rows(Backend::Sqlite, "GeoIP2-Enterprise", &rows, &[]).await;
    let none = json!(null);
    for (number, expected) in [
        (0, [json!("FR"), none.clone(), none.clone(), none.clone(), none.clone()]),
        (1, [json!("AT"), json!("Wien"), none.clone(), none.clone(), none.clone()]),
        (2, [json!("AT"), json!("Wien"), none.clone(), json!("EU"), none.clone()]),
        (3, [json!("AT"), json!("Wien"), none.clone(), none.clone(), none.clone()]),
        (4, [json!("SE"), none.clone(), none.clone(), none.clone(), none.clone()]),
        (5, [json!("AT"), json!("Wien"), none.clone(), none.clone(), none.clone()]),
    ] {
        let headers = [("cf-ipcountry", "AT"), ("cf-ipcity", "Wien")];
        assert_eq!(place_in_row(&app, number, None, &headers).await, expected, "{number}");
    }
    for country in ["ZZ", "EU", "AP"] {
        let found = place(&app, UNKNOWN, &[("cf-ipcountry", country)]).await;
        assert_eq!(found, from_proxy(json!(null), json!(null)), "{country}");
    }
}

#[tokio::test]
async fn geo_location_name_in_another_language_is_stored_where_english_is_missing() {
    let rows = [
        json!({"city": {"names": {"de": "Wien", "en": "Vienna", "fr": "Vienne"}}}),
        json!({"city": {"names": {"de": "Wien", "fr": "Vienne"}}}),
        json!({"city": {"names": {"en": "de"}}, "country": {"iso_code": "AT"}}),
    ];
    let app = start_on_rows(Backend::Sqlite, "Some-City", &rows, &[]).await;
    for (number, expected) in [(0, json!("Vienna")), (1, json!("Wien")), (2, json!(null))] {
        assert_eq!(place_in_row(&app, number, None, &[]).await[1], expected, "{number}");
    }
}

#[tokio::test]
async fn geo_location_of_flat_rows_is_stored() {
    let rows = [
        json!({"city": "Utrecht", "country_code": "NL", "state1": "Provincie Utrecht", "timezone": "Europe/Amsterdam"}),
        json!({"city": "", "country_code": "US", "state1": "", "timezone": "America/Chicago"}),
    ];
    let app = start_on_rows(Backend::Sqlite, "Flat City", &rows, &[]).await;
    let expected = [json!("NL"), json!("Utrecht"), json!("Provincie Utrecht"), json!(null), json!("Europe/Amsterdam")];
    assert_eq!(place_in_row(&app, 0, Some("America/Denver"), &[]).await, expected);
    let expected = [json!("US"), json!(null), json!(null), json!(null), json!("America/Denver")];
    assert_eq!(place_in_row(&app, 1, Some("America/Denver"), &[]).await, expected);
}

#[tokio::test]
async fn geoip_database_of_other_layout_is_refused_by_name() {
    let app = start_on_rows(Backend::Sqlite, "Odd City", &[json!({"land": "NL", "stadt": "Utrecht"})], &[]).await;
    let checked = app.run(&["check"]).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(checked.stderr.contains("rows of its type Odd City have land, stadt"), "{checked:?}");
    assert_eq!(app.metric("weir_geoip_loaded").await, 0.0);
}

#[tokio::test]
async fn geo_location_district_is_kept_only_where_it_is_asked_for() {
    let rows = [json!({"city": {"names": {"en": "Seoul (Toegye-ro)"}}, "country": {"iso_code": "KR"}})];
    let kept = ("WEIR_GEOIP__CITY_DISTRICTS", "true");
    for (kind, settings, expected) in [
        ("DBIP-City-Lite", &[][..], "Seoul"),
        ("DBIP-City-Lite", &[kept][..], "Seoul (Toegye-ro)"),
        ("GeoLite2-City", &[][..], "Seoul (Toegye-ro)"),
    ] {
        let app = start_on_rows(Backend::Sqlite, kind, &rows, settings).await;
        assert_eq!(place_in_row(&app, 0, None, &[]).await[1], json!(expected), "{kind}");
    }
}
