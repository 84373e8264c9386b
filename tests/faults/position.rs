//! A database and a journal that do not belong together are noticed and named, never skipped or applied twice.

use std::sync::Arc;

use weir_journal::{JournalOptions, SegmentStorage, Storage};
use weir_testkit::{Databases, on_both_databases};

use super::*;

/// Where the analytics database stands in its only journal.
async fn stands(app: &TestApp) -> i64 {
    app.databases.count(Database::Analytics, "SELECT position AS n FROM journal_positions").await
}

async fn moved_to(app: &TestApp, position: i64) {
    app.databases.execute(Database::Analytics, &format!("UPDATE journal_positions SET position = {position}")).await;
}

async fn halted(app: &TestApp, reason: &str) {
    app.until("the writer halts", async || {
        let ready = app.client.get(app.url("/health/ready")).send().await.unwrap();
        let ready: Value = serde_json::from_str(&ready.text().await.unwrap()).unwrap();
        ready["components"]["analytics_database"] == "halted"
    })
    .await;
    // It is halted a moment before it says so.
    app.until(reason, async || app.log().contains(reason)).await;
}

const SESSIONS: &str = "SELECT count(*) AS n FROM analytics_sessions";

/// The databases of the server, but with another, empty analytics database.
async fn another(app: &TestApp, directory: &std::path::Path) -> Databases {
    let fresh = Databases::fresh(app.databases.backend, directory).await;
    Databases { analytics_url: fresh.analytics_url, ..app.databases.clone() }
}

