//! A disk that is full, whoever filled it: nothing acknowledged is lost, and room is all that it takes to go on.
//!
//! On a small disk of the test's own where this user may mount one. Elsewhere fail points say what a full disk says,
//! and the ledger names them.

use std::path::{Path, PathBuf};
use std::process::Command;

use weir_testkit::on_both_databases;

use super::disk::{status, takes_records};
use super::*;

/// A small disk under the journals, or under the databases.
pub struct SmallDisk {
    directory: PathBuf,
    /// What stands for it where none can be mounted.
    pretence: Option<FailPoints>,
}

impl SmallDisk {
    /// For all later launches of this server.
    fn under(app: &mut TestApp, bytes: u64, ledger: &mut Ledger) -> Self {
        let directory = app.data_dir().join("journal");
        if let Some(disk) = Self::at(&directory, bytes) {
            return disk;
        }
        let note = "by fail points: this user may not mount a disk";
        println!("{note}");
        ledger.note(note);
        Self { directory, pretence: Some(FailPoints::of(app)) }
    }

    /// In this directory; `None` where this user may not mount one.
    pub fn at(directory: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(directory).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"]).arg(directory).status();
        let is_mounted = mount.is_ok_and(|status| status.success());
        is_mounted.then(|| Self { directory: directory.to_owned(), pretence: None })
    }

    /// Takes what is left of it.
    pub fn fill(&self) {
        if let Some(points) = &self.pretence {
            points.arm(&["journal.write=return(28)", "journal.segment=return(28)"]);
            return;
        }
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    }

    /// Gives back what [`Self::fill`] took.
    pub fn make_room(&self) {
        match &self.pretence {
            Some(points) => points.disarm(),
            None => std::fs::remove_file(self.ballast()).unwrap(),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.directory.join("ballast")
    }

    fn used(&self) -> u64 {
        used(&self.directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.pretence.is_none() {
            // Lazily: the server of a test that failed may still have files open.
            let _ = Command::new("umount").arg("-l").arg(&self.directory).status();
        }
    }
}

fn used(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { used(&entry.path()) } else { metadata.len() };
    }
    bytes
}

on_both_databases! {
    async fn disk_full_across_restart_refuses_records_then_recovers(backend) {
        let mut app = TestApp::prepare(backend).await;
        app.set_all(UNTHROTTLED);
        // What was preallocated is room for records when the disk is full already: little of it, or a busy machine takes minutes.
        app.set("WEIR_JOURNAL__SEGMENT_BYTES", "65536");
        let mut ledger = Ledger::of("disk full under the journals", backend);
        let disk = SmallDisk::under(&mut app, 4 << 20, &mut ledger);
        app.launch().await;
        let load = Load::start(&app, 32, "full");
        takes_records(&app).await;
        disk.fill();
        app.until("it is not ready", async || status(&app).await == 503).await;
        let refused = app.outcomes("session", "unavailable").await;
        app.until("requests are refused", async || app.outcomes("session", "unavailable").await > refused + 20.0).await;
        // A supervisor that restarts what is not ready must not make it worse.
        app.kill();
        load.finish(&mut ledger).await;
        app.launch().await;
        // The old process may have had something left to delete: then there is room for one.
        let between = visit(&app, &mut ledger, "between").await;
        disk.make_room();
        app.until("it is ready again", async || status(&app).await == 200).await;
        let load = Load::start(&app, 8, "room");
        takes_records(&app).await;
        load.finish(&mut ledger).await;
        ledger.settle(&app).await;
        ledger.refused_are_not_stored(&app).await;
        if let Some(id) = between {
            app.session(&id).await;
        }
    }
}

#[tokio::test]
async fn disk_full_of_own_backlog_is_freed_by_writer() {
    const MOST_BYTES_LEFT: u64 = 512 << 10;
    let mut app = TestApp::prepare(Backend::Postgres).await;
    app.set_all(UNTHROTTLED);
    app.set("WEIR_JOURNAL__SEGMENT_BYTES", "65536");
    app.set("WEIR_JOURNAL__KEEP_APPLIED_BYTES", "64KiB");
    let mut ledger = Ledger::of("disk filled by a backlog", Backend::Postgres);
    // The bound is beyond the disk, as it is where others fill the disk too.
    let disk = SmallDisk::under(&mut app, 2 << 20, &mut ledger);
    app.launch().await;
    app.databases.allow_connections(Database::Analytics, false).await;
    let load = Load::start(&app, 32, "backlog");
    if disk.pretence.is_some() {
        app.until("there is a backlog", async || disk.used() > 1 << 20).await;
        disk.fill();
    }
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
    if disk.pretence.is_some() {
        // Applied and deleted while nothing more can be written: on a real disk that is what makes the room.
        app.until("applied segments are deleted", async || disk.used() < MOST_BYTES_LEFT).await;
        assert_eq!(status(&app).await, 503);
        disk.make_room();
    }
    app.until("it is ready again", async || status(&app).await == 200).await;
    let load = Load::start(&app, 8, "again");
    takes_records(&app).await;
    load.finish(&mut ledger).await;
    ledger.settle(&app).await;
    ledger.refused_are_not_stored(&app).await;
    app.until("applied segments are deleted", async || disk.used() < MOST_BYTES_LEFT).await;
}
