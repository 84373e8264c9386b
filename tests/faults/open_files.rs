//! Open files: whoever opens connections cannot take the ones that journals and databases need.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_testkit::raw_connection::{Answer, RawConnection, request};
use weir_testkit::{minimal_session, on_both_databases};

use super::*;

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, usize::from) as u64
}

/// What the server keeps back, as `SECURITY.md` has it.
fn reserve() -> u64 {
    224 + 16 * cores()
}

/// The id of a session made over this connection.
fn session_over(wire: &mut RawConnection) -> String {
    wire.send(request("POST", "/api/v1/analytics/session", &[], minimal_session().to_string().as_bytes()));
    let answer = wire.answer().expect("the connection was made in time");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["data"]["id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

fn get_over(wire: &mut RawConnection, path: &str) -> Answer {
    wire.send(request("GET", path, &[], b""));
    wire.answer().expect("an answer")
}

fn open_files(app: &TestApp) -> u64 {
    std::fs::read_dir(format!("/proc/{}/fd", app.pid())).unwrap().count() as u64
}

on_both_databases! {
    async fn connection_limit_reached_still_stores_and_applies_records(backend) {
        let connections = 20 * cores();
        let mut app = TestApp::prepare(backend).await;
        let limit = reserve() + connections;
        app.limit_open_files(limit);
        app.set("WEIR_THROTTLE__SESSION", "0");
        app.set("WEIR_JOURNAL__SEGMENT_BYTES", "4096");
        app.set("WEIR_JOURNAL__KEEP_APPLIED", "0");
        app.launch().await;
        assert!(app.log().contains(&format!("max_connections={connections} open_files={limit}")), "the start says so");
        let mut early = RawConnection::open(&app);
        let mut acknowledged = vec![session_over(&mut early)];

        // Five times as many as there can be: the first ones are served and then say nothing, the others wait.
        let flood: Vec<RawConnection> = (0..5 * connections).map(|_| {
            let mut wire = RawConnection::open(&app);
            wire.send(request("GET", "/health/live", &[], b""));
            wire
        }).collect();
        let full = format!("weir_connections {connections}\n");
        app.until("no connection is left", async || get_over(&mut early, "/metrics").body.contains(&full)).await;
        let patience = Duration::from_millis(300);
        let late = app.client.get(app.url("/health/live")).timeout(patience).send().await;
        assert!(late.is_err_and(|error| error.is_timeout()), "there was still a connection");

        for _ in 0..60 {
            acknowledged.push(session_over(&mut early));
        }
        let applied = "weir_writer_lag_records{database=\"analytics\"} 0\n";
        app.until("they are applied", async || get_over(&mut early, "/metrics").body.contains(applied)).await;
        let released = app.data_dir().join("journal/analytics/released");
        app.until("segments were made and deleted", async || released.exists()).await;
        assert!(open_files(&app) + 100 < limit, "{} of {limit} files are open", open_files(&app));
        assert!(!app.log().contains("open files"), "something found no file left");

        drop(flood);
        app.still_serves().await;
        app.applied().await;
        let rows = app.rows(Database::Analytics, "SELECT id FROM analytics_sessions").await;
        let stored: BTreeSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert!(acknowledged.iter().all(|id| stored.contains(id.as_str())));
    }
}

#[tokio::test]
async fn connection_limit_above_fd_limit_refuses_start() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.limit_open_files(reserve() + 50);
    for command in [&[][..], &["check"]] {
        let refused = app.run_with(command, &[("WEIR_MAX_CONNECTIONS", "51")]).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("max_connections = 51 is more than there can be"), "{refused:?}");
        assert!(refused.stderr.contains("at most 50 connections"), "{refused:?}");
    }
    assert_eq!(app.run_with(&["check"], &[("WEIR_MAX_CONNECTIONS", "50")]).await.code, Some(0));
    app.limit_open_files(reserve());
    for command in [&[][..], &["check"]] {
        let refused = app.run(command).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("no connection is left; raise the limit"), "{refused:?}");
    }
    for value in ["0", "-1", "many", "1000001"] {
        let refused = app.run_with(&["check"], &[("WEIR_MAX_CONNECTIONS", value)]).await;
        assert!(refused.code == Some(2) && refused.stderr.contains("a number from 1 to 1000000"), "{refused:?}");
    }
}

#[tokio::test]
async fn connection_limit_below_core_count_still_serves() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set("WEIR_MAX_CONNECTIONS", "1");
    app.launch().await;
    let mut only = RawConnection::open(&app);
    session_over(&mut only);
    let mut next = RawConnection::open(&app);
    next.send(request("GET", "/health/live", &[], b""));
    session_over(&mut only);
    drop(only);
    assert_eq!(next.answer().expect("its turn has come").status, 200);
}
