//! What every suite stands on: the real server as a process of its own, on a random port, with databases of its own.
//!
//! PostgreSQL comes from `TEST_POSTGRES_URL`, which `scripts/test` sets; a test that needs it fails without, it never
//! passes silently.

#![allow(dead_code)] // each suite uses its own part of this

pub mod answers;
pub mod cluster;
pub mod databases;
pub mod keys;
pub mod metrics;
pub mod proxy;
pub mod smtp;
pub mod wire;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use answers::*;
pub use databases::{Backend, Database, Databases};

/// A browser that no bot filter knows.
pub const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
/// The secret of every test's tracking tokens.
pub const TRACKING_SECRET: &str = "a tracking secret for tests";
/// The secret of every test's access tokens.
pub const JWT_SECRET: &str = "an access token secret for tests";

/// What turns every throttle off.
pub const UNTHROTTLED: &[(&str, &str)] = &[
    ("WEIR_THROTTLE__SESSION", "0"),
    ("WEIR_THROTTLE__PAGEVIEW", "0"),
    ("WEIR_THROTTLE__LEAVE", "0"),
    ("WEIR_THROTTLE__HEARTBEAT", "0"),
    ("WEIR_THROTTLE__BATCH", "0"),
    ("WEIR_THROTTLE__TRACK", "0"),
    ("WEIR_THROTTLE__CONSENT", "0"),
    ("WEIR_THROTTLE__CONSENT_STATUS", "0"),
    ("WEIR_THROTTLE__TRACK_INIT", "0"),
    ("WEIR_THROTTLE__AUTH_CODE", "0"),
    ("WEIR_THROTTLE__AUTH_VERIFY", "0"),
];

/// How long anything is waited for. Long, because machines are slow at times; nothing waits so long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is started.
pub struct TestApp {
    pub databases: Databases,
    pub directory: TempDir,
    variables: Vec<(String, String)>,
    open_files: Option<u64>,
    process: Option<Process>,
    printed: Arc<Mutex<Vec<String>>>,
    pub client: reqwest::Client,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

struct Process {
    child: Child,
    address: String,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the server ---\n{}", self.log());
        }
    }
}

impl TestApp {
    /// A server with fresh databases and the contract's defaults.
    pub async fn start(backend: Backend) -> Self {
        let mut app = Self::prepare(backend).await;
        app.launch().await;
        app
    }

    /// A server with fresh databases and some variables set, e.g. `("WEIR_THROTTLE__SESSION", "0")`.
    pub async fn start_with(backend: Backend, variables: &[(&str, &str)]) -> Self {
        let mut app = Self::prepare(backend).await;
        app.set_all(variables);
        app.launch().await;
        app
    }

