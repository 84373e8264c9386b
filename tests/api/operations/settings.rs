//! `weir settings` and `weir migrate`: commands that open a database.

use weir_testkit::{Database, TestApp, on_both_databases};

const KEYS: [(&str, &str); 3] = [
    ("legal.privacy_version", "1.0"),
    ("analytics.tracking_enabled", "true"),
    ("analytics.max_event_data_bytes", "10000"),
];

async fn get(app: &TestApp, key: &str) -> String {
    let printed = app.run(&["settings", "get", key]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    printed.stdout.trim_end_matches('\n').to_owned()
}

on_both_databases! {
    async fn settings_set_by_command_are_read_back(backend) {
        // No server has ever run: the command makes what it needs.
        let app = TestApp::prepare(backend).await;
        for (key, default) in KEYS {
            assert_eq!(get(&app, key).await, default);
        }
        for (key, value) in [
            ("legal.privacy_version", "2.1"),
            ("legal.privacy_version", "2.2 draft"),
            ("analytics.tracking_enabled", "false"),
            ("analytics.max_event_data_bytes", "65536"),
        ] {
            let set = app.run(&["settings", "set", key, value]).await;
            assert_eq!(set.code, Some(0), "{set:?}");
            assert_eq!(get(&app, key).await, value);
        }
        let list = app.run(&["settings", "list"]).await;
        assert_eq!(list.code, Some(0));
        for part in ["legal.privacy_version = 2.2 draft", "analytics.tracking_enabled = false", "default 10000"] {
            assert!(list.stdout.contains(part), "{}", list.stdout);
        }
        assert_eq!(app.databases.count(Database::Main, "SELECT count(*) FROM settings").await, 3);
    }

    async fn settings_unknown_or_invalid_are_refused(backend) {
        let app = TestApp::prepare(backend).await;
        let migrated = app.run(&["migrate"]).await;
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
        for arguments in [["get", "legal.privacy", ""], ["set", "legal.privacy", "1"], ["set", "", "1"]] {
            let arguments = if arguments[0] == "get" { &arguments[..2] } else { &arguments[..] };
            let refused = app.run(&[&["settings"], arguments].concat()).await;
            assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:?}");
            assert!(refused.stderr.contains("there is no setting"), "{refused:?}");
        }
        for (key, value) in [
            ("analytics.tracking_enabled", "yes"),
            ("analytics.tracking_enabled", ""),
            ("analytics.max_event_data_bytes", "0"),
            ("analytics.max_event_data_bytes", "many"),
            ("analytics.max_event_data_bytes", "99999999999"),
            ("legal.privacy_version", ""),
        ] {
            let refused = app.run(&["settings", "set", key, value]).await;
            assert_eq!(refused.code, Some(2), "{key} = {value}: {refused:?}");
            assert!(refused.stderr.contains(key), "{refused:?}");
        }
        assert_eq!(app.databases.count(Database::Main, "SELECT count(*) FROM settings").await, 0);
        assert_eq!(app.run(&["settings", "set", "legal.privacy_version", "3"]).await.code, Some(0));
        assert_eq!(app.databases.count(Database::Main, "SELECT count(*) FROM settings").await, 1);
    }

    async fn migrate_run_twice_changes_nothing(backend) {
        let mut app = TestApp::prepare(backend).await;
        for _ in 0..2 {
            let migrated = app.run(&["migrate"]).await;
            assert_eq!(migrated.code, Some(0), "{migrated:?}");
            assert_eq!(migrated.stdout.matches("is up to date").count(), 2, "{migrated:?}");
        }
        app.launch().await;
        app.still_serves().await;
        // Beside a server that runs, too.
        assert_eq!(app.run(&["migrate"]).await.code, Some(0));
        assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await, 1);
    }
}
