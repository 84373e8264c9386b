//! `/health/live` and `/health/ready`.

use serde_json::{Value, json};
use weir_testkit::raw_connection::{RawConnection, request};
use weir_testkit::{Backend, Database, TestApp, minimal_session, on_both_databases};

use crate::SESSION;

async fn ready(app: &TestApp) -> (u16, Value) {
    let response = app.client.get(app.url("/health/ready")).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

on_both_databases! {
    async fn health_of_running_server_is_live_and_ready(backend) {
        let app = TestApp::start(backend).await;
        let response = app.client.get(app.url("/health/live")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.json::<Value>().await.unwrap().is_object());
        let (status, body) = ready(&app).await;
        assert_eq!((status, &body["status"]), (200, &json!("ready")), "{body}");
        let components = body["components"].as_object().unwrap();
        for component in ["analytics_journal", "main_journal", "analytics_database", "main_database", "clock"] {
            assert!(components.contains_key(component), "{body}");
        }
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    }

    async fn health_with_failing_database_degrades_and_recovers(backend) {
        let app = TestApp::start(backend).await;
        let well = ready(&app).await.1["components"].clone();
        app.databases.execute(Database::Analytics, "ALTER TABLE analytics_sessions RENAME TO away").await;
        let id = app.create_session(&minimal_session()).await["id"].as_str().expect("durable").to_owned();
        app.until("it is degraded", async || {
            let (status, body) = ready(&app).await;
            assert_eq!(status, 200, "records are taken: {body}");
            body["status"] == json!("degraded")
        })
        .await;
        let (_, body) = ready(&app).await;
        assert_ne!(body["components"]["analytics_database"], well["analytics_database"], "{body}");
        for component in ["main_database", "main_journal", "analytics_journal"] {
            assert_eq!(body["components"][component], well[component], "{body}");
        }
        app.databases.execute(Database::Analytics, "ALTER TABLE away RENAME TO analytics_sessions").await;
        app.until("it is ready again", async || ready(&app).await.1["status"] == json!("ready")).await;
        app.session(&id).await;
    }
}

#[tokio::test]
async fn health_while_draining_is_503_and_requests_complete() {
    let mut app = TestApp::start(Backend::Sqlite).await;
    let whole = request("POST", SESSION, &[], minimal_session().to_string().as_bytes());
    let (first, rest) = whole.split_at(whole.len() - 5);
    let mut in_flight = RawConnection::open(&app);
    // The first request shows that a worker has the connection.
    in_flight.send(&whole);
    assert_eq!(in_flight.answer().expect("an answer").status, 200);
    in_flight.send(first);
    let mut asking = RawConnection::open(&app);
    asking.send(request("GET", "/health/ready", &[], b""));
    assert_eq!(asking.answer().expect("an answer").status, 200);
    app.signal("TERM");
    app.until("the stop has begun", async || app.log().contains("stopping")).await;
    // A connection that is still open hears the truth; one that is closed by now heard nothing wrong.
    if asking.try_send(request("GET", "/health/ready", &[], b"")).is_ok()
        && let Some(answer) = asking.answer()
    {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.body.contains("\"draining\""), "{answer:?}");
    }
    in_flight.send(rest);
    let answer = in_flight.answer().expect("what was in flight is answered");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(app.wait_for_exit().await.success());
    app.launch().await;
    app.applied().await;
    assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await, 2);
}
