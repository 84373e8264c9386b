//! The real server as a process of its own, on a random port, with databases of its own.
//!
//! - here: what a server is started with.
//! - `process`: start, signals and end; commands of the same binary.
//! - `http`: requests, and what became of them.
//! - `waiting`: until something is so; metrics and rows.

mod child;
mod http;
mod process;
mod waiting;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::machine::{self, Permit};
use crate::{Backend, Databases, JWT_SECRET, TRACKING_SECRET};
use child::Process;
pub use process::Finished;

/// A Weir with fresh databases, started or about to be. Killed and removed when it is dropped.
///
/// ```no_run
/// # async fn test() {
/// use weir_testkit::{Backend, TestApp, minimal_session};
///
/// let mut app = TestApp::prepare(Backend::Sqlite).await;
/// app.set("WEIR_THROTTLE__SESSION", "1/60s");
/// app.launch().await;
/// assert!(app.create_session(&minimal_session()).await["id"].is_string());
/// app.kill();
/// app.launch().await;
/// app.applied().await;
/// # }
/// ```
pub struct TestApp {
    /// What it writes to.
    pub databases: Databases,
    /// Where its data, its log and its databases lie, if they are files.
    pub directory: TempDir,
    /// Without retries and proxies.
    pub client: reqwest::Client,
    variables: Vec<(String, String)>,
    open_files: Option<u64>,
    process: Option<Process>,
    printed: Arc<Mutex<Vec<String>>>,
    _permit: Arc<Permit>,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        drop(self.process.take());
        if std::thread::panicking() {
            eprintln!("--- log of the server ---\n{}", self.log());
        }
    }
}

impl TestApp {
    /// A server with fresh databases and the contract's defaults.
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, &[]).await
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
        let permit = machine::shared().await;
        let directory = tempfile::tempdir().unwrap();
        let databases = Databases::fresh(backend, directory.path()).await;
        let mut app = Self {
            databases,
            directory,
            client: reqwest::Client::new(),
            variables: Vec::new(),
            open_files: None,
            process: None,
            printed: Arc::default(),
            _permit: permit,
        };
        app.set("WEIR_LISTEN", "127.0.0.1:0");
        app.set("WEIR_DATA_DIR", &app.data_dir().display().to_string());
        app.set_databases();
        app.set("WEIR_TRACKING_HMAC_SECRET", TRACKING_SECRET);
        app.set("WEIR_JWT_SECRET", JWT_SECRET);
        app.set("WEIR_LOG", "trace");
        app
    }

    /// Everything but the process, with databases on this PostgreSQL server.
    pub async fn prepare_on(server_url: &str) -> Self {
        let mut app = Self::prepare(Backend::Sqlite).await;
        app.databases = Databases::on_server(server_url).await;
        app.set_databases();
        app
    }

    fn set_databases(&mut self) {
        self.set("WEIR_ANALYTICS_DATABASE_URL", &self.databases.analytics_url.clone());
        self.set("WEIR_MAIN_DATABASE_URL", &self.databases.main_url.clone());
    }

    /// Sets variables for the next launch.
    pub fn set_all(&mut self, variables: &[(&str, &str)]) {
        for (name, value) in variables {
            self.set(name, value);
        }
    }

    /// Sets a variable for the next launch.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Leaves a variable out of the next launch.
    pub fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    /// What the next process is started with.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// How many files each later process may have open, at most.
    pub fn limit_open_files(&mut self, limit: u64) {
        self.open_files = Some(limit);
    }

    /// Where the server keeps its journals, its secrets and its SQLite databases.
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

    /// The lines that the server has printed, by every process of this app.
    pub fn printed(&self) -> Vec<String> {
        self.printed.lock().unwrap().clone()
    }
}
