//! Where a request begins and ends, for every way to write it: whoever is in doubt refuses, and hangs up.
//!
//! A proxy in front may read the same bytes in another way. What it takes for one request must never be two here.

use serde_json::Value;
use weir_testkit::raw_connection::{Answer, RawConnection};
use weir_testkit::{BROWSER, Backend, Database, TestApp, UNTHROTTLED, minimal_session};

use crate::SESSION;

/// What a smuggler hides behind another request.
const HIDDEN: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-Id: hidden\r\n\r\n";

/// Sends these bytes and everything that is to come, and reads every answer until the connection ends.
fn answers_to(app: &TestApp, bytes: &[u8]) -> Vec<Answer> {
    let mut wire = RawConnection::open(app);
    let _ = wire.try_send(bytes);
    wire.half_close();
    std::iter::from_fn(|| wire.answer()).collect()
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

fn post(headers: &str, body: &str) -> String {
    format!("POST {SESSION} HTTP/1.1\r\nHost: x\r\nUser-Agent: {BROWSER}\r\n{headers}\r\n\r\n{body}")
}

#[tokio::test]
async fn framing_ambiguous_request_end_is_400_and_closes() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nContent-Length: 5",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked;x=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
        "Transfer-Encoding:\u{b}chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5.0",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length : 5",
        "Content-\0Length: 5",
        "Host: y\r\nContent-Length: 5",
    ] {
        let answers = answers_to(&app, post(headers, &format!("0\r\n\r\n{HIDDEN}")).as_bytes());
        assert_eq!(statuses(&answers), [400], "{headers:?}: {answers:?}");
        assert!(answers[0].header("connection").is_none_or(|connection| connection == "close"), "{headers:?}");
    }
    app.still_serves().await;
    assert!(!app.log().contains("hidden"), "something was smuggled");
    assert!(!app.log().contains("ERROR"), "a client's mistake is no error of the server's");
}

#[tokio::test]
async fn framing_with_clear_request_end_is_accepted() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let body = minimal_session().to_string();
    let chunked = |body: &str| format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (headers, body) in [
        (format!("Content-Length: {}", body.len()), body.clone()),
        (format!("content-length:{}", body.len()), body.clone()),
        (format!("Content-Length: 000{}", body.len()), body.clone()),
        ("Transfer-Encoding: chunked".to_owned(), chunked(&body)),
        ("transfer-encoding:CHUNKED".to_owned(), chunked(&body)),
        // What the answer may be encoded with says nothing of the request.
        (format!("TE: gzip, trailers\r\nContent-Length: {}", body.len()), body.clone()),
        (format!("Connection: keep-alive, content-length\r\nContent-Length: {}", body.len()), body.clone()),
    ] {
        let both = format!("{}{HIDDEN}", post(&headers, &body));
        let answers = answers_to(&app, both.as_bytes());
        assert_eq!(statuses(&answers), [200, 200], "{headers}: {answers:?}");
        let stored: Value = serde_json::from_str(&answers[0].body).unwrap();
        assert!(stored["data"]["id"].is_string(), "{headers}: {stored}");
        assert_eq!(answers[1].header("x-request-id"), Some("hidden"), "{headers}");
    }
    // Without a length there is no body: what follows is the next request, and none.
    let answers = answers_to(&app, post("X: y", &body).as_bytes());
    assert_eq!(statuses(&answers), [400, 400], "{answers:?}");
    app.applied().await;
    assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) AS n FROM analytics_sessions").await, 7);
}

