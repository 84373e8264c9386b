//! `weir health`, `weir top`, `weir journal status --follow`, `weir migrate`: telling people while it works.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_testkit::{Backend, Database, PATIENCE, TestApp, UNTHROTTLED, minimal_session, on_both_databases};

/// An address where nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn health_command_on_ready_server_succeeds() {
    let app = TestApp::start(Backend::Sqlite).await;
    let (url, everywhere) = (app.url(""), app.authority().replace("127.0.0.1", "0.0.0.0"));
    let nobody = nobody();
    for (arguments, variables) in [
        (&["health", "--url", &url][..], &[("WEIR_LISTEN", "nowhere")][..]),
        (&["health"], &[("WEIR_LISTEN", &everywhere)]),
        // A proxy in the environment is not the server.
        (&["health", "--url", &url], &[("HTTP_PROXY", &nobody), ("http_proxy", &nobody)]),
    ] {
        let healthy = app.run_with(arguments, variables).await;
        assert_eq!((healthy.code, healthy.stderr.as_str()), (Some(0), ""), "{healthy:?}");
        assert!(healthy.stdout.starts_with("ready: actors ok, analytics_database ok, "), "{healthy:?}");
        assert_eq!(healthy.stdout.lines().count(), 1, "{healthy:?}");
    }
}

#[tokio::test]
async fn health_command_on_unresponsive_server_fails() {
    let app = TestApp::prepare(Backend::Sqlite).await;
    let absent = format!("http://{}", nobody());
    let refused = app.run(&["health", "--url", &absent]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains(&absent), "{refused:?}");
    // It takes the connection, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let refused = app.run(&["health", "--url", &format!("http://{}", silent.local_addr().unwrap())]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!((3..10).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn health_command_on_foreign_endpoint_fails() {
    let app = TestApp::start(Backend::Sqlite).await;
    let elsewhere = app.run(&["health", "--url", &app.url("/api")]).await;
    assert!(elsewhere.code == Some(1) && elsewhere.stderr.contains("status 404"), "{elsewhere:?}");
    // Which server, nobody can tell.
    let unclear = app.run(&["health"]).await;
    assert!(unclear.code == Some(2) && unclear.stderr.contains("--url"), "{unclear:?}");
    let wrong = app.run(&["health", "--url", "https://127.0.0.1:1"]).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}

#[tokio::test]
async fn top_without_terminal_prints_rates_between_two_scrapes() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    app.still_serves().await;
    let url = app.url("");
    let arguments = ["top", "--url", &url];
    let (seen, ()) = tokio::join!(app.run(&arguments), async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            app.create_session(&minimal_session()).await;
        }
    });
    assert_eq!((seen.code, seen.stderr.as_str()), (Some(0), ""), "{seen:?}");
    let words: Vec<Vec<&str>> = seen.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |name: &str| {
        words.iter().find(|words| words.first() == Some(&name)).unwrap_or_else(|| panic!("no {name}: {seen:?}"))
    };
    let accepted: f64 = row("accepted")[1].trim_end_matches("/s").parse().unwrap();
    assert!(accepted > 0.0, "{seen:?}");
    assert!(row("session")[2].parse::<f64>().unwrap() > 0.0, "its median: {seen:?}");
    for part in ["weir 0.1.0 at http", "analytics", "accepts records", "dead letters", "throttles"] {
        assert!(seen.stdout.contains(part), "{part} is not in {}", seen.stdout);
    }
}

/// A process that does not outlive its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `script` gives it a terminal; on other systems it takes other arguments.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn top_on_terminal_runs_until_quit_and_restores_terminal() {
    let app = TestApp::start(Backend::Sqlite).await;
    let output = app.directory.path().join("terminal");
    let top = format!("'{}' top --url {}", env!("CARGO_BIN_EXE_weir"), app.url(""));
    let terminal = Command::new("script")
        .args(["-qec", &format!("stty rows 24 cols 80 && {top} && stty -a"), "/dev/null"])
        .envs([("SHELL", "/bin/sh"), ("TERM", "xterm")])
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(&output).unwrap())
        .spawn();
    let mut terminal = Ended(terminal.unwrap());
    let shown = || String::from_utf8_lossy(&std::fs::read(&output).unwrap()).into_owned();
    app.until("it is drawn", async || shown().contains("throttles")).await;
    assert!(terminal.0.try_wait().unwrap().is_none(), "it stays");
    terminal.0.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    app.until("it has ended", async || terminal.0.try_wait().unwrap().is_some()).await;
    let shown = shown();
    assert!(terminal.0.wait().unwrap().success(), "{shown}");
    // The alternate screen is left, and the terminal edits and shows what is typed.
    let (_, after) = shown.rsplit_once("\u{1b}[?1049l").expect("it leaves the screen");
    let modes: Vec<&str> = after.split_whitespace().collect();
    assert!(shown.contains("\u{1b}[?1049h") && modes.contains(&"icanon") && modes.contains(&"echo"), "{after}");
}

