//! Files that somebody deletes, moves or exchanges under a server that has them open: nothing goes into them any more that
//! nobody would find again, the server says so, and goes on when they are back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_testkit::on_both_databases;

use super::disk::takes_records;
use super::*;

/// The files of a SQLite database, its own the last.
fn files(app: &TestApp, database: &str) -> [PathBuf; 3] {
    ["-wal", "-shm", ""].map(|end| app.directory.path().join(format!("{database}.db{end}")))
}

fn moved(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".moved");
    name.into()
}

async fn until_component(app: &TestApp, name: &str, state: &str) {
    app.until(&format!("{name} is {state}"), async || readiness(app).await["components"][name] == state).await;
}

async fn until_ready(app: &TestApp) {
    app.until("it is ready again", async || readiness(app).await["status"] == "ready").await;
}

/// The database's file is moved away and comes back, again and again.
async fn file_moved_away(database: &str, fault: &'static str) {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let component = format!("{database}_database");
    let mut ledger = Ledger::of(fault, Backend::Sqlite);
    let load = Load::start(&app, 8, "moved");
    for _ in 0..scale(2, 30) {
        takes_records(&app).await;
        let files = files(&app, database);
        for file in files.iter().rev() {
            std::fs::rename(file, moved(file)).unwrap();
        }
        until_component(&app, &component, "blocked").await;
        let ready = readiness(&app).await;
        let reason = ready["reasons"][&component].as_str().unwrap().to_owned();
        assert!(reason.contains(&format!("{database}.db was deleted or moved")), "{reason}");
        // The journal keeps what comes.
        takes_records(&app).await;
        assert!(!files[2].exists(), "nothing is made in its place");
        for file in &files {
            std::fs::rename(moved(file), file).unwrap();
        }
        until_ready(&app).await;
    }
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
}

#[tokio::test]
async fn analytics_file_moved_away_blocks_writer_until_it_is_back() {
    file_moved_away("analytics", "SQLite's analytics file vanishes").await;
}

#[tokio::test]
async fn main_file_moved_away_blocks_writer_until_it_is_back() {
    file_moved_away("main", "SQLite's main file vanishes").await;
}

#[tokio::test]
async fn database_file_deleted_and_restored_from_copy_gets_everything() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let mut ledger = Ledger::of("SQLite's file is deleted, an older copy restored", Backend::Sqlite);
    let load = Load::start(&app, 8, "copy");
    takes_records(&app).await;
    let copy = app.directory.path().join("copy.db");
    app.databases.execute(Database::Analytics, &format!("VACUUM INTO '{}'", copy.display())).await;
    takes_records(&app).await;
    let [log, shared, file] = files(&app, "analytics");
    for path in [&file, &log, &shared] {
        std::fs::remove_file(path).unwrap();
    }
    until_component(&app, "analytics_database", "blocked").await;
    takes_records(&app).await;
    std::fs::rename(&copy, &file).unwrap();
    until_ready(&app).await;
    takes_records(&app).await;
    load.finish(&mut ledger).await;
    assert_eq!(ledger.refused(), 0);
    ledger.settle(&app).await;
}

#[tokio::test]
async fn write_ahead_log_deleted_is_noticed_and_nothing_is_lost() {
    let mut app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let mut ledger = Ledger::of("SQLite's write-ahead log is deleted", Backend::Sqlite);
    let load = Load::start(&app, 8, "log");
    // What was never looked at cannot be missed.
    let applied = "weir_writer_applied_records_total{database=\"analytics\"}";
    app.until("records are applied", async || app.metric(applied).await > 0.0).await;
    for round in 1..=scale(2, 20) {
        takes_records(&app).await;
        std::fs::remove_file(&files(&app, "analytics")[0]).unwrap();
        app.until("it is noticed", async || app.log().matches("database file is opened anew").count() >= round).await;
        until_ready(&app).await;
    }
    takes_records(&app).await;
    // A crash is when it would show.
    app.kill();
    load.finish(&mut ledger).await;
    app.launch().await;
    ledger.settle(&app).await;
}

on_both_databases! {
    async fn journal_directory_moved_away_refuses_until_it_is_back(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut ledger = Ledger::of("the journal's directory vanishes", backend);
        let load = Load::start(&app, 8, "directory");
        let path = app.data_dir().join("journal/analytics");
        for round in 0..scale(2, 20) {
            takes_records(&app).await;
            let refused = app.outcomes("session", "unavailable").await;
            std::fs::rename(&path, moved(&path)).unwrap();
            if round % 2 == 1 {
                // An empty one in its place is not it.
                std::fs::create_dir(&path).unwrap();
            }
            until_component(&app, "analytics_journal", "failing").await;
            app.until("records are refused", async || app.outcomes("session", "unavailable").await > refused + 20.0).await;
            // It looks twice a second whether it can go on.
            tokio::time::sleep(Duration::from_millis(1200)).await;
            assert_eq!(readiness(&app).await["components"]["analytics_journal"], "failing");
            if round % 2 == 1 {
                std::fs::remove_dir_all(&path).unwrap();
            }
            std::fs::rename(moved(&path), &path).unwrap();
            until_ready(&app).await;
        }
        takes_records(&app).await;
        load.finish(&mut ledger).await;
        ledger.settle(&app).await;
        ledger.refused_are_not_stored(&app).await;
        assert!(app.log().contains("was deleted or moved"), "the log says why");
    }

    async fn journal_segment_deleted_refuses_and_goes_on_in_new_one(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut ledger = Ledger::of("the journal's newest segment vanishes", backend);
        for round in 0..scale(2, 20) {
            let load = Load::start(&app, 4, &format!("before-{round}"));
            takes_records(&app).await;
            load.finish(&mut ledger).await;
            app.applied().await;
            let segments = std::fs::read_dir(app.data_dir().join("journal/analytics")).unwrap().flatten();
            let segments = segments.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "journal"));
            std::fs::remove_file(segments.max().unwrap()).unwrap();
            // Also while nobody sends anything.
            app.until("it is noticed", async || app.log().matches("journal cannot be written").count() > round).await;
            until_ready(&app).await;
        }
        let load = Load::start(&app, 4, "after");
        takes_records(&app).await;
        load.finish(&mut ledger).await;
        ledger.settle(&app).await;
        ledger.refused_are_not_stored(&app).await;
    }
}
