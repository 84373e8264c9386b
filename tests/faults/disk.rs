//! A disk that fails, or takes its time: nothing is acknowledged that is not on it, and all is well again when the disk
//! is.

use weir_testkit::on_both_databases;

use super::*;

const POSITION: &str = "weir_journal_position{journal=\"analytics\"}";

/// What readiness is answered with.
pub async fn status(app: &TestApp) -> u16 {
    app.client.get(app.url("/health/ready")).send().await.unwrap().status().as_u16()
}

pub async fn takes_records(app: &TestApp) {
    let at = app.metric(POSITION).await;
    app.until("records are taken", async || app.metric(POSITION).await > at + 50.0).await;
}

/// Under load both journals fail at this point, with an I/O error and for want of room: nothing is acknowledged
/// meanwhile, and records are taken again as soon as the disk allows it.
async fn fails_and_recovers(point: &str, fault: &'static str, backend: Backend, variables: &[(&str, &str)]) {
    let (mut app, points) = prepared(backend).await;
    app.set_all(variables);
    app.launch().await;
    let mut ledger = Ledger::of(fault, backend);
    let load = Load::start(&app, 8, "disk");
    for errno in [5, 28] {
        takes_records(&app).await;
        points.arm(&[&format!("{point}=return({errno})")]);
        app.until("both journals fail", async || {
            let answer = app.client.get(app.url("/health/ready")).send().await.unwrap();
            let code = answer.status();
            let ready: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            let both = ["analytics_journal", "main_journal"].iter().all(|name| ready["components"][name] == "failing");
            // In one look: a journal that nobody writes to tries every half second whether its disk is back.
            assert!(!both || code == 503, "{code}: {ready}");
            both
        })
        .await;
        let at = app.metric(POSITION).await;
        let refused = app.outcomes("session", "unavailable").await;
        app.until("requests are refused", async || app.outcomes("session", "unavailable").await > refused + 20.0).await;
        assert!((app.metric(POSITION).await - at).abs() < f64::EPSILON, "nothing is durable");
        points.disarm();
        app.until("it is ready again", async || status(&app).await == 200).await;
    }
    takes_records(&app).await;
    // A fault that passes is over without anybody's doing.
    let refused = app.outcomes("session", "unavailable").await;
    points.arm(&[&format!("{point}=20*return(28)")]);
    app.until("requests are refused", async || app.outcomes("session", "unavailable").await > refused).await;
    takes_records(&app).await;
    app.until("it is ready again", async || readiness(&app).await["status"] == "ready").await;
    load.finish(&mut ledger).await;
    assert!(ledger.refused() > 40, "only {} refused", ledger.refused());
    ledger.settle(&app).await;
    ledger.refused_are_not_stored(&app).await;
}

on_both_databases! {
    async fn fsync_failure_acks_nothing_then_recovers(backend) {
        fails_and_recovers("journal.sync", "fsync fails", backend, &[]).await;
    }

    async fn segment_creation_failure_refuses_records_then_recovers(backend) {
        // So small that the next one is due all the time, the main journal's too.
        let variables = &[("WEIR_JOURNAL__SEGMENT_BYTES", "4096")];
        fails_and_recovers("journal.segment", "no new segment can be made", backend, variables).await;
    }
}

#[tokio::test]
async fn slow_disk_delays_replies_and_refuses_nothing() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set_all(UNTHROTTLED);
    let points = FailPoints::of(&mut app);
    points.arm(&["journal.sync=sleep(500)"]);
    app.launch().await;
    let mut ledger = Ledger::of("every fsync takes half a second", Backend::Sqlite);
    let load = Load::start(&app, 64, "slow");
    app.until("500 are acknowledged", async || app.metric(POSITION).await > 500.0).await;
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
}
