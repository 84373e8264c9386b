//! `PATCH /api/v1/analytics/session/:id/heartbeat`: the visit goes on.

use weir_testkit::time;

use super::*;

on_both_databases! {
    async fn heartbeat_adds_thirty_seconds_and_updates_last_activity(backend) {
        let app = TestApp::start(backend).await;
        let (session, other) = (begun(&app).await, begun(&app).await);
        let untouched = app.session(&other).await;
        let mut before = app.session(&session).await;
        assert_eq!((&before["duration"], &before["last_activity_at"]), (&json!(0), &before["started_at"]));
        for beats in 1..=3 {
            let sent = chrono::Utc::now();
            done(patch(&app, &heartbeat_of(&session))).await;
            let mut after = app.session(&session).await;
            assert_eq!(after["duration"], json!(30 * beats));
            let active = time(&after["last_activity_at"]);
            assert!(active >= time(&before["last_activity_at"]), "{after}");
            let within = sent.timestamp_millis()..=chrono::Utc::now().timestamp_millis();
            assert!(within.contains(&active.timestamp_millis()), "{after}");
            for column in ["duration", "last_activity_at"] {
                (before[column], after[column]) = (after[column].clone(), after[column].clone());
            }
            assert_eq!(before, after, "nothing else changes");
        }
        assert_eq!(app.session(&other).await, untouched);
    }
}

#[tokio::test]
async fn heartbeat_with_any_id_and_body_gets_same_response() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let session = begun(&app).await;
    for id in [UNKNOWN, "d9428888-122b-41e1-b85c-61d2e8b8a5f3", "ffffffff-ffff-ffff-ffff-ffffffffffff"] {
        done(patch(&app, &heartbeat_of(id))).await;
    }
    let before = journalled(&app).await;
    for id in NO_UUIDS {
        done(patch(&app, &heartbeat_of(id))).await;
    }
    assert!((journalled(&app).await - before).abs() < f64::EPSILON, "what is nobody's id was journalled");
    done(patch(&app, &heartbeat_of(&session)).header("content-type", "image/png").body("{{{")).await;
    done(patch(&app, &heartbeat_of(&session.to_uppercase())).json(&json!({"duration": 9}))).await;
    assert_eq!(app.session(&session).await["duration"], json!(60));
    assert_eq!(count(&app, "analytics_sessions").await, 1, "an unknown session is not made");
}
