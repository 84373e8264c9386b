//! `/metrics`: one outcome for every request, and a series for every stage.

use serde_json::json;
use weir_testkit::metrics::assert_documented;
use weir_testkit::{Backend, Database, TestApp, data, minimal_session, on_both_databases, session_with};

use super::dead_letters::with_a_letter;
use crate::{CONSENT, SESSION};

/// Every series a dashboard can rely on once a session and a choice went through, as name and one label.
const SERIES: [(&str, &str); 56] = [
    ("weir_ready", ""),
    ("weir_dead_letters_total", "reason=\"refused\""),
    ("weir_actor_restarts_total", "cause=\"panic\""),
    ("weir_writer_errors_total", "kind=\"unavailable\""),
    ("process_resident_memory_bytes", ""),
    ("process_cpu_seconds_total", ""),
    ("process_open_fds", ""),
    ("process_start_time_seconds", ""),
    ("weir_requests_total", "route=\"session\""),
    ("weir_request_duration_seconds_bucket", "route=\"session\""),
    ("weir_request_duration_seconds_count", "route=\"consent\""),
    ("weir_stage_duration_seconds_count", "stage=\"parse\""),
    ("weir_stage_duration_seconds_count", "stage=\"enrich\""),
    ("weir_stage_duration_seconds_count", "stage=\"journal\""),
    ("weir_user_agent_lookups_total", "result=\"hit\""),
    ("weir_user_agent_lookups_total", "result=\"miss\""),
    ("weir_user_agent_lookups_total", "result=\"refused\""),
    ("weir_connections", ""),
    ("weir_connections_max", ""),
    ("weir_user_agent_cache_entries", ""),
    ("weir_geoip_loaded", ""),
    ("weir_limiter_entries", ""),
    ("weir_limiter_capacity_entries", ""),
    ("weir_mailbox_messages", "actor=\"user_agent_parser\""),
    ("weir_mailbox_capacity_messages", "actor=\"user_agent_parser\""),
    ("weir_journal_append_duration_seconds_count", "journal=\"analytics\""),
    ("weir_journal_append_duration_seconds_count", "journal=\"main\""),
    ("weir_journal_fsync_duration_seconds_count", "journal=\"analytics\""),
    ("weir_journal_fsync_duration_seconds_count", "journal=\"main\""),
    ("weir_journal_batch_records_count", "journal=\"analytics\""),
    ("weir_journal_appended_records_total", "journal=\"analytics\""),
    ("weir_journal_appended_records_total", "journal=\"main\""),
    ("weir_journal_appended_bytes_total", "journal=\"analytics\""),
    ("weir_journal_failures_total", "journal=\"analytics\""),
    ("weir_journal_queue_records", "journal=\"analytics\""),
    ("weir_journal_queue_capacity_records", "journal=\"main\""),
    ("weir_journal_segments", "journal=\"analytics\""),
    ("weir_journal_disk_bytes", "journal=\"analytics\""),
    ("weir_journal_disk_max_bytes", "journal=\"analytics\""),
    ("weir_journal_position", "journal=\"analytics\""),
    ("weir_journal_position", "journal=\"main\""),
    ("weir_journal_writable", "journal=\"analytics\""),
    ("weir_writer_apply_duration_seconds_count", "database=\"analytics\""),
    ("weir_writer_apply_duration_seconds_count", "database=\"main\""),
    ("weir_writer_batch_records_count", "database=\"analytics\""),
    ("weir_writer_applied_records_total", "database=\"analytics\""),
    ("weir_writer_applied_records_total", "database=\"main\""),
    ("weir_writer_rows_total", "table=\"analytics_sessions\""),
    ("weir_writer_rows_total", "table=\"consent_records\""),
    ("weir_writer_retries_total", "database=\"analytics\""),
    ("weir_writer_position", "database=\"analytics\""),
    ("weir_writer_lag_records", "database=\"analytics\""),
    ("weir_writer_lag_records", "database=\"main\""),
    ("weir_writer_oldest_unapplied_age_seconds", "database=\"analytics\""),
    ("weir_writer_up", "database=\"main\""),
    ("weir_build_info", "version="),
];

