//! What Weir says while people wait for it: at a start, while it catches up, at a stop.

use std::process::Stdio;
use std::sync::Arc;

use weir_journal::{JournalOptions, SegmentStorage, Storage};
use weir_testkit::proxy::{Link, Proxy};
use weir_testkit::raw_connection::{RawConnection, request};
use weir_testkit::{exclusive, minimal_session, on_both_databases};

use super::outage::Outage;
use super::*;

#[tokio::test]
async fn health_command_with_failing_journals_exits_1() {
    let (mut app, points) = prepared(Backend::Sqlite).await;
    app.launch().await;
    assert_eq!(app.run(&["health", "--url", &app.url("")]).await.code, Some(0));
    points.arm(&["journal.sync=return(5)"]);
    // Both journals fail at their next record once the points are read; a choice is a record each time it is made.
    let choice = json!({"analytics": true, "marketing": true, "functional": true});
    app.until("no record is taken", async || {
        app.create_session(&minimal_session()).await;
        app.post("/api/v1/consent/cookies", &choice).send().await.unwrap();
        readiness(&app).await["status"] == json!("unavailable")
    })
    .await;
    let refused = app.run(&["health", "--url", &app.url("")]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stdout.starts_with("unavailable: ") && refused.stdout.contains("main_journal failing"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("status 503"), "{refused:?}");
}

#[tokio::test]
async fn start_log_names_pending_work() {
    let mut app = TestApp::prepare(Backend::Postgres).await;
    let points = FailPoints::of(&mut app);
    let directory = app.data_dir().join("journal/main");
    let mut backlog = SegmentStorage::open(&directory, JournalOptions::default(), Arc::new(())).unwrap();
    for _ in 0..3 {
        backlog.append(&vec![b"nothing that a writer knows".to_vec(); 10_000]).unwrap();
    }
    drop(backlog);
    points.arm(&["start.read=sleep(1100)"]);
    // It takes a connection and says nothing.
    let (silent, url) = Proxy::to_url(&app.databases.analytics_url).await;
    silent.set(Link::BlackHole);
    app.set("WEIR_ANALYTICS_DATABASE_URL", &url);
    let log = app.directory.path().join("start.log");
    let mut starting =
        app.command(&[]).stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    app.until("it has started", async || said().contains("serving requests")).await;
    starting.kill().unwrap();
    starting.wait().unwrap();
    let said = said();
    let read = said.lines().find(|line| line.contains("reading back what is in the journal")).unwrap_or_default();
    assert!(read.contains("journal=\"main\" records=20000 left=10000"), "{said}");
    let waited = said.lines().filter(|line| line.contains("still waiting what=\"the databases\""));
    let waited: Vec<&str> = waited.collect();
    assert!((1..=3).contains(&waited.len()), "once a second, for three seconds: {said}");
    assert!(waited[0].contains("left=\"analytics starting, main "), "{said}");
}

#[tokio::test]
async fn shutdown_log_names_pending_work() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.set("WEIR_SHUTDOWN_TIMEOUT_SECONDS", "5");
    app.launch().await;
    app.create_session(&minimal_session()).await;
    let whole = request("POST", "/api/v1/analytics/session", &[], minimal_session().to_string().as_bytes());
    let mut mute = RawConnection::open(&app);
    // The first request shows that a worker has the connection.
    mute.send(&whole);
    assert_eq!(mute.answer().expect("an answer").status, 200);
    mute.send(&whole[..whole.len() - 10]);
    assert!(app.stop().await.success());
    let log = app.log();
    let waited = |what: &str| -> Vec<&str> {
        log.lines().filter(|line| line.contains(&format!("still waiting what=\"{what}\""))).collect()
    };
    let (clients, writers) = (waited("requests in flight"), waited("the writers"));
    assert!((1..=2).contains(&clients.len()) && (1..=4).contains(&writers.len()), "{log}");
    // Those that wait for another request are dropped at once.
    assert!(clients.iter().any(|line| line.contains("left=\"1 connections\"")), "{clients:?}");
    assert!(writers[0].contains("left=\"2 records of analytics, 0 records of main\""), "{writers:?}");
}

on_both_databases! {
    async fn catch_up_log_reports_progress_until_done(backend) {
        // It counts the lines of a backlog that is caught up at full speed.
        let _alone = exclusive().await;
        let (mut app, points) = prepared(backend).await;
        app.launch().await;
        let mut ledger = Ledger::of("catching up, told", backend);
        let outage = Outage::of(&app).await;
        // More than the 4 MiB of one transaction.
        let rest = "x".repeat(8000);
        for number in 0..800 {
            visit(&app, &mut ledger, &format!("{number}/{rest}")).await;
        }
        app.kill();
        outage.end(&app).await;
        points.arm(&["writer.committed=1*sleep(6000)"]);
        app.launch().await;
        app.until("it has caught up", async || app.log().contains("caught up database=\"analytics\"")).await;
        let log = app.log();
        let told: Vec<&str> = log.lines().filter(|line| line.contains("catching up database=\"analytics\"")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        for field in ["behind=", "records=", "per_second=", "seconds_left="] {
            assert!(told[0].contains(field), "{field} is not in {told:?}");
        }
        assert!(!log.contains("database=\"main\" behind="), "nothing was behind there");
        // From now on it keeps up, and there is nothing to tell.
        app.create_session(&minimal_session()).await;
        ledger.settle(&app).await;
        assert_eq!(app.log().matches("caught up database=\"analytics\"").count(), 1);
    }

    async fn catch_up_log_after_outage_reports_completion(backend) {
        let mut app = TestApp::prepare(backend).await;
        app.set_all(UNTHROTTLED);
        app.launch().await;
        let outage = Outage::of(&app).await;
        app.create_session(&minimal_session()).await;
        app.until("the outage is noticed", async || app.log().contains("database is away")).await;
        for _ in 0..9 {
            app.create_session(&minimal_session()).await;
        }
        outage.end(&app).await;
        app.applied().await;
        app.until("it is told", async || app.log().contains("caught up database=\"analytics\"")).await;
    }
}
