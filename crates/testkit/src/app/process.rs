//! Start, signals and end of a server, and commands of the same binary.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use super::TestApp;
use super::child::{Process, ended};
use crate::{PATIENCE, workspace};

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl TestApp {
    /// A command of the same binary with the same variables.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let weir = workspace::weir_binary();
        let mut command = match self.open_files {
            None => Command::new(weir),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n $0 && exec \"$@\"", &limit.to_string()]).arg(weir);
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
        if ended(&mut child).await.is_none() {
            let _ = child.kill();
            panic!("weir {arguments:?} did not end");
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

    /// Starts the process and waits until it accepts requests.
    pub async fn launch(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut child = self.command(&[]).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        // Known at once, so that it does not outlive a test that gives up waiting.
        let process = self.process.insert(Process { child, address: String::new() });
        let address = tokio::time::timeout(PATIENCE, announced_address(stdout, Arc::clone(&self.printed))).await;
        process.address = address.ok().flatten().expect("the server did not start");
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("running")
    }

    /// The URL of a path of the running server.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running().address)
    }

    /// Host and port, for a raw connection.
    pub fn authority(&self) -> String {
        self.url("").trim_start_matches("http://").to_owned()
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        drop(self.process.take().expect("running"));
    }

    /// Whether the process is gone, for whatever reason.
    pub fn has_exited(&mut self) -> bool {
        let Some(process) = &mut self.process else { return true };
        process.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal by name, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end by itself.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("running");
        process.ended().await.expect("the server did not end")
    }

    /// SIGTERM, and waits for the orderly end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_exit().await
    }
}

/// Keeps the lines that a server prints, as long as it prints any. Returns the address as soon as it is among them;
/// `None` when the server ends before.
async fn announced_address(stdout: ChildStdout, printed: Arc<Mutex<Vec<String>>>) -> Option<String> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut sender = Some(sender);
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            printed.lock().unwrap().push(line.clone());
            if let Some((_, address)) = line.split_once(ANNOUNCED) {
                let _ = sender.take().map(|sender| sender.send(address.to_owned()));
            }
        }
    });
    receiver.await.ok()
}

/// What comes before the address in the line that a server prints once it accepts requests.
const ANNOUNCED: &str = "serves requests at ";
