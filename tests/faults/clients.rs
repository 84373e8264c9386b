//! Clients that are slow, that never read, that say nothing: each is dropped in time, and costs the others nothing.
//!
//! `WEIR_FAULTS=long` holds more connections, and waits until the server ends them by itself.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weir_testkit::raw_connection::{RawConnection, request};
use weir_testkit::{PATIENCE, UNTHROTTLED, exclusive, minimal_session};

use std::time::{Duration, Instant};

use super::*;

/// The memory of the server's process that is in use, in KiB.
fn memory(app: &TestApp) -> u64 {
    super::memory::resident_bytes(app) >> 10
}

/// How long the server's process has computed.
fn computed(app: &TestApp) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", app.pid())).unwrap();
    // After the name, which may hold anything: user and system time are the twelfth and thirteenth, in hundredths.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    Duration::from_millis(10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()))
}

/// Sends one byte a second until the connection ends; all that was answered, and how long that took.
fn trickle(app: &TestApp, begun: &[&[u8]]) -> (String, Duration) {
    let mut stream = TcpStream::connect(app.authority()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut heard = Vec::new();
    let mut began = Instant::now();
    for part in begun {
        began = Instant::now();
        stream.write_all(part).unwrap();
        let mut answer = [0; 4096];
        if let Ok(read) = stream.read(&mut answer) {
            heard.extend_from_slice(&answer[..read]);
        }
    }
    while began.elapsed() < PATIENCE {
        let mut answer = [0; 4096];
        let sent = stream.write_all(b"x");
        // What was answered before the end can still be read after it.
        let ended = match stream.read(&mut answer) {
            Ok(0) => true,
            Ok(read) => {
                heard.extend_from_slice(&answer[..read]);
                false
            }
            // The second is over.
            Err(error) => sent.is_err() || error.kind() != ErrorKind::WouldBlock,
        };
        if ended {
            return (String::from_utf8(heard).unwrap(), began.elapsed());
        }
    }
    panic!("the server waits for ever: {}", String::from_utf8_lossy(&heard));
}

#[tokio::test]
async fn slow_request_one_byte_per_second_times_out() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let whole = request("GET", "/health/live", &[], b"");
    let head: &[u8] = b"POST /api/v1/analytics/session HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    let body: &[u8] = b"POST /api/v1/analytics/session HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{";
    let both = [&whole[..], head].concat();
    let probe: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n";
    let chunk: &[u8] =
        b"POST /api/v1/analytics/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n";
    std::thread::scope(|scope| {
        let slow: [(Vec<&[u8]>, u64, &str); 7] = [
            (vec![head], 5, "HTTP/1.1 408"),
            (vec![&whole, head], 5, ""),
            (vec![&whole, b"G"], 5, ""),
            // A head that came along with another request.
            (vec![&both], 6, ""),
            (vec![body], 10, "HTTP/1.1 408"),
            // After the answer there are five more seconds to hang up.
            (vec![&whole, chunk], 15, "HTTP/1.1 408"),
            (vec![probe], 5, "HTTP/1.1 200"),
        ];
        for (begun, seconds, answer) in slow {
            let app = &app;
            scope.spawn(move || {
                let (heard, took) = trickle(app, &begun);
                let shown = String::from_utf8_lossy(&begun.concat()).into_owned();
                let expected = Duration::from_secs(seconds - 1)..Duration::from_secs(seconds + 4);
                assert!(expected.contains(&took), "{shown}: {took:?}");
                assert!(heard.contains(answer), "{shown}: {heard}");
            });
        }
    });
    app.still_serves().await;
    app.until("all of them are gone", async || app.metric("weir_connections").await < 1.5).await;
}

#[tokio::test]
async fn client_silent_mid_request_is_disconnected() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let probe = "GET /health/live HTTP/1.1\r\nHost: x\r\n";
    let visit = "POST /api/v1/analytics/session HTTP/1.1\r\nHost: x\r\n";
    std::thread::scope(|scope| {
        for (sent, seconds) in [
            (String::new(), 5),
            (visit.to_owned(), 5),
            (format!("{probe}\r\n{visit}"), 75),
            (format!("{visit}Content-Length: 9\r\n\r\n"), 11),
            (format!("{visit}Transfer-Encoding: chunked\r\n\r\n"), 15),
            (format!("{visit}Transfer-Encoding: chunked\r\n\r\n9\r\n{{"), 15),
            (format!("{probe}Transfer-Encoding: chunked\r\n\r\n9\r\n{{"), 5),
            (format!("{visit}Upgrade: websocket\r\nConnection: upgrade\r\n\r\n"), 11),
            (format!("{probe}\r\n"), 75),
        ] {
            let app = &app;
            if seconds > 15 && !long() {
                continue;
            }
            scope.spawn(move || {
                let mut stream = TcpStream::connect(app.authority()).unwrap();
                stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
                stream.write_all(sent.as_bytes()).unwrap();
                let began = Instant::now();
                let mut heard = Vec::new();
                let ended = stream.read_to_end(&mut heard);
                let (took, heard) = (began.elapsed(), String::from_utf8_lossy(&heard).into_owned());
                assert!(ended.is_ok(), "{sent}: {ended:?} after {took:?}");
                // The alarm for a head that came in time rings once more; the silence begins anew then.
                let expected = Duration::from_secs(seconds - 1)..Duration::from_secs(seconds + 7);
                assert!(expected.contains(&took), "{sent}: {took:?}: {heard}");
            });
        }
    });
    app.still_serves().await;
}

