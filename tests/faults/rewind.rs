//! A database that goes back: restored from a copy, or taken over by a server that lagged. What it lost is in the journal still,
//! and is applied again without anybody's doing.

use weir_testkit::postgres::{PostgresServer, PostgresStandby};
use weir_testkit::{Databases, access_token, on_both_databases};

use super::*;

const SMALL_SEGMENTS: &[(&str, &str)] = &[("WEIR_JOURNAL__SEGMENT_BYTES", "4096")];
const BOTH: [Database; 2] = [Database::Analytics, Database::Main];

async fn rewinds(app: &TestApp, database: &str) -> f64 {
    app.metric(&format!("weir_writer_rewinds_total{{database=\"{database}\"}}")).await
}

/// What was applied, without what was applied again, is what was appended since the process began with both at the same place.
async fn books_balance(app: &TestApp) {
    for database in ["analytics", "main"] {
        let of = async |metric: &str, label: &str| app.metric(&format!("{metric}{{{label}=\"{database}\"}}")).await;
        let applied = of("weir_writer_applied_records_total", "database").await;
        let again = of("weir_writer_rewound_records_total", "database").await;
        let appended = of("weir_journal_appended_records_total", "journal").await;
        assert!((applied - again - appended).abs() < 0.5, "{database}: {applied} - {again} is not {appended}");
    }
}