#[tokio::test]
async fn top_finds_metrics_listener_from_configuration() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    let metrics = nobody();
    app.set("WEIR_METRICS_LISTEN", &metrics);
    app.launch().await;
    let seen = app.run(&["top"]).await;
    assert!(seen.code == Some(0) && seen.stdout.contains(&metrics), "{seen:?}");
    let elsewhere = app.run(&["top", "--url", &app.url("")]).await;
    assert!(elsewhere.code == Some(1) && elsewhere.stderr.contains("another address"), "{elsewhere:?}");
    let absent = app.run(&["top", "--url", &format!("http://{}", nobody())]).await;
    assert_eq!((absent.code, absent.stdout.as_str()), (Some(1), ""), "{absent:?}");
    assert_eq!(app.run(&["top", "--interval-seconds", "0"]).await.code, Some(2));
}

#[tokio::test]
async fn journal_status_follow_ends_when_its_reader_goes() {
    let app = TestApp::start(Backend::Sqlite).await;
    for format in [&["--json"][..], &[]] {
        let mut command = app.command(&[&["journal", "status", "--follow"], format].concat());
        let mut following = Ended(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
        let mut reader = BufReader::new(following.0.stdout.take().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains("analytics"), "{line}");
        drop(reader);
        app.until("it has ended", async || following.0.try_wait().unwrap().is_some()).await;
        assert!(following.0.wait().unwrap().success(), "a reader that has seen enough is no failure");
    }
}

on_both_databases! {
    async fn journal_status_follow_ends_when_all_is_applied(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        app.still_serves().await;
        app.databases.execute(Database::Analytics, "ALTER TABLE analytics_sessions RENAME TO away").await;
        for _ in 0..3 {
            app.create_session(&minimal_session()).await;
        }
        let mut command = app.command(&["journal", "status", "--follow", "--until-applied", "--json"]);
        let output = app.directory.path().join("followed");
        command.stdin(Stdio::null()).stdout(std::fs::File::create(&output).unwrap());
        let mut following = Ended(command.spawn().unwrap());
        let looks = || -> Vec<Value> {
            let text = std::fs::read_to_string(&output).unwrap();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.filter(|line| line["journal"] == json!("analytics")).collect()
        };
        app.until("it was looked at three times", async || looks().len() >= 3).await;
        assert!(following.0.try_wait().unwrap().is_none(), "records are behind");
        let look = &looks()[2];
        assert_eq!((&look["lag_records"], &look["applied_per_second"]), (&json!(3), &json!(0.0)), "{look}");
        app.databases.execute(Database::Analytics, "ALTER TABLE away RENAME TO analytics_sessions").await;
        let deadline = Instant::now() + PATIENCE;
        let ended = loop {
            match following.0.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "it does not end"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(ended.success());
        let all = looks();
        let last = all.last().unwrap();
        assert_eq!((&last["lag_records"], &last["applied_position"]), (&json!(0), &json!(4)), "{last}");
        assert!(last["applied_per_second"].as_f64().unwrap() > 0.0, "{last}");

        let words = app.run(&["journal", "status", "--follow", "--until-applied"]).await;
        assert_eq!(words.code, Some(0), "{words:?}");
        assert_eq!(words.stdout.matches("nothing behind").count(), 2, "a line each, and no more: {words:?}");
        assert_eq!(app.run(&["journal", "status", "--until-applied"]).await.code, Some(2));
    }

    async fn migrate_names_every_schema_change_once(backend) {
        let app = TestApp::prepare(backend).await;
        let first = app.run(&["migrate"]).await;
        assert_eq!(first.code, Some(0), "{first:?}");
        for change in ["version 1, sessions and pageviews", "version 2, batch keys", "version 1, consent and settings"] {
            assert_eq!(first.stdout.matches(&format!("{change}: begins\n")).count(), 1, "{change}: {first:?}");
            assert_eq!(first.stdout.matches(&format!("{change}: done in ")).count(), 1, "{change}: {first:?}");
        }
        let again = app.run(&["migrate"]).await;
        assert_eq!((again.code, again.stdout.lines().count()), (Some(0), 2), "{again:?}");
    }

    async fn schema_changes_at_first_start_are_logged(backend) {
        let app = TestApp::start(backend).await;
        app.applied().await;
        let log = app.log();
        for description in ["sessions and pageviews", "batch keys", "consent and settings"] {
            assert!(log.contains(&format!("description=\"{description}\"")), "{description}");
        }
        assert!(log.matches("schema is changed").count() >= 4);
    }
}