    /// Everything but the process: `set` what it needs, then `launch`.
    pub async fn prepare(backend: Backend) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let databases = Databases::fresh(backend, directory.path()).await;
        let mut app = Self {
            databases,
            directory,
            variables: Vec::new(),
            open_files: None,
            process: None,
            printed: Arc::default(),
            client: reqwest::Client::new(),
        };
        app.set("WEIR_LISTEN", "127.0.0.1:0");
        app.set("WEIR_DATA_DIR", &app.data_dir().display().to_string());
        app.set("WEIR_ANALYTICS_DATABASE_URL", &app.databases.analytics_url.clone());
        app.set("WEIR_MAIN_DATABASE_URL", &app.databases.main_url.clone());
        app.set("WEIR_TRACKING_HMAC_SECRET", TRACKING_SECRET);
        app.set("WEIR_JWT_SECRET", JWT_SECRET);
        app.set("WEIR_LOG", "trace");
        app
    }

    /// Everything but the process, with databases on a server of its own.
    pub async fn prepare_on(server_url: &str) -> Self {
        let mut app = Self::prepare(Backend::Sqlite).await;
        app.databases = Databases::on_server(server_url).await;
        app.set("WEIR_ANALYTICS_DATABASE_URL", &app.databases.analytics_url.clone());
        app.set("WEIR_MAIN_DATABASE_URL", &app.databases.main_url.clone());
        app
    }

    /// Sets variables for the next launch.
    pub fn set_all(&mut self, variables: &[(&str, &str)]) {
        for (name, value) in variables {
            self.set(name, value);
        }
    }

    /// Sets a variable for the next launch.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// What the next process is started with.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Leaves a variable out of the next launch.
    pub fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    /// How many files whatever is started from now on may have open, at most.
    pub fn limit_open_files(&mut self, limit: u64) {
        self.open_files = Some(limit);
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("weir.log")
    }

    /// Everything that was logged so far, by every process of this app.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The lines that the server printed for whoever started it.
    pub fn printed(&self) -> Vec<String> {
        self.printed.lock().unwrap().clone()
    }

    /// A command of the same binary with the same variables.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let weir = env!("CARGO_BIN_EXE_weir");
        let mut command = match self.open_files {
            None => Command::new(weir),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n $0 && exec \"$@\"", &limit.to_string(), weir]);
                shell
            }
        };
        command.args(arguments).current_dir(self.directory.path());
        for name in std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("WEIR_")) {
            command.env_remove(name);
        }
        // A hundred lines a panic would bury the reason why a test failed.
        command.env("RUST_BACKTRACE", "0");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command of the same binary to its end. Whatever it was asked, it must not answer with a panic.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with(arguments, &[]).await
    }

    /// The same with other variables.
    pub async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("weir {arguments:?} did not end");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let finished =
            Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        let said = format!("{}{}", finished.stdout, finished.stderr);
        for trace in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(!said.contains(trace), "weir {arguments:?}: {said}");
        }
        finished
    }

    /// Starts the process and waits until it takes requests.
    pub async fn launch(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut child = self.command(&[]).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let printed = Arc::clone(&self.printed);
        std::thread::spawn(move || {
            let mut sender = Some(sender);
            for line in stdout.lines().map_while(Result::ok) {
                printed.lock().unwrap().push(line.clone());
                if let Some(address) = line.split("takes requests at ").nth(1) {
                    let _ = sender.take().map(|sender| sender.send(address.to_owned()));
                }
            }
        });
        let address = tokio::time::timeout(PATIENCE, receiver).await;
        let address = address.ok().and_then(Result::ok);
        self.process = Some(Process { child, address: String::new() });
        match address {
            Some(address) => self.process.as_mut().unwrap().address = address,
            None => panic!("the server did not start"),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.process.as_ref().expect("running").address)
    }

    /// Host and port, for a raw connection.
    pub fn authority(&self) -> String {
        self.url("").trim_start_matches("http://").to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("running").child.id()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("running");
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }

    /// Sends a signal by name, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end by itself.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("running");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = process.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = process.child.kill();
        panic!("the server did not end");
    }

    /// SIGTERM, and waits for the orderly end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_exit().await
    }

    /// `POST` of a JSON body as a browser.
    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client
            .post(self.url(path))
            .header("user-agent", BROWSER)
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// `POST /api/v1/analytics/session`, and its answer's `data`.
    pub async fn create_session(&self, body: &Value) -> Value {
        let response = self.post("/api/v1/analytics/session", body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        data(response).await
    }

    /// Sends a request for a session that must be stored, and reads its row.
    pub async fn stored(&self, request: reqwest::RequestBuilder) -> Value {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let created = data(response).await;
        self.session(created["id"].as_str().expect("stored")).await
    }

    /// Sends a request for a session that must be answered as if all were well, and not be stored.
    pub async fn discarded(&self, request: reqwest::RequestBuilder) {
        let before = self.metric("weir_journal_position{journal=\"analytics\"}").await;
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(data(response).await, serde_json::json!({"id": null}));
        let after = self.metric("weir_journal_position{journal=\"analytics\"}").await;
        assert_eq!(before, after, "something was journalled");
    }

    /// After whatever was sent before, a good request is served and stored.
    pub async fn still_serves(&self) {
        self.stored(self.post("/api/v1/analytics/session", &minimal_session())).await;
    }

    pub async fn rows(&self, database: Database, sql: &str) -> Vec<Value> {
        self.databases.rows(database, sql).await
    }

    /// The one session with this id, once the writer has applied it.
    pub async fn session(&self, id: &str) -> Value {
        self.applied().await;
        let rows = self.rows(Database::Analytics, &format!("SELECT * FROM analytics_sessions WHERE id = '{id}'")).await;
        assert_eq!(rows.len(), 1, "rows of session {id}");
        rows.into_iter().next().unwrap()
    }

    /// Waits until both databases have everything that was acknowledged.
    pub async fn applied(&self) {
        self.until("both writers have applied everything", async || {
            let metrics = self.metrics().await;
            ["analytics", "main"].iter().all(|database| {
                metrics.contains(&format!("weir_writer_up{{database=\"{database}\"}} 1"))
                    && metrics.contains(&format!("weir_writer_lag_records{{database=\"{database}\"}} 0\n"))
            })
        })
        .await;
    }

    pub async fn metrics(&self) -> String {
        self.client.get(self.url("/metrics")).send().await.unwrap().text().await.unwrap()
    }

    /// The value of one series, e.g. `weir_journal_position{journal="main"}`; 0 when it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// How many requests ended so, over all statuses, e.g. of route `session` with outcome `bot`.
    pub async fn outcomes(&self, route: &str, outcome: &str) -> f64 {
        let start = format!("weir_requests_total{{route=\"{route}\",outcome=\"{outcome}\",");
        let metrics = self.metrics().await;
        let counts = metrics.lines().filter_map(|line| line.strip_prefix(&start)?.split_once(' '));
        counts.map(|(_, count)| count.parse::<f64>().unwrap()).sum()
    }

    /// Asks again and again until it is so.
    pub async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so().await {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
