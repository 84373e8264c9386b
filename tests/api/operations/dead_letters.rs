//! `weir dead-letters`: what a database refused gets its second chance, once.

use serde_json::{Value, json};
use weir_testkit::{Backend, Database, TestApp, UNTHROTTLED, access_token, data, minimal_session, on_both_databases};

use crate::CONSENT;

/// From now on the database takes no heartbeat.
async fn refuse_heartbeats(app: &TestApp, refused: bool) {
    let sql = match (app.databases.backend, refused) {
        (Backend::Postgres, true) => {
            "ALTER TABLE analytics_sessions ADD CONSTRAINT no_time CHECK (duration = 0) NOT VALID"
        }
        (Backend::Postgres, false) => "ALTER TABLE analytics_sessions DROP CONSTRAINT no_time",
        (Backend::Sqlite, true) => {
            "CREATE TRIGGER no_time BEFORE UPDATE ON analytics_sessions WHEN NEW.duration <> 0
             BEGIN SELECT RAISE(ABORT, 'no time'); END"
        }
        (Backend::Sqlite, false) => "DROP TRIGGER no_time",
    };
    app.databases.execute(Database::Analytics, sql).await;
}

/// From now on the database takes no consent to marketing.
async fn refuse_marketing(app: &TestApp, refused: bool) {
    let sql = match (app.databases.backend, refused) {
        (Backend::Postgres, true) => {
            "ALTER TABLE consent_records ADD CONSTRAINT no_marketing CHECK (preferences ->> 'marketing' = 'false')"
        }
        (Backend::Postgres, false) => "ALTER TABLE consent_records DROP CONSTRAINT no_marketing",
        (Backend::Sqlite, true) => {
            "CREATE TRIGGER no_marketing BEFORE INSERT ON consent_records WHEN NEW.preferences ->> 'marketing'
             BEGIN SELECT RAISE(ABORT, 'no marketing'); END"
        }
        (Backend::Sqlite, false) => "DROP TRIGGER no_marketing",
    };
    app.databases.execute(Database::Main, sql).await;
}

/// Saves a choice of the policy's version of now.
async fn save_consent(app: &TestApp, marketing: bool) {
    let choice = json!({"analytics": false, "marketing": marketing, "functional": false});
    let response = app.post(CONSENT, &choice).bearer_auth(access_token("ann")).send().await.unwrap();
    assert_eq!(data(response).await, json!({"saved": true}));
}

async fn told(app: &TestApp, path: &str) -> Value {
    data(app.client.get(app.url(path)).bearer_auth(access_token("ann")).send().await.unwrap()).await
}

/// A session whose heartbeat is a dead letter; its id, and the letter's position.
pub async fn with_a_letter(app: &TestApp) -> (String, u64) {
    refuse_heartbeats(app, true).await;
    let session = app.create_session(&minimal_session()).await["id"].as_str().unwrap().to_owned();
    // Both in one batch would become one row, and no heartbeat would be left to be refused.
    app.applied().await;
    let path = format!("/api/v1/analytics/session/{session}/heartbeat");
    assert_eq!(app.client.patch(app.url(&path)).send().await.unwrap().status(), 200);
    app.applied().await;
    let letters = letters(app).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((&letters[0]["database"], &letters[0]["reason"]), (&json!("analytics"), &json!("refused")));
    (session, letters[0]["position"].as_u64().unwrap())
}

