//! A PostgreSQL server of a test's own, to be killed, frozen and starved.
//!
//! It waits for its disk, as one in production does: what it committed survives its death.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::workspace;

/// A running server with a cluster of its own; removed when it is dropped.
pub struct PostgresServer {
    /// Ends the server when its standard input is closed.
    cluster: Child,
    /// Of a superuser, to the database `postgres`.
    pub url: String,
    programs: PathBuf,
    data: PathBuf,
}

impl PostgresServer {
    /// Makes and starts one, with `scripts/with-postgres`.
    pub fn start() -> Self {
        let mut cluster = Command::new(workspace::root().join("scripts/with-postgres"))
            .args(["sh", "-c", "env | grep ^TEST_POSTGRES_; echo; exec cat"])
            .env("TEST_POSTGRES_DURABLE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(cluster.stdout.take().unwrap()).lines().map_while(Result::ok);
        let told: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let find = |name: &str| {
            let value = told.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("no {name} in {told:?}")).to_owned()
        };
        Self {
            url: find("TEST_POSTGRES_URL"),
            programs: find("TEST_POSTGRES_BIN").into(),
            data: find("TEST_POSTGRES_DATA").into(),
            cluster,
        }
    }

    /// The end without a checkpoint, a flush or a goodbye: what a crash of the server is.
    pub fn crash(&self) {
        self.control(&["stop", "-m", "immediate"]);
    }

    /// Starts it after a crash.
    pub fn start_again(&self) {
        let log = self.data.with_file_name("server.log");
        self.control(&["start", "-w", "-t", "60", "-l", log.to_str().unwrap()]);
    }

    /// A line of its configuration, in force after the next start.
    pub fn configure(&self, line: &str) {
        let file = self.data.join("postgresql.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n{line}\n")).unwrap();
    }

    /// A signal to every process of the server, e.g. `STOP`.
    pub fn signal(&self, name: &str) {
        let pid = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        let leader = pid.lines().next().unwrap().to_owned();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &leader]).output().unwrap().stdout;
        let children = String::from_utf8(children).unwrap();
        // The leader first, or it starts new ones while the others stop; those that ended meanwhile are no matter.
        let pids = std::iter::once(leader.as_str()).chain(children.split_whitespace());
        for pid in pids {
            let _ = Command::new("kill").args([&format!("-{name}"), pid]).status();
        }
    }

    fn control(&self, arguments: &[&str]) {
        let owner = std::fs::metadata(&self.data).unwrap();
        let mut command = Command::new(self.programs.join("pg_ctl"));
        command.args(arguments).arg("-s").arg("-D").arg(&self.data).current_dir("/");
        // PostgreSQL runs as whoever owns its data.
        if owner.uid() != std::fs::metadata("/proc/self").unwrap().uid() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "pg_ctl {arguments:?}: {status}");
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.signal("CONT");
        drop(self.cluster.stdin.take());
        let _ = self.cluster.wait();
    }
}
