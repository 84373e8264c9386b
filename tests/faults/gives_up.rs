//! What panics too often ends the process: in order, not with success, and nobody is told that it is ready meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use weir_testkit::raw_connection::{RawConnection, request};
use weir_testkit::{PATIENCE, minimal_session, on_both_databases};

use super::*;

/// A part that panics whenever it works ends the process within its budget, in order and not with success.
async fn gives_up(point: &str, part: &str, backend: Backend) {
    let (mut app, points) = prepared(backend).await;
    // A writer that has failed for good applies nothing more: no use in waiting for it long.
    app.set("WEIR_SHUTDOWN_TIMEOUT_SECONDS", "4");
    app.launch().await;
    let mut ledger = Ledger::of("a part panics beyond its budget", backend);
    ledger.note(part);
    let load = Load::start(&app, 8, part);
    app.until("sessions flow", async || app.metric("weir_journal_position{journal=\"analytics\"}").await > 50.0).await;
    points.arm(&[&format!("{point}=panic")]);
    let status = app.wait_for_exit().await;
    assert_eq!(status.code(), Some(1), "{status}");
    assert!(app.log().contains("actor failed too often, giving up"));
    load.finish(&mut ledger).await;
    points.disarm();
    app.launch().await;
    ledger.settle(&app).await;
}

on_both_databases! {
    async fn restart_budget_spent_by_analytics_writer_ends_process(backend) {
        gives_up("actor.analytics_writer", "analytics_writer", backend).await;
    }
}

#[tokio::test]
async fn restart_budget_spent_by_main_writer_ends_process() {
    gives_up("actor.main_writer", "main_writer", Backend::Sqlite).await;
}

#[tokio::test]
async fn restart_budget_spent_by_segment_collector_ends_process() {
    gives_up("actor.analytics_segment_collector", "analytics_segment_collector", Backend::Sqlite).await;
}

#[tokio::test]
async fn restart_budget_spent_by_journal_ends_process() {
    gives_up("journal.sync", "analytics_journal", Backend::Sqlite).await;
}

/// The statuses that one question is answered with, again and again, over a connection that only the server ends.
fn answers(app: &TestApp, question: Vec<u8>) -> impl Iterator<Item = u16> + use<> {
    let (mut wire, began) = (RawConnection::open(app), Instant::now());
    std::iter::from_fn(move || {
        if began.elapsed() > PATIENCE || wire.try_send(&question).is_err() {
            return None;
        }
        wire.answer().map(|answer| answer.status)
    })
}

/// A process gives up while many ask whether it is ready. After the first no there is no yes; whether there was one.
async fn said_no_before_it_ended() -> bool {
    let (mut app, points) = prepared(Backend::Sqlite).await;
    app.set("WEIR_LOG", "info");
    app.set("WEIR_SHUTDOWN_TIMEOUT_SECONDS", "1");
    app.launch().await;
    let given_up = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (mut told, given_up) = (answers(&app, request("GET", "/health/ready", &[], b"")), Arc::clone(&given_up));
        clients.push(std::thread::spawn(move || {
            loop {
                // Whether somebody was told no before this one asks.
                let is_over = given_up.load(Ordering::SeqCst);
                let Some(status) = told.next() else { return };
                assert!(status == 503 || (status == 200 && !is_over), "{status} after a 503");
                given_up.fetch_or(status == 503, Ordering::SeqCst);
            }
        }));
    }
    // The writer needs something to do.
    let visit = request("POST", "/api/v1/analytics/session", &[], minimal_session().to_string().as_bytes());
    let visits = answers(&app, visit);
    clients.push(std::thread::spawn(move || visits.for_each(|_| {})));
    points.arm(&["actor.analytics_writer=panic"]);
    assert_eq!(app.wait_for_exit().await.code(), Some(1));
    assert!(app.log().contains("actor failed too often, giving up"));
    for client in clients {
        client.join().unwrap();
    }
    given_up.load(Ordering::SeqCst)
}

#[tokio::test]
async fn readiness_once_restart_budget_is_spent_stays_unavailable() {
    // Between the decision and the end of its connections lies a moment: somebody must ask just then.
    for _ in 0..20 {
        if said_no_before_it_ended().await {
            return;
        }
    }
    panic!("nobody was ever told that it is not ready");
}
