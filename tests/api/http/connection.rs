//! Connections that end early, are slow, or are used again after a refusal.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_testkit::raw_connection::{Answer, RawConnection, request};
use weir_testkit::{Backend, Database, TestApp, UNTHROTTLED, exclusive, minimal_session, on_both_databases};

use crate::SESSION;

fn good() -> Vec<u8> {
    request("POST", SESSION, &["Content-Type: application/json"], minimal_session().to_string().as_bytes())
}

/// The id in a session's answer.
fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["data"]["id"].as_str().expect("stored").to_owned()
}

fn error_code(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    assert_eq!(body["success"], json!(false), "{body}");
    assert_eq!(body["error"]["correlationId"].as_str(), answer.header("x-request-id"), "{body}");
    body["error"]["code"].as_str().unwrap().to_owned()
}

/// What copied proxy configurations send with every request, and Java's client with its first.
const OFFERS: [&[&str]; 2] = [
    &["Connection: upgrade"],
    &[
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    ],
];

#[tokio::test]
async fn connection_with_an_offer_of_another_protocol_is_served_or_told_to_close() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for offer in OFFERS {
        let mut stored = 0;
        let mut wire = RawConnection::open(&app);
        for _ in 0..4 {
            let headers = [&["Content-Type: application/json"], offer].concat();
            wire.send(request("POST", SESSION, &headers, minimal_session().to_string().as_bytes()));
            let answer = wire.answer().expect("an answer");
            id(&answer);
            stored += 1;
            if answer.header("connection").is_some_and(|connection| connection.eq_ignore_ascii_case("close")) {
                wire = RawConnection::open(&app);
            }
        }
        assert_eq!(stored, 4, "{offer:?}");
    }
    for (path, status) in [("/nowhere", 404), ("/health/live", 200)] {
        let mut wire = RawConnection::open(&app);
        wire.send(request("GET", path, OFFERS[0], b""));
        let answer = wire.answer().unwrap();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{path}");
    }
}

#[tokio::test]
async fn connection_survives_refused_requests() {
    let app = TestApp::start_with(Backend::Sqlite, &[("WEIR_THROTTLE__SESSION", "1/60s")]).await;
    let session = minimal_session().to_string();
    let long = format!("{{\"padding\":\"{}\"}}", "x".repeat(60_000));
    let from = |ip: &str| format!("X-Forwarded-For: {ip}");
    let mut wire = RawConnection::open(&app);
    for (refused, status) in [
        (request("POST", SESSION, &["Content-Type: text/html", &from("203.0.113.1")], long.as_bytes()), 415),
        (request("POST", SESSION, &["Content-Encoding: deflate", &from("203.0.113.2")], long.as_bytes()), 415),
        (request("POST", SESSION, &["Content-Type: application/json", &from("203.0.113.1")], long.as_bytes()), 429),
        (request("PUT", SESSION, &[], long.as_bytes()), 405),
        (request("POST", "/api/v1/nothing", &[], long.as_bytes()), 404),
        (request("POST", SESSION, &[&from("203.0.113.3")], b"{"), 400),
        (request("POST", SESSION, &[&from("203.0.113.4")], b"{}"), 400),
        (request("POST", SESSION, &["Content-Encoding: gzip", &from("203.0.113.5")], b"no gzip"), 400),
    ] {
        wire.send(refused);
        let answer = wire.answer().expect("an answer");
        assert_eq!(answer.status, status, "{answer:?}");
        assert_ne!(answer.header("connection"), Some("close"), "{answer:?}");
        error_code(&answer);
    }
    wire.send(request("POST", SESSION, &["Content-Type: application/json"], session.as_bytes()));
    app.session(&id(&wire.answer().expect("the connection is still good"))).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let mut wire = RawConnection::open(&app);
    let wrong_type = request("POST", SESSION, &["Content-Type: text/html"], b"<p>");
    wire.send([good(), wrong_type, good()].concat());
    let answers: Vec<Answer> = (0..3).map(|_| wire.answer().expect("an answer")).collect();
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 415, 200]);
    assert!(id(&answers[0]) < id(&answers[2]));
}

