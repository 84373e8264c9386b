//! Records that an operator's own rules stop, and not by a constraint: one is set aside beside those that pass, and where none
//! passes the writer waits, says why, and keeps everything.

use weir_testkit::on_both_databases;

use super::disk::takes_records;
use super::ledger::PAGES;
use super::*;

/// From now on an error of no particular kind ends each insert into this table where the column has one of these values.
async fn raise(app: &TestApp, database: Database, table: &str, condition: &str) {
    let sql = match app.databases.backend {
        Backend::Postgres => format!(
            "CREATE FUNCTION no_poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF {condition} THEN RAISE EXCEPTION 'not %', NEW.id; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER no_poison BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION no_poison()"
        ),
        Backend::Sqlite => format!(
            "CREATE TRIGGER no_poison BEFORE INSERT ON {table} WHEN {condition}
             BEGIN SELECT json_extract('{{', '$'); END"
        ),
    };
    app.databases.execute(database, &sql).await;
}

async fn raise_no_more(app: &TestApp, table: &str) {
    let sql = match app.databases.backend {
        Backend::Postgres => format!("DROP TRIGGER no_poison ON {table}"),
        Backend::Sqlite => "DROP TRIGGER no_poison".to_owned(),
    };
    app.databases.execute(Database::Analytics, &sql).await;
}

async fn letters(app: &TestApp, database: &str) -> f64 {
    app.metric(&format!("weir_dead_letters_total{{database=\"{database}\",reason=\"refused\"}}")).await
}

fn code(backend: Backend) -> &'static str {
    if backend == Backend::Postgres { "code P0001, raised by no_poison()" } else { "code 1" }
}

on_both_databases! {
    async fn record_that_trigger_raises_for_is_set_aside_and_rest_is_stored(backend) {
        let count = scale(3, 200);
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        raise(&app, Database::Analytics, "analytics_sessions", "NEW.landing_page LIKE '%poison%'").await;
        raise(&app, Database::Main, "funnel_events", "NEW.event LIKE 'poison%'").await;
        let mut ledger = Ledger::of("a trigger raises for some records", backend);
        let load = Load::start(&app, 8, "good");
        takes_records(&app).await;
        for number in 0..count {
            let page = format!("https://example.org/poison/{number}");
            assert!(app.create_session(&session_with(&json!({"landingPage": page}))).await["id"].is_string());
            let event = app.post("/api/v1/analytics/track", &json!({"event": format!("poison-{number}")}));
            let tracked = event.bearer_auth(weir_testkit::access_token("poisoner")).send().await.unwrap();
            assert_eq!(weir_testkit::data(tracked).await, json!({"tracked": true}));
        }
        takes_records(&app).await;
        load.finish(&mut ledger).await;
        ledger.settle(&app).await;
        for database in ["analytics", "main"] {
            let letters = letters(&app, database).await;
            assert!((letters - f64::from(count)).abs() < f64::EPSILON, "{letters} dead letters of {database}");
            let kept = std::fs::read_to_string(app.data_dir().join(format!("journal/{database}/dead-letters"))).unwrap();
            assert_eq!(kept.matches(code(backend)).count(), usize::try_from(count).unwrap(), "{kept}");
        }
        assert_eq!(readiness(&app).await["status"], "ready");
    }

    async fn trigger_that_raises_for_all_blocks_writer_and_sets_nothing_aside(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        raise(&app, Database::Analytics, "analytics_sessions", "NEW.id IS NOT NULL").await;
        let mut ledger = Ledger::of("a trigger raises for all records", backend);
        let load = Load::start(&app, 8, "all");
        app.until("the writer is blocked", async || {
            readiness(&app).await["components"]["analytics_database"] == "blocked"
        })
        .await;
        // It judges larger batches meanwhile.
        for _ in 0..scale(3, 30) {
            takes_records(&app).await;
        }
        let ready = readiness(&app).await;
        assert_eq!((&ready["status"], &ready["components"]["main_database"]), (&json!("degraded"), &json!("ok")), "{ready}");
        let reason = ready["reasons"]["analytics_database"].as_str().unwrap();
        assert!(reason.contains(code(backend)), "{reason}");
        assert!(letters(&app, "analytics").await < 1.0, "it is the database, and not the records");
        raise_no_more(&app, "analytics_sessions").await;
        app.until("the writer goes on", async || readiness(&app).await["status"] == "ready").await;
        assert!(readiness(&app).await["reasons"].is_null());
        load.finish(&mut ledger).await;
        ledger.settle(&app).await;
    }
}

/// Sends a batch of sessions, many of which are copied.
async fn bring(app: &TestApp, ledger: &mut Ledger, tag: usize) {
    let pages: Vec<String> = (0..100).map(|number| format!("{PAGES}copied/{tag}/{number}")).collect();
    let item = |page: &String| json!({"type": "session", "body": session_with(&json!({"landingPage": page}))});
    let items: Vec<Value> = pages.iter().map(item).collect();
    let answer = app.post("/api/v1/analytics/batch", &json!({"items": items})).send().await.unwrap();
    let answer = weir_testkit::data(answer).await;
    for (page, result) in pages.into_iter().zip(answer["results"].as_array().unwrap()) {
        ledger.session(page, result["data"]["id"].as_str().map(str::to_owned));
    }
}

#[tokio::test]
async fn column_of_another_type_is_written_without_copy() {
    let app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    let mut ledger = Ledger::of("columns widened under the writer", Backend::Postgres);
    let load = Load::start(&app, 4, "wide");
    takes_records(&app).await;
    for change in [
        "ALTER TABLE analytics_sessions ALTER screen_width TYPE bigint, ALTER page_views TYPE bigint, ALTER duration TYPE bigint",
        "ALTER TABLE analytics_sessions ALTER city TYPE varchar(200), ALTER user_id TYPE varchar(500)",
        "ALTER TABLE analytics_pageviews ALTER duration TYPE numeric, ALTER scroll_depth TYPE real",
    ] {
        app.databases.execute(Database::Analytics, change).await;
        takes_records(&app).await;
    }
    let mut tag = 0;
    app.until("a batch was as large as those that are copied", async || {
        for _ in 0..10 {
            bring(&app, &mut ledger, tag).await;
            tag += 1;
        }
        app.log().contains("takes no binary COPY")
    })
    .await;
    takes_records(&app).await;
    load.finish(&mut ledger).await;
    ledger.settle(&app).await;
    assert_eq!(readiness(&app).await["status"], "ready");
    assert!(letters(&app, "analytics").await < 1.0);
}