/// Sends a known mix; how often each outcome has to be counted.
async fn mix(app: &TestApp) -> [(&'static str, &'static str, f64); 9] {
    let choice = json!({"analytics": true, "marketing": false, "functional": false});
    let page = json!({"bioPageId": "no page"});
    let preflight = app.client.request(reqwest::Method::OPTIONS, app.url(SESSION));
    for (request, status) in [
        (app.post(SESSION, &minimal_session()), 200),
        (app.post(SESSION, &minimal_session()), 200),
        (app.post(SESSION, &json!({})), 400),
        (app.post(SESSION, &session_with(&json!({"consentAnalytics": "denied"}))), 200),
        (app.post(SESSION, &session_with(&page)), 200),
        (app.client.post(app.url(SESSION)).header("user-agent", "curl").body(minimal_session().to_string()), 200),
        (app.client.post(app.url(SESSION)).header("content-type", "text/html").body("x"), 415),
        (app.post(SESSION, &minimal_session()), 429),
        (app.client.get(app.url(SESSION)), 405),
        (app.client.get(app.url("/nothing")), 404),
        (app.client.get(app.url("/health/live")), 200),
        (app.post(CONSENT, &choice), 200),
        (preflight.header("origin", "https://example.org").header("access-control-request-method", "POST"), 204),
    ] {
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    [
        ("session", "accepted", 2.0),
        ("session", "invalid", 2.0),
        ("session", "no_consent", 1.0),
        ("session", "bad_token", 1.0),
        ("session", "bot", 1.0),
        ("session", "throttled", 1.0),
        ("session", "method_not_allowed", 1.0),
        ("session", "preflight", 1.0),
        ("consent", "accepted", 1.0),
    ]
}

fn value(line: &str) -> f64 {
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

on_both_databases! {
    async fn metrics_outcomes_sum_to_requests(backend) {
        let app = TestApp::start_with(backend, &[("WEIR_THROTTLE__SESSION", "7/60s")]).await;
        for (route, outcome, expected) in mix(&app).await {
            assert_eq!(app.outcomes(route, outcome).await, expected, "{route} {outcome}");
        }
        assert_eq!((app.outcomes("other", "not_found").await, app.outcomes("health", "served").await), (1.0, 1.0));
        let metrics = app.metrics().await;
        let is_metrics = |line: &&str| line.contains("route=\"metrics\"");
        let sum = |start: &str| -> f64 {
            metrics.lines().filter(|line| line.starts_with(start) && !is_metrics(line)).map(value).sum()
        };
        assert_eq!(sum("weir_requests_total{"), 13.0, "{metrics}");
        assert_eq!(sum("weir_request_duration_seconds_count{"), 13.0, "{metrics}");
        assert_documented(&metrics);
    }

    async fn metrics_series_exist_for_every_stage(backend) {
        let app = TestApp::start(backend).await;
        mix_of_one(&app).await;
        app.applied().await;
        let metrics = app.metrics().await;
        assert_documented(&metrics);
        let of_this_system = |name: &str| cfg!(target_os = "linux") || !name.starts_with("process_");
        for (name, label) in SERIES.into_iter().filter(|(name, _)| of_this_system(name)) {
            let found = metrics.lines().any(|line| {
                line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']) && line.contains(label)
            });
            assert!(found, "{name} {label} is not in\n{metrics}");
        }
        for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            assert!(line.starts_with("weir_") || line.starts_with("process_"), "{line}");
            assert!(value(line).is_finite(), "{line}");
            let name = line.split(['{', ' ']).next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let base = base.unwrap_or(name);
            assert!(
                metrics.contains(&format!("# HELP {name} ")) || metrics.contains(&format!("# HELP {base} ")),
                "{name} is not explained"
            );
        }
        assert_eq!(app.metric("weir_journal_position{journal=\"analytics\"}").await, 2.0);
        assert_eq!(app.metric("weir_writer_position{database=\"analytics\"}").await, 2.0);
        assert_eq!(app.metric("weir_ready").await, 1.0);
        assert!(!of_this_system("process_") || app.metric("process_resident_memory_bytes").await > 1e6);
        let rows = "weir_writer_rows_total{database=\"analytics\",table=\"analytics_sessions\"}";
        assert_eq!(app.metric(rows).await, 2.0);
    }

    async fn metrics_appended_equals_applied_plus_dead_letters_plus_lag(backend) {
        let app = TestApp::start(backend).await;
        with_a_letter(&app).await;
        assert_eq!(balance(&app).await, Balance { appended: 2.0, applied: 1.0, set_aside: 1.0, behind: 0.0 });

        app.databases.execute(Database::Analytics, "ALTER TABLE analytics_sessions RENAME TO away").await;
        for _ in 0..3 {
            app.create_session(&minimal_session()).await;
        }
        app.until("the writer fails", async || errors(&app.metrics().await) > 1.0).await;
        assert_eq!(balance(&app).await, Balance { appended: 5.0, applied: 1.0, set_aside: 1.0, behind: 3.0 });

        app.databases.execute(Database::Analytics, "ALTER TABLE away RENAME TO analytics_sessions").await;
        app.applied().await;
        assert_eq!(balance(&app).await, Balance { appended: 5.0, applied: 4.0, set_aside: 1.0, behind: 0.0 });
    }
}

/// Where the records of the analytics journal are.
#[derive(Debug, PartialEq)]
struct Balance {
    appended: f64,
    applied: f64,
    set_aside: f64,
    behind: f64,
}

async fn balance(app: &TestApp) -> Balance {
    Balance {
        appended: app.metric("weir_journal_appended_records_total{journal=\"analytics\"}").await,
        applied: app.metric("weir_writer_applied_records_total{database=\"analytics\"}").await,
        set_aside: app.metric("weir_dead_letters_total{database=\"analytics\",reason=\"refused\"}").await,
        behind: app.metric("weir_writer_lag_records{database=\"analytics\"}").await,
    }
}

/// How often the analytics database failed, the refused record among it.
fn errors(metrics: &str) -> f64 {
    let of_analytics = |line: &&str| line.starts_with("weir_writer_errors_total{database=\"analytics\"");
    metrics.lines().filter(of_analytics).map(value).sum()
}

/// Two sessions of one browser and a choice.
async fn mix_of_one(app: &TestApp) {
    let choice = json!({"analytics": true, "marketing": false, "functional": false});
    for _ in 0..2 {
        app.create_session(&minimal_session()).await;
    }
    assert_eq!(data(app.post(CONSENT, &choice).send().await.unwrap()).await, json!({"saved": true}));
}

#[tokio::test]
async fn metrics_on_separate_listener_are_served_only_there() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let own = format!("127.0.0.1:{port}");
    app.set("WEIR_METRICS_LISTEN", &own);
    app.launch().await;
    let get = |url: String| app.client.get(url).send();
    assert_eq!(get(app.url("/metrics")).await.unwrap().status(), 404);
    app.create_session(&minimal_session()).await;
    let response = get(format!("http://{own}/metrics")).await.unwrap();
    assert_eq!(response.status(), 200);
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    let metrics = response.text().await.unwrap();
    assert!(metrics.contains("weir_journal_position{journal=\"analytics\"} 1\n"), "{metrics}");
    for elsewhere in [SESSION, "/health/live"] {
        assert_eq!(get(format!("http://{own}{elsewhere}")).await.unwrap().status(), 404, "{elsewhere}");
    }
    // The main listener has everything else.
    assert_eq!(get(app.url("/health/live")).await.unwrap().status(), 200);
}