#[tokio::test]
async fn chunked_body_is_read_and_bounded() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let chunked = format!("POST {SESSION} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let session = minimal_session().to_string();
    let mut wire = RawConnection::open(&app);
    wire.send(&chunked);
    for part in session.as_bytes().chunks(7) {
        wire.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
    }
    wire.send("0\r\n\r\n");
    app.session(&id(&wire.answer().expect("an answer"))).await;

    wire.send(&chunked);
    let chunk = [b"1000\r\n".as_slice(), &[b' '; 4096], b"\r\n"].concat();
    for _ in 0..17 {
        wire.send(&chunk);
    }
    let _ = wire.try_send("0\r\n\r\n");
    let answer = wire.answer().expect("an answer");
    assert_eq!((answer.status, error_code(&answer).as_str()), (413, "PAYLOAD_TOO_LARGE"));

    // No one knows where such a body ends: the connection is not used again, and the server lives.
    let mut wire = RawConnection::open(&app);
    wire.send(&chunked);
    wire.send("nonsense\r\n");
    if let Some(answer) = wire.answer() {
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    app.still_serves().await;
}

#[tokio::test]
async fn slow_requests_are_ended_by_timeout() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            let mut wire = RawConnection::open(&app);
            let head = format!("POST {SESSION} HTTP/1.1\r\nX-Slow: ");
            let mut sent = wire.try_send(&head);
            // A byte now and then, which is what is tested; it ends when the server hangs up.
            while sent.is_ok() && began.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(100));
                sent = wire.try_send("x");
            }
            assert!(sent.is_err(), "a head may take for ever");
            assert!(began.elapsed() > Duration::from_secs(3), "a slow client had no chance: {:?}", began.elapsed());
        });
        scope.spawn(|| {
            let began = Instant::now();
            let mut wire = RawConnection::open(&app);
            let whole = good();
            wire.send(&whole[..whole.len() - 5]);
            let answer = wire.answer().expect("an answer");
            let took = began.elapsed();
            assert_eq!((answer.status, error_code(&answer).as_str()), (408, "REQUEST_TIMEOUT"));
            assert_eq!(answer.header("connection"), Some("close"));
            assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&took), "{took:?}");
            assert!(wire.answer().is_none());
        });
        scope.spawn(|| {
            // Whoever is refused is not waited for any longer than whoever is not.
            let began = Instant::now();
            let mut wire = RawConnection::open(&app);
            let whole = request("PUT", SESSION, &[], &[b'x'; 1000]);
            wire.send(&whole[..whole.len() - 5]);
            let answer = wire.answer().expect("an answer");
            assert_eq!(answer.status, 405);
            assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        });
    });
    app.still_serves().await;
    assert_eq!(app.outcomes("session", "incomplete").await, 1.0);
    assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await, 1);
}

on_both_databases! {
    async fn client_half_closed_still_gets_response(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for _ in 0..10 {
            let mut wire = RawConnection::open(&app);
            wire.send(good());
            wire.half_close();
            app.session(&id(&wire.answer().expect("the answer to a whole request"))).await;
        }
    }

    async fn client_disconnect_mid_request_is_counted_and_stores_nothing(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let whole = good();
        for cut in [whole.len() - 1, whole.len() - 20] {
            let mut wire = RawConnection::open(&app);
            wire.send(&whole[..cut]);
        }
        app.until("both are counted", async || {
            app.outcomes("session", "incomplete").await + app.outcomes("session", "abandoned").await == 2.0
        })
        .await;
        app.still_serves().await;
        assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await, 1);
    }
}

#[tokio::test]
async fn malformed_http_does_not_harm_server() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let long_header = format!("POST {SESSION} HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    let two_lengths = format!("POST {SESSION} HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}");
    let both = format!("POST {SESSION} HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let negative = format!("POST {SESSION} HTTP/1.1\r\nContent-Length: -1\r\n\r\n");
    let cases = [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"\r\n\r\n\r\nhello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        long_header.as_bytes(),
        two_lengths.as_bytes(),
        both.as_bytes(),
        negative.as_bytes(),
    ];
    for bytes in cases {
        let mut wire = RawConnection::open(&app);
        let _ = wire.try_send(bytes);
        wire.half_close();
        if let Some(answer) = wire.answer() {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            assert!((400..500).contains(&answer.status) || answer.status == 505, "{shown}: {answer:?}");
        }
    }
    app.still_serves().await;
}

#[tokio::test]
async fn response_does_not_wait_for_tcp_acknowledgement() {
    // It looks at how long answers take.
    let _alone = exclusive().await;
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let mut wire = RawConnection::open(&app);
    let mut rounds = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        wire.send(good().repeat(4));
        for _ in 0..4 {
            assert_eq!(wire.answer().unwrap().status, 200);
        }
        rounds.push(began.elapsed());
    }
    // Whoever waits for a confirmation does so for 40 ms, every time but for a connection's first packets. The disk may be
    // slow now and then.
    assert!(rounds[10..].iter().any(|took| *took < Duration::from_millis(40)), "{rounds:?}");
}