#[tokio::test]
async fn framing_chunk_syntax_is_strict() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let body = minimal_session().to_string();
    let size = format!("{:x}", body.len());
    let good = [
        format!("{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("{}\r\n{body}\r\n0\r\n\r\n", size.to_uppercase()),
        format!("000{size}\r\n{body}\r\n000\r\n\r\n"),
        format!("{size};name=value\r\n{body}\r\n0;last\r\n\r\n"),
        // A trailer is read, and is no header: this one would be a bot's.
        format!("{size}\r\n{body}\r\n0\r\nUser-Agent: curl/8.5.0\r\nX-Trailer: y\r\n\r\n"),
    ];
    for body in &good {
        let answers = answers_to(&app, format!("{}{HIDDEN}", post("Transfer-Encoding: chunked", body)).as_bytes());
        assert_eq!(statuses(&answers), [200, 200], "{body}: {answers:?}");
        let stored: Value = serde_json::from_str(&answers[0].body).unwrap();
        assert!(stored["data"]["id"].is_string(), "{body}: {stored}");
    }
    for body in [
        format!("g\r\n{body}\r\n0\r\n\r\n"),
        format!("-{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("0x{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("\r\n{body}\r\n0\r\n\r\n"),
        format!(";\r\n{body}\r\n0\r\n\r\n"),
        format!("1{}\r\n{body}\r\n0\r\n\r\n", "0".repeat(16)),
        format!("{}\r\n{body}\r\n0\r\n\r\n", "f".repeat(17)),
        format!("{size}\r\n{body}0\r\n\r\n"),
        format!("{size}\r\n{body}xx0\r\n\r\n"),
        format!("{size}\n{body}\n0\n\n"),
    ] {
        let answers = answers_to(&app, format!("{}{HIDDEN}", post("Transfer-Encoding: chunked", &body)).as_bytes());
        assert!(answers.iter().all(|answer| answer.status == 400), "{body}: {answers:?}");
        assert!(!answers.is_empty(), "{body}");
    }
    // A trailer, or a chunk's extension, as long as it likes: no more of it is read than of anything else.
    let long = "x".repeat(1 << 20);
    std::thread::scope(|scope| {
        for endless in [format!("{size}\r\n{body}\r\n0\r\nX-Long: {long}"), format!("{size};{long}\r\n{body}")] {
            let app = &app;
            scope.spawn(move || {
                let answers = answers_to(app, post("Transfer-Encoding: chunked", &endless).as_bytes());
                assert_eq!(statuses(&answers), [408], "{answers:?}");
            });
        }
    });
    app.still_serves().await;
    let stored = i64::try_from(good.len()).unwrap() + 1;
    assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) AS n FROM analytics_sessions").await, stored);
}

#[tokio::test]
async fn framing_http_1_0_is_served_and_closes_connection() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let body = minimal_session().to_string();
    let old = |headers: &str| {
        format!(
            "POST {SESSION} HTTP/1.0\r\nUser-Agent: {BROWSER}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let mut wire = RawConnection::open(&app);
    wire.send(old(""));
    assert_eq!(wire.answer().expect("an answer").status, 200);
    assert!(wire.answer().is_none(), "the connection goes on");
    let answers = answers_to(&app, format!("{}{HIDDEN}", old("Connection: keep-alive\r\n")).as_bytes());
    assert_eq!(statuses(&answers), [200, 200], "{answers:?}");
    for refused in [
        format!("POST {SESSION} HTTP/1.0\r\n\r\n{body}"),
        format!("POST {SESSION} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
    ] {
        assert_eq!(statuses(&answers_to(&app, refused.as_bytes())), [400], "{refused}");
    }
    for line in ["GET / HTTP/2.0", "GET / HTTP/0.9", "GET / HTTP/1.2", "GET /", "GET / http/1.1", "get / HTTP/1,1"] {
        let answers = answers_to(&app, format!("{line}\r\nHost: x\r\n\r\n{HIDDEN}").as_bytes());
        assert_eq!(statuses(&answers), [400], "{line}");
    }
    app.still_serves().await;
}

#[tokio::test]
async fn request_target_in_any_form_resolves_to_path() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for (line, status) in [
        ("GET http://elsewhere.example/health/live HTTP/1.1", 200),
        ("GET http://elsewhere.example:8080/health/live?x#y HTTP/1.1", 200),
        ("GET //health/live HTTP/1.1", 404),
        ("GET /health/live/../../metrics HTTP/1.1", 404),
        ("GET /health/./live HTTP/1.1", 404),
        ("GET /health%2Flive HTTP/1.1", 404),
        ("GET http://elsewhere.example HTTP/1.1", 404),
        ("OPTIONS * HTTP/1.1", 404),
        ("CONNECT elsewhere.example:443 HTTP/1.1", 404),
        ("TRACE /health/live HTTP/1.1", 405),
        ("GET health/live HTTP/1.1", 400),
        ("GET /health\0/live HTTP/1.1", 400),
        ("GET /health live HTTP/1.1", 400),
    ] {
        let answers = answers_to(&app, format!("{line}\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(statuses(&answers), [status], "{line}: {answers:?}");
        let shown = format!("{answers:?}");
        assert!(!shown.contains("elsewhere"), "{shown}");
    }
    for hosts in ["", "Host: x\r\nHost: x\r\n", "Host: x\r\nHost: y\r\n"] {
        let answers = answers_to(&app, format!("GET /health/live HTTP/1.1\r\n{hosts}\r\n").as_bytes());
        assert_eq!(statuses(&answers), [400], "{hosts}");
    }
    app.still_serves().await;
}

#[tokio::test]
async fn framing_error_is_counted_once_and_logged() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let oversized = format!("GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(200_000));
    let cases: [(&[u8], u16); 4] = [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET health/live HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (oversized.as_bytes(), 431),
    ];
    let mut expected = 0.0;
    for (bytes, status) in cases {
        let mut wire = RawConnection::open(&app);
        let _ = wire.try_send(bytes);
        let answer = wire.answer().expect("an answer");
        assert_eq!(answer.status, status, "{answer:?}");
        let id = answer.header("x-request-id").expect("a request id").to_owned();
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
        app.until("its id is logged", async || app.log().contains(&id)).await;
        wire.half_close();
        drop(wire);
        expected += 1.0;
        app.until("it is counted", async || app.outcomes("other", "invalid").await >= expected).await;
        assert_eq!(app.outcomes("other", "invalid").await, expected, "once");
    }
    // A head that comes too slowly, the first of its connection and a later one.
    for before in ["", "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let incomplete = app.outcomes("other", "incomplete").await;
        let mut wire = RawConnection::open(&app);
        wire.send(before);
        if !before.is_empty() {
            assert_eq!(wire.answer().map(|answer| answer.status), Some(200));
        }
        wire.send("GET /health/live HTTP/1.1\r\nHo");
        let answer = wire.answer();
        assert_eq!(answer.map(|answer| answer.status), before.is_empty().then_some(408));
        drop(wire);
        app.until("it is counted", async || app.outcomes("other", "incomplete").await > incomplete).await;
        assert_eq!(app.outcomes("other", "incomplete").await, incomplete + 1.0, "once");
    }
    // Neither of these has asked for anything.
    let silent = RawConnection::open(&app);
    drop(silent);
    let mut gone = RawConnection::open(&app);
    gone.send("GET /health/li");
    drop(gone);
    app.still_serves().await;
    let log = app.log();
    assert_eq!(log.matches("request ended before it had a route").count(), 6, "{log}");
    assert!(log.contains("status=431 outcome=\"invalid\" reason=TooLong") && log.contains("reason=TooSlow"), "{log}");
}
