//! A PostgreSQL server of a test's own, to be killed, frozen and starved.
//!
//! It waits for its disk, as one in production does: what it committed survives its death.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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

    /// An orderly end: what it has committed is sent to its standby first.
    pub fn stop(&self) {
        self.control(&["stop", "-m", "fast"]);
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

    /// A standby of this server, which follows it asynchronously.
    pub fn standby(&self) -> PostgresStandby {
        let data = self.data.with_file_name("standby");
        self.run("pg_basebackup", &["-R", "-X", "stream", "-c", "fast", "-d", &self.url, "-D", data.to_str().unwrap()]);
        // Free by now; whoever takes it before the server does makes the start fail, and is seen.
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let file = data.join("postgresql.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\nport = {port}\n")).unwrap();
        let standby = PostgresStandby { programs: self.programs.clone(), data, port };
        standby.start();
        standby
    }

    fn control(&self, arguments: &[&str]) {
        let data = self.data.to_str().unwrap();
        self.run("pg_ctl", &[arguments, &["-s", "-D", data]].concat());
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        run(&self.programs.join(program), &self.data, arguments);
    }
}

/// A second server that follows another one; ended when it is dropped. Its files go with those of the first.
pub struct PostgresStandby {
    programs: PathBuf,
    data: PathBuf,
    /// It listens on loopback.
    pub port: u16,
}

impl PostgresStandby {
    fn start(&self) {
        let log = self.data.with_file_name("standby.log");
        self.control(&["start", "-w", "-t", "60", "-l", log.to_str().unwrap()]);
    }

    /// Receives nothing more from the other server: what that one commits from now on is lost with it.
    pub fn stop_following(&self) {
        let file = self.data.join("postgresql.auto.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\nprimary_conninfo = ''\n")).unwrap();
        self.control(&["reload"]);
    }

    /// Takes over.
    pub fn promote(&self) {
        self.control(&["promote", "-w", "-t", "60"]);
    }

    /// A URL of the other server, with this one's port in place of that one's.
    pub fn url_like(&self, url: &str) -> String {
        let (before, database) = url.rsplit_once('/').unwrap();
        let (before, _) = before.rsplit_once(':').unwrap();
        format!("{before}:{}/{database}", self.port)
    }

    fn control(&self, arguments: &[&str]) {
        let data = self.data.to_str().unwrap();
        run(&self.programs.join("pg_ctl"), &self.data, &[arguments, &["-s", "-D", data]].concat());
    }
}

impl Drop for PostgresStandby {
    fn drop(&mut self) {
        if self.data.join("postmaster.pid").exists() {
            self.control(&["stop", "-m", "immediate"]);
        }
    }
}

/// Runs a server's program as whoever owns the server's data: PostgreSQL does not run as root.
fn run(program: &Path, data: &Path, arguments: &[&str]) {
    // What is to be made has no owner yet; its directory has.
    let place = if data.exists() { data } else { data.parent().unwrap() };
    let owner = std::fs::metadata(place).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    if owner.uid() != std::fs::metadata("/proc/self").unwrap().uid() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{} {arguments:?}: {status}", program.display());
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // A test may have stopped it for good.
        if self.data.join("postmaster.pid").exists() {
            self.signal("CONT");
        }
        drop(self.cluster.stdin.take());
        let _ = self.cluster.wait();
    }
}