/// Saves a consent of this version, and says whether it was acknowledged.
async fn consent(app: &TestApp, version: &str) {
    let body = json!({"analytics": false, "marketing": false, "functional": true, "version": version});
    let response = app.post("/api/v1/consent/cookies", &body).bearer_auth(access_token("ann")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(answer["data"]["saved"], true, "{answer}");
}

/// How many of the user's consents the history tells of; `None` while nothing true can be told.
async fn consents(app: &TestApp) -> Option<usize> {
    let request = app.client.get(app.url("/api/v1/users/consent")).bearer_auth(access_token("ann"));
    let response = request.send().await.unwrap();
    if response.status() == 503 {
        return None;
    }
    assert_eq!(response.status(), 200);
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    Some(answer["data"].as_array().unwrap_or_else(|| panic!("{answer}")).len())
}

async fn visits(app: &TestApp, ledger: &mut Ledger, tag: &str, count: usize) {
    for number in 0..count {
        visit(app, ledger, &format!("{tag}/{number}")).await.expect("it is taken");
    }
}

on_both_databases! {
    async fn database_gone_back_while_idle_is_brought_up_by_itself(backend) {
        let app = TestApp::start_with(backend, &[UNTHROTTLED, SMALL_SEGMENTS].concat()).await;
        let mut ledger = Ledger::of("database goes back while nothing comes in", backend);
        visits(&app, &mut ledger, "before", 20).await;
        consent(&app, "1").await;
        app.applied().await;
        for database in BOTH {
            app.databases.keep_copy(database).await;
        }
        visits(&app, &mut ledger, "lost", 80).await;
        for _ in 0..40 {
            consent(&app, "2").await;
        }
        app.applied().await;
        for database in BOTH {
            app.databases.go_back(database).await;
        }
        // Nobody has told it; what is read is true, or nothing is told.
        let told = consents(&app).await;
        assert!(told.is_none_or(|told| told == 41), "{told:?} of 41 consents");
        app.until("both are brought up", async || {
            rewinds(&app, "analytics").await > 0.5 && rewinds(&app, "main").await > 0.5
        })
        .await;
        ledger.settle(&app).await;
        assert_eq!(consents(&app).await, Some(41));
        assert!(app.log().contains("database has gone back"));
        books_balance(&app).await;
    }

    async fn database_gone_back_under_load_again_and_again_loses_and_doubles_nothing(backend) {
        let app = TestApp::start_with(backend, &[UNTHROTTLED, &[("WEIR_JOURNAL__SEGMENT_BYTES", "65536")]].concat()).await;
        let mut ledger = Ledger::of("database goes back under load", backend);
        let load = Load::start(&app, 8, "load");
        for times in 1..=scale(3, 12) {
            for database in BOTH {
                app.databases.keep_copy(database).await;
            }
            let at = app.metric("weir_writer_position{database=\"analytics\"}").await;
            app.until("sessions flow", async || {
                app.metric("weir_writer_position{database=\"analytics\"}").await > at + scale(500.0, 3000.0)
            })
            .await;
            for database in BOTH {
                app.databases.go_back(database).await;
            }
            let all = f64::from(times) - 0.5;
            app.until("both are brought up", async || {
                rewinds(&app, "analytics").await > all && rewinds(&app, "main").await > all
            })
            .await;
        }
        load.finish(&mut ledger).await;
        assert_eq!(ledger.refused(), 0);
        let records = app.metric("weir_writer_rewound_records_total{database=\"analytics\"}").await;
        ledger.note(format!("{records} records of analytics were gone and applied again"));
        ledger.settle(&app).await;
        books_balance(&app).await;
    }

    async fn database_restored_after_restarts_is_brought_up(backend) {
        let mut app = TestApp::start_with(backend, &[UNTHROTTLED, SMALL_SEGMENTS].concat()).await;
        let mut ledger = Ledger::of("database restored from a copy of three runs ago", backend);
        visits(&app, &mut ledger, "before", 10).await;
        consent(&app, "1").await;
        app.applied().await;
        for database in BOTH {
            app.databases.keep_copy(database).await;
        }
        for run in 0..3 {
            visits(&app, &mut ledger, &format!("run {run}"), 30).await;
            consent(&app, "2").await;
            app.applied().await;
            if run == 1 {
                app.kill();
            } else {
                app.stop().await;
            }
            if run == 2 {
                for database in BOTH {
                    app.databases.go_back(database).await;
                }
            }
            app.launch().await;
        }
        assert_eq!(consents(&app).await, Some(4));
        ledger.settle(&app).await;
        assert!(rewinds(&app, "analytics").await > 0.5 && rewinds(&app, "main").await > 0.5);
    }

    async fn sign_up_before_database_went_back_keeps_its_ids(backend) {
        let app = TestApp::start_with(backend, &[UNTHROTTLED, &[("WEIR_INTERNAL_KEY", "a key")]].concat()).await;
        let mut ledger = Ledger::of("database goes back behind a sign-up", backend);
        let bare = async |request: reqwest::RequestBuilder| -> Value {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200);
            serde_json::from_str(&response.text().await.unwrap()).unwrap()
        };
        let users = async || app.rows(Database::Main, "SELECT * FROM users ORDER BY id").await;
        visits(&app, &mut ledger, "before", 5).await;
        app.applied().await;
        app.databases.keep_copy(Database::Main).await;
        // A visitor who becomes a user by a code, and one whom another service makes.
        let visit = bare(app.post("/track/init", &json!({"userAgent": "one", "utmSource": "news"}))).await;
        let token = visit["token"].as_str().unwrap();
        bare(app.post("/auth/request-code", &json!({"email": "ann@example.org"}))).await;
        let start = "sign-in code for ann@example.org is ";
        app.until("the code is in the log", async || app.log().contains(start)).await;
        let code = app.log().split(start).nth(1).unwrap()[..6].to_owned();
        let proof = json!({"email": "ann@example.org", "code": code, "visitorToken": token});
        let signed_in = bare(app.post("/auth/verify", &proof)).await;
        let internal = json!({"id": "bob", "email": "bob@example.org"});
        let create = async || bare(app.post("/internal/v1/users", &internal).header("x-internal-key", "a key")).await;
        let created = create().await;
        assert_eq!((&signed_in["isNewUser"], &created["created"]), (&json!(true), &json!(true)));
        app.applied().await;
        let (before, visitors) = (users().await, app.rows(Database::Main, "SELECT * FROM visitors").await);
        assert_eq!(before.len(), 2);

        app.databases.go_back(Database::Main).await;
        let again = create().await;
        assert_eq!((&again["hashId"], &again["created"]), (&created["hashId"], &json!(false)), "made a second time");
        assert_eq!(users().await, before);
        let cleared = |mut rows: Vec<Value>| {
            for row in &mut rows {
                row["fingerprint"] = Value::Null;
            }
            rows
        };
        assert_eq!(cleared(app.rows(Database::Main, "SELECT * FROM visitors").await), cleared(visitors));
        let attribution = app.client.get(app.url("/api/v1/users/attribution"));
        let response = attribution.bearer_auth(signed_in["accessToken"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(rewinds(&app, "main").await > 0.5);
        ledger.settle(&app).await;
    }

    async fn batch_key_of_lost_item_is_answered_as_before(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut ledger = Ledger::of("database goes back behind a keyed item", backend);
        visits(&app, &mut ledger, "before", 5).await;
        app.applied().await;
        app.databases.keep_copy(Database::Analytics).await;
        let session = session_with(&json!({"landingPage": format!("{}keyed", ledger::PAGES)}));
        let batch = json!({"items": [{"type": "session", "key": "the key", "body": session}]});
        let send = async |app: &TestApp| -> Value {
            let response = app.post("/api/v1/analytics/batch", &batch).send().await.unwrap();
            serde_json::from_str(&response.text().await.unwrap()).unwrap()
        };
        let id = |answer: &Value| answer["data"]["results"][0]["data"]["id"].as_str().map(str::to_owned);
        let first = send(&app).await;
        let stored = id(&first).unwrap_or_else(|| panic!("{first}"));
        ledger.session(format!("{}keyed", ledger::PAGES), Some(stored.clone()));
        app.applied().await;
        app.databases.go_back(Database::Analytics).await;
        assert_eq!(id(&send(&app).await), Some(stored.clone()), "known to memory");
        app.until("it is brought up", async || rewinds(&app, "analytics").await > 0.5).await;
        app.applied().await;
        app.stop().await;
        app.databases.go_back(Database::Analytics).await;
        app.launch().await;
        let mut again = None;
        app.until("its key is known", async || {
            again = id(&send(&app).await);
            again.is_some()
        })
        .await;
        assert_eq!(again, Some(stored), "a start has not read the keys of a database that had gone back");
        ledger.settle(&app).await;
    }
}

/// Two servers, the second a standby of the first, and a Weir whose URLs name both.
async fn with_standby(standby_first: bool, variables: &[(&str, &str)]) -> (PostgresServer, PostgresStandby, TestApp) {
    let primary = PostgresServer::start();
    let mut app = TestApp::prepare_on(&primary.url).await;
    let standby = primary.standby();
    for database in ["analytics", "main"] {
        let url = if database == "main" { &app.databases.main_url } else { &app.databases.analytics_url };
        let (user, place) = url.rsplit_once('@').unwrap();
        let (host, name) = place.split_once('/').unwrap();
        let other = format!("127.0.0.1:{}", standby.port);
        let hosts = if standby_first { format!("{other},{host}") } else { format!("{host},{other}") };
        let url = format!("{user}@{hosts}/{name}");
        app.set(&format!("WEIR_{}_DATABASE_URL", database.to_uppercase()), &url);
    }
    app.set_all(UNTHROTTLED);
    app.set_all(variables);
    app.launch().await;
    (primary, standby, app)
}

fn follow_to(app: &mut TestApp, standby: &PostgresStandby) {
    let Databases { analytics_url, main_url, .. } = &mut app.databases;
    for url in [analytics_url, main_url] {
        *url = standby.url_like(url);
    }
}

async fn fails_over(standby_first: bool, variables: &[(&str, &str)], restarts: bool) {
    let (primary, standby, mut app) = with_standby(standby_first, variables).await;
    let mut ledger = Ledger::of("lagging standby of PostgreSQL promoted", Backend::Postgres);
    let position = async |app: &TestApp| app.metric("weir_writer_position{database=\"analytics\"}").await;
    visits(&app, &mut ledger, "before", 10).await;
    consent(&app, "1").await;
    app.applied().await;
    let load = Load::start(&app, 8, "load");
    app.until("sessions flow", async || position(&app).await > 200.0).await;
    standby.stop_following();
    let at = position(&app).await;
    app.until("the primary takes what the standby never gets", async || {
        position(&app).await > at + scale(1000.0, 3000.0)
    })
    .await;
    consent(&app, "2").await;
    if restarts {
        load.finish(&mut ledger).await;
        app.applied().await;
        for _ in 0..2 {
            app.kill();
            app.launch().await;
            visits(&app, &mut ledger, &format!("after {}", app.pid()), 20).await;
            app.applied().await;
        }
        primary.crash();
        standby.promote();
    } else {
        primary.crash();
        standby.promote();
        app.until("both are brought up", async || {
            rewinds(&app, "analytics").await > 0.5 && rewinds(&app, "main").await > 0.5
        })
        .await;
        load.finish(&mut ledger).await;
        assert_eq!(ledger.refused(), 0);
    }
    follow_to(&mut app, &standby);
    app.until("both are brought up", async || {
        rewinds(&app, "analytics").await > 0.5 && rewinds(&app, "main").await > 0.5
    })
    .await;
    app.until("consents are told", async || consents(&app).await.is_some()).await;
    assert_eq!(consents(&app).await, Some(2));
    let records = app.metric("weir_writer_rewound_records_total{database=\"analytics\"}").await;
    ledger.note(format!("{records} records of analytics were gone and applied again"));
    ledger.settle(&app).await;
    if !restarts {
        books_balance(&app).await;
    }
}

#[tokio::test]
async fn lagging_standby_promoted_under_load_loses_and_doubles_nothing() {
    fails_over(false, &[], false).await;
}

#[tokio::test]
async fn lagging_standby_promoted_with_small_segments_loses_and_doubles_nothing() {
    fails_over(true, SMALL_SEGMENTS, false).await;
}

#[tokio::test]
async fn lagging_standby_promoted_after_restarts_while_idle_loses_and_doubles_nothing() {
    fails_over(false, SMALL_SEGMENTS, true).await;
}

#[tokio::test]
async fn standby_that_did_not_lag_takes_over_without_rewind() {
    let (primary, standby, mut app) = with_standby(true, &[]).await;
    let mut ledger = Ledger::of("standby of PostgreSQL takes over in order", Backend::Postgres);
    visits(&app, &mut ledger, "before", 20).await;
    app.applied().await;
    primary.stop();
    standby.promote();
    visits(&app, &mut ledger, "after", 20).await;
    follow_to(&mut app, &standby);
    ledger.settle(&app).await;
    assert!(rewinds(&app, "analytics").await < 0.5 && rewinds(&app, "main").await < 0.5);
    assert!(app.log().contains("another postgres server accepts writes"));
}