#[tokio::test]
async fn client_never_reading_is_disconnected_with_bounded_memory() {
    const CLIENTS: u64 = 24;
    // It looks at how much the server computes of the time that there is.
    let _alone = exclusive().await;
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    app.still_serves().await;
    let before = memory(&app);
    let many = b"GET /nothing HTTP/1.1\r\nHost:x\r\n\r\n".repeat(4096);
    let (mut most, mut longest, mut stalled) = (0, Duration::ZERO, Duration::ZERO);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = TcpStream::connect(app.authority()).unwrap();
            stream.set_write_timeout(Some(2 * PATIENCE)).unwrap();
            let many = many.clone();
            std::thread::spawn(move || {
                let began = Instant::now();
                // Blocks once nobody takes any more, until the connection is ended.
                while stream.write_all(&many).is_ok() {}
                began.elapsed()
            })
        })
        .collect();
    while !clients.iter().all(std::thread::JoinHandle::is_finished) {
        let (began, computing) = (Instant::now(), computed(&app));
        app.create_session(&minimal_session()).await;
        longest = longest.max(began.elapsed());
        most = most.max(memory(&app));
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Once they are all stuck, there is nothing to compute.
        if computed(&app).saturating_sub(computing) < began.elapsed() / 5 {
            stalled += began.elapsed();
        }
    }
    let grown = most.saturating_sub(before);
    let held: Vec<Duration> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let (least, last) = (held.iter().min().unwrap(), held.iter().max().unwrap());
    println!(
        "{CLIENTS} clients that never read: {before} KiB, at most {most} KiB, {} KiB each; a session within {longest:?}; ended after {least:?} to {last:?}; little to compute for {stalled:?}",
        grown / CLIENTS
    );
    assert!(grown < CLIENTS * 1024, "{} KiB each", grown / CLIENTS);
    assert!(longest < Duration::from_secs(10), "another client waited {longest:?}");
    assert!(*least > Duration::from_secs(25), "a slow reader had no chance: {least:?}");
    assert!(*last < Duration::from_secs(100), "{last:?}");
    assert!(stalled > Duration::from_secs(15), "it computes all the time: {stalled:?} of {last:?}");
    app.still_serves().await;
}

fn long() -> bool {
    std::env::var("WEIR_FAULTS").is_ok_and(|faults| faults == "long")
}

/// As many connections as this process and the server may have, up to a number.
pub fn affordable(wanted: u64) -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    wanted.min(maximum.unwrap_or(u64::MAX).saturating_sub(1000))
}

#[tokio::test]
async fn idle_connections_use_bounded_memory_and_block_no_request() {
    let clients = affordable(if long() { 10_000 } else { 2000 });
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    app.still_serves().await;
    let before = memory(&app);
    let one = request("GET", "/health/live", &[], b"");
    let began = Instant::now();
    let idle: Vec<RawConnection> = (0..clients)
        .map(|_| {
            let mut wire = RawConnection::open(&app);
            wire.send(&one);
            assert_eq!(wire.answer().expect("an answer").status, 200);
            wire
        })
        .collect();
    let opened = began.elapsed();
    let with = memory(&app);
    #[allow(clippy::cast_precision_loss)] // a few thousand
    let all = clients as f64;
    assert!(app.metric("weir_connections").await >= all, "some were ended early");
    let began = Instant::now();
    app.create_session(&minimal_session()).await;
    let answered = began.elapsed();
    if long() {
        let began = Instant::now();
        while app.metric("weir_connections").await > all / 2.0 {
            assert!(began.elapsed() < 2 * PATIENCE, "silence is for ever");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        println!("the server ended them after {:?}", began.elapsed());
    }
    drop(idle);
    app.until("they are gone", async || app.metric("weir_connections").await < 10.0).await;
    println!(
        "{clients} idle connections, opened within {opened:?}: {before} KiB before, {with} KiB with them ({} KiB each), {} KiB after; a session within {answered:?} meanwhile",
        (with - before) / clients,
        memory(&app)
    );
    assert!(answered < Duration::from_secs(10), "{answered:?}");
    assert!((with - before) / clients < 64, "{} KiB each", (with - before) / clients);
    app.still_serves().await;
}
