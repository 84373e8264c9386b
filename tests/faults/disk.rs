//! A disk that is full, fails, or takes its time: nothing is acknowledged that is not on it, and all is well again when
//! the disk is.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::on_both_databases;

const POSITION: &str = "weir_journal_position{journal=\"analytics\"}";

/// A small disk of its own under the journals; `None` where this user may not mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn under(app: &TestApp, bytes: u64) -> Option<Self> {
        let directory = app.data_dir().join("journal");
        std::fs::create_dir_all(&directory).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"])
            .arg(&directory)
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Self(directory))
    }

    /// Takes what is left, but for so many bytes.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server of a test that failed may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn status(app: &TestApp) -> u16 {
    app.client.get(app.url("/health/ready")).send().await.unwrap().status().as_u16()
}

async fn takes_records(app: &TestApp) {
    let at = app.metric(POSITION).await;
    app.until("records are taken", async || app.metric(POSITION).await > at + 50.0).await;
}

on_both_databases! {
    async fn a_failing_fsync_is_never_acknowledged_and_recovers_by_itself(backend) {
        let mut app = TestApp::prepare(backend).await;
        app.set_all(UNTHROTTLED);
        let points = FailPoints::of(&mut app);
        app.launch().await;
        let mut ledger = Ledger::of("fsync fails", backend);
        let load = Load::start(&app, 8, "fsync");
        for errno in [5, 28] {
            takes_records(&app).await;
            points.arm(&[&format!("journal.sync=return({errno})")]);
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
        load.finish(&mut ledger).await;
        ledger.settle(&app).await;
        ledger.refused_are_not_stored(&app).await;
    }

    async fn a_disk_that_others_filled_is_named_and_taken_back_when_there_is_room(backend) {
        let mut app = TestApp::prepare(backend).await;
        app.set_all(UNTHROTTLED);
        let Some(disk) = SmallDisk::under(&app, 4 << 20) else {
            println!("not tried: this user may not mount a disk");
            return;
        };
        app.launch().await;
        let mut ledger = Ledger::of("disk full under the journals", backend);
        let load = Load::start(&app, 8, "full");
        takes_records(&app).await;
        let ballast = disk.fill();
        app.until("it is not ready", async || status(&app).await == 503).await;
        let refused = app.outcomes("session", "unavailable").await;
        app.until("requests are refused", async || app.outcomes("session", "unavailable").await > refused + 20.0).await;
        // A supervisor that restarts what is not ready must not make it worse.
        app.kill();
        load.finish(&mut ledger).await;
        app.launch().await;
        // The old process may have had something left to delete: then there is room for one.
        let between = app.create_session(&support::minimal_session()).await;
        std::fs::remove_file(ballast).unwrap();
        app.until("it is ready again", async || status(&app).await == 200).await;
        let load = Load::start(&app, 8, "room");
        takes_records(&app).await;
        load.finish(&mut ledger).await;
        ledger.settle(&app).await;
        ledger.refused_are_not_stored(&app).await;
        if let Some(id) = between["id"].as_str() {
            app.session(id).await;
        }
    }
}

#[tokio::test]
async fn a_disk_that_the_journal_itself_filled_is_emptied_by_the_writer() {
    let mut app = TestApp::prepare(Backend::Postgres).await;
    app.set_all(UNTHROTTLED);
    app.set("WEIR_JOURNAL__SEGMENT_BYTES", "65536");
    // The bound is beyond the disk, as it is where others fill the disk too.
    let Some(disk) = SmallDisk::under(&app, 2 << 20) else {
        println!("not tried: this user may not mount a disk");
        return;
    };
    app.launch().await;
    let mut ledger = Ledger::of("disk filled by a backlog", Backend::Postgres);
    app.databases.allow_connections(Database::Analytics, false).await;
    let load = Load::start(&app, 8, "backlog");
    app.until("it is not ready", async || status(&app).await == 503).await;
    app.kill();
    load.finish(&mut ledger).await;
    // Also by a process that finds the disk so, and after one that did not get far.
    for _ in 0..2 {
        app.launch().await;
        app.kill();
    }
    app.launch().await;
    app.databases.allow_connections(Database::Analytics, true).await;
    app.until("it is ready again", async || status(&app).await == 200).await;
    let load = Load::start(&app, 8, "again");
    takes_records(&app).await;
    load.finish(&mut ledger).await;
    ledger.settle(&app).await;
    ledger.refused_are_not_stored(&app).await;
    app.until("applied segments are deleted", async || used(&disk.0) < 512 << 10).await;
}

fn used(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { used(&entry.path()) } else { metadata.len() };
    }
    bytes
}

#[tokio::test]
async fn a_slow_disk_slows_the_answers_and_nothing_else() {
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