fn copy_directory(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

on_both_databases! {
    async fn fencing_position_moved_elsewhere_halts_writer_until_cleared(backend) {
        let mut app = TestApp::start(backend).await;
        let mut ledger = Ledger::of("position moved by somebody else", backend);
        visit(&app, &mut ledger, "before").await;
        app.applied().await;
        // What a second instance on a copy of the data directory would do.
        app.databases.execute(Database::Analytics, "UPDATE journal_positions SET position = position + 5, writer = 'another'").await;
        let created = visit(&app, &mut ledger, "after").await.expect("intake goes on");
        halted(&app, "copy of this data directory").await;
        app.kill();
        app.launch().await;
        halted(&app, "copy of this data directory").await;
        // An operator looks, and says so by clearing the name.
        app.databases.execute(Database::Analytics, "UPDATE journal_positions SET position = position - 5, writer = ''").await;
        app.session(&created).await;
        ledger.settle(&app).await;
    }

    async fn fencing_database_restored_from_older_copy_halts_writer(backend) {
        let mut app = TestApp::prepare(backend).await;
        app.set("WEIR_JOURNAL__SEGMENT_BYTES", "4096");
        app.set("WEIR_JOURNAL__KEEP_APPLIED", "0");
        app.set("WEIR_THROTTLE__SESSION", "0");
        app.launch().await;
        let mut ledger = Ledger::of("database restored from an older copy", backend);
        for number in 0..60 {
            visit(&app, &mut ledger, &number.to_string()).await;
        }
        app.until("applied segments are deleted", async || app.data_dir().join("journal/analytics/released").exists()).await;
        app.applied().await;
        let position = stands(&app).await;
        app.stop().await;
        moved_to(&app, 1).await;
        app.launch().await;
        halted(&app, "restored from an older copy").await;
        assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) AS n FROM analytics_sessions").await, 60);
        // The newer copy, after all.
        moved_to(&app, position).await;
        ledger.settle(&app).await;
    }

    async fn fencing_database_moved_back_while_running_halts_writer(backend) {
        let variables =
            [("WEIR_JOURNAL__SEGMENT_BYTES", "4096"), ("WEIR_JOURNAL__KEEP_APPLIED", "0"), ("WEIR_THROTTLE__SESSION", "0")];
        let app = TestApp::start_with(backend, &variables).await;
        let mut ledger = Ledger::of("database steps back under a running server", backend);
        for number in 0..60 {
            visit(&app, &mut ledger, &number.to_string()).await;
        }
        app.until("applied segments are deleted", async || app.data_dir().join("journal/analytics/released").exists()).await;
        app.applied().await;
        let position = stands(&app).await;
        moved_to(&app, 1).await;
        visit(&app, &mut ledger, "after").await.expect("intake goes on");
        halted(&app, "restored from an older copy").await;
        assert!(!app.data_dir().join("journal/analytics/dead-letters").exists(), "nothing was skipped");
        moved_to(&app, position).await;
        ledger.settle(&app).await;
    }

    async fn fencing_older_data_directory_copy_halts_writer(backend) {
        let mut app = TestApp::start_with(backend, &[("WEIR_THROTTLE__SESSION", "0")]).await;
        let mut ledger = Ledger::of("older copy of the data directory", backend);
        for number in 0..3 {
            visit(&app, &mut ledger, &format!("before {number}")).await;
        }
        app.applied().await;
        app.stop().await;
        let (journal, copy) = (app.data_dir().join("journal/analytics"), app.data_dir().join("copy"));
        copy_directory(&journal, &copy);
        let stood = stands(&app).await;
        app.launch().await;
        for number in 0..10 {
            visit(&app, &mut ledger, &format!("after {number}")).await;
        }
        app.applied().await;
        app.stop().await;
        std::fs::remove_dir_all(&journal).unwrap();
        std::fs::rename(&copy, &journal).unwrap();
        app.launch().await;
        halted(&app, "copy of this data directory").await;
        // Somebody clears the name, and does not see that the copy is the older one.
        app.databases.execute(Database::Analytics, "UPDATE journal_positions SET writer = ''").await;
        visit(&app, &mut ledger, "on the copy").await.expect("intake goes on");
        halted(&app, "older copy of the data directory").await;
        moved_to(&app, stood).await;
        ledger.settle(&app).await;
    }

    async fn another_empty_database_halts_writer_until_it_is_accepted(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut ledger = Ledger::of("url names another, empty database", backend);
        for number in 0..20 {
            visit(&app, &mut Ledger::of("", backend), &format!("before {number}")).await.expect("it is taken");
        }
        app.applied().await;
        app.stop().await;
        let (before, elsewhere) = (app.databases.clone(), tempfile::tempdir().unwrap());
        app.databases = another(&app, elsewhere.path()).await;
        app.set("WEIR_ANALYTICS_DATABASE_URL", &app.databases.analytics_url.clone());
        app.launch().await;
        let created = visit(&app, &mut ledger, "after").await.expect("intake goes on");
        halted(&app, "this is not the database that journal").await;
        assert_eq!(app.databases.count(Database::Analytics, SESSIONS).await, 0, "applied records flowed into it again");
        let accepted = app.run(&["journal", "accept-database", "analytics"]).await;
        assert!(accepted.code == Some(0), "{accepted:?}");
        app.session(&created).await;
        assert_eq!(app.databases.count(Database::Analytics, SESSIONS).await, 1);
        ledger.settle(&app).await;
        assert!(!app.data_dir().join("journal/analytics/accepted").exists());

        // Back again: that one lacks what the other has got since.
        app.kill();
        app.set("WEIR_ANALYTICS_DATABASE_URL", &before.analytics_url);
        app.launch().await;
        halted(&app, "this is not the database that journal").await;
        assert_eq!(before.count(Database::Analytics, SESSIONS).await, 20);
    }

    async fn lost_database_gets_all_that_is_kept(backend) {
        let mut app = TestApp::start_with(backend, &[UNTHROTTLED, &[("WEIR_JOURNAL__SEGMENT_BYTES", "4096")]].concat()).await;
        let mut ledger = Ledger::of("database lost, a new one gets what is kept", backend);
        for number in 0..60 {
            visit(&app, &mut ledger, &number.to_string()).await.expect("it is taken");
        }
        app.applied().await;
        app.kill();
        let elsewhere = tempfile::tempdir().unwrap();
        app.databases = another(&app, elsewhere.path()).await;
        app.set("WEIR_ANALYTICS_DATABASE_URL", &app.databases.analytics_url.clone());
        let accepted = app.run(&["journal", "accept-database", "analytics", "--with-kept"]).await;
        assert!(accepted.code != Some(0), "it has no schema yet: {accepted:?}");
        assert!(app.run(&["migrate"]).await.code == Some(0));
        let accepted = app.run(&["journal", "accept-database", "analytics", "--with-kept"]).await;
        assert!(accepted.code == Some(0), "{accepted:?}");
        app.launch().await;
        ledger.settle(&app).await;
    }

    async fn copy_from_before_databases_had_ids_is_not_mistaken(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut ledger = Ledger::of("copy from before databases had ids", backend);
        visit(&app, &mut ledger, "before").await.expect("it is taken");
        app.applied().await;
        for run in ["an upgrade", "a restored copy"] {
            app.stop().await;
            if run == "an upgrade" {
                std::fs::remove_file(app.data_dir().join("journal/analytics/databases")).unwrap();
            }
            let sql = "DROP TABLE database_identity;
                       DELETE FROM _sqlx_migrations WHERE description = 'identity of the database'";
            app.databases.execute(Database::Analytics, sql).await;
            app.launch().await;
            visit(&app, &mut ledger, run).await.expect("it is taken");
            ledger.settle(&app).await;
        }
    }

    async fn record_of_later_version_halts_writer_and_is_kept(backend) {
        let mut app = TestApp::prepare(backend).await;
        let directory = app.data_dir().join("journal/analytics");
        std::fs::create_dir_all(&directory).unwrap();
        let mut storage = SegmentStorage::open(&directory, JournalOptions::default(), Arc::new(())).unwrap();
        storage.append(&[vec![250, 1, 0]]).unwrap();
        storage.close();
        drop(storage);
        app.launch().await;
        halted(&app, "another version of weir").await;
        assert!(!directory.join("dead-letters").exists());
    }

    async fn data_directory_wiped_logs_and_starts_new_journal(backend) {
        let mut app = TestApp::start(backend).await;
        let mut ledger = Ledger::of("data directory wiped", backend);
        visit(&app, &mut ledger, "before").await;
        app.applied().await;
        app.stop().await;
        std::fs::remove_dir_all(app.data_dir().join("journal")).unwrap();
        app.launch().await;
        let created = visit(&app, &mut ledger, "after").await.expect("intake goes on");
        app.session(&created).await;
        assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) AS n FROM analytics_sessions").await, 2);
        ledger.settle(&app).await;
        assert!(app.log().contains("this journal is new to a database that knows others"));
    }
}
