//! A database and a journal that do not belong together are noticed and named, never skipped or applied twice.

use std::sync::Arc;

use weir_journal::{JournalOptions, SegmentStorage, Storage};
use weir_testkit::on_both_databases;

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