async fn letters(app: &TestApp) -> Vec<Value> {
    let listed = app.run(&["dead-letters", "list", "--json"]).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn waiting(app: &TestApp) -> f64 {
    app.metric("weir_dead_letters_waiting{database=\"analytics\"}").await
}

async fn duration(app: &TestApp, session: &str) -> Value {
    app.session(session).await["duration"].clone()
}

on_both_databases! {
    async fn dead_letter_replayed_after_repair_is_applied_once(backend) {
        let app = TestApp::start(backend).await;
        let (session, position) = with_a_letter(&app).await;
        let position = position.to_string();
        let refused = app.run(&["dead-letters", "replay", "analytics", &position]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stdout.contains("kept: record refused"), "{refused:?}");
        assert_eq!((letters(&app).await.len(), duration(&app, &session).await), (1, json!(0)));
        app.until("it is counted as waiting", async || waiting(&app).await > 0.5).await;

        refuse_heartbeats(&app, false).await;
        let applied = app.run(&["dead-letters", "replay", "analytics", "--all"]).await;
        assert_eq!((applied.code, applied.stdout.trim()), (Some(0), format!("{position} applied").as_str()));
        assert_eq!((letters(&app).await.len(), duration(&app, &session).await), (0, json!(30)));
        app.until("none waits any more", async || waiting(&app).await < 0.5).await;
        let gone = app.run(&["dead-letters", "replay", "analytics", &position]).await;
        assert_eq!(gone.code, Some(2), "{gone:?}");
        let positions = "SELECT count(*) AS n FROM journal_positions";
        assert_eq!(app.databases.count(Database::Analytics, positions).await, 1, "nothing is left behind");
        app.still_serves().await;
    }

    async fn consent_replayed_from_dead_letter_is_not_newest(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        save_consent(&app, false).await;
        app.applied().await;
        refuse_marketing(&app, true).await;
        save_consent(&app, true).await;
        app.applied().await;
        assert_eq!(letters(&app).await.len(), 1);
        // The user agrees to a later version in the meantime, and that stays what holds.
        assert_eq!(app.run(&["settings", "set", "legal.privacy_version", "2.0"]).await.code, Some(0));
        let status = async || told(&app, "/api/v1/consent/cookies/status").await;
        app.until("the new version holds", async || status().await["currentVersion"] == "2.0").await;
        save_consent(&app, false).await;
        refuse_marketing(&app, false).await;
        assert_eq!(app.run(&["dead-letters", "replay", "main", "--all"]).await.code, Some(0));
        assert_eq!(
            status().await,
            json!({"currentVersion": "2.0", "userVersion": "2.0", "requiresReConsent": false})
        );
        let history = told(&app, "/api/v1/users/consent").await;
        let versions: Vec<&Value> = history.as_array().unwrap().iter().map(|entry| &entry["documentVersion"]).collect();
        assert_eq!(versions, ["2.0", "1.0", "1.0"]);
        let times: Vec<&str> =
            history.as_array().unwrap().iter().map(|entry| entry["createdAt"].as_str().unwrap()).collect();
        assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    }

    async fn dead_letter_applied_but_not_removed_is_not_reapplied(backend) {
        let app = TestApp::start(backend).await;
        let (session, _) = with_a_letter(&app).await;
        refuse_heartbeats(&app, false).await;
        let in_the_way = app.data_dir().join("journal/analytics/dead-letters.new");
        std::fs::create_dir(&in_the_way).unwrap();
        let cut_off = app.run(&["dead-letters", "replay", "analytics", "--all"]).await;
        assert!(cut_off.code == Some(1) && cut_off.stdout.contains("could not be taken out"), "{cut_off:?}");
        assert_eq!((letters(&app).await.len(), duration(&app, &session).await), (1, json!(30)));
        std::fs::remove_dir(&in_the_way).unwrap();
        assert_eq!(app.run(&["dead-letters", "replay", "analytics", "--all"]).await.code, Some(0));
        assert_eq!((letters(&app).await.len(), duration(&app, &session).await), (0, json!(30)));
    }

    async fn dead_letter_beyond_applied_position_is_retried_by_applier(backend) {
        let mut app = TestApp::start(backend).await;
        let (session, position) = with_a_letter(&app).await;
        app.stop().await;
        // As if the process had died between writing the letter and moving the position.
        let back = format!("UPDATE journal_positions SET position = {}, writer = ''", position - 1);
        app.databases.execute(Database::Analytics, &back).await;
        refuse_heartbeats(&app, false).await;
        let early = app.run(&["dead-letters", "replay", "analytics", "--all"]).await;
        assert!(early.code == Some(1) && early.stdout.contains("judge it again"), "{early:?}");
        app.launch().await;
        assert_eq!(duration(&app, &session).await, json!(30));
        assert_eq!(letters(&app).await.len(), 0, "it is no letter any more");
        assert_eq!(app.run(&["dead-letters", "replay", "analytics", "--all"]).await.code, Some(0));
        assert_eq!(duration(&app, &session).await, json!(30));
    }
}

#[tokio::test]
async fn dead_letter_can_be_listed_shown_and_dropped() {
    let app = TestApp::start(Backend::Sqlite).await;
    let (session, position) = with_a_letter(&app).await;
    let position = position.to_string();
    let text = app.run(&["dead-letters", "list", "analytics"]).await.stdout;
    assert!(text.starts_with(&format!("analytics {position}  ")) && text.contains("refused"), "{text}");
    assert_eq!(app.run(&["dead-letters", "list", "main"]).await.stdout, "");
    let shown = app.run(&["dead-letters", "show", "analytics", &position]).await.stdout;
    assert!(shown.contains("Heartbeat") && shown.contains(&session), "{shown}");
    for unclear in [&["dead-letters", "drop", "analytics"][..], &["dead-letters", "drop", "analytics", "1", "--all"]] {
        assert_eq!(app.run(unclear).await.code, Some(2), "{unclear:?}");
    }
    assert_eq!(app.run(&["dead-letters", "drop", "analytics", &position]).await.code, Some(0));
    assert_eq!(letters(&app).await.len(), 0);
    let again = app.create_session(&minimal_session()).await["id"].as_str().unwrap().to_owned();
    // In one batch with its session a heartbeat updates nothing, and is not refused.
    app.applied().await;
    let path = format!("/api/v1/analytics/session/{again}/heartbeat");
    app.client.patch(app.url(&path)).send().await.unwrap();
    app.applied().await;
    assert_eq!(letters(&app).await.len(), 1, "the server goes on adding letters");
}
