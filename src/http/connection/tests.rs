//! The silence between two requests, with actix-http's own dispatcher over real sockets.

use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Request, Response, StatusCode};
use actix_service::{Service as _, ServiceFactory as _, fn_service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::{Connection, Connections, Wire};

/// Long enough for a busy machine to come back to a client in time.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than the system keeps of what a client does not read.
const LARGE: usize = 32 << 20;

/// A client of a server that takes so long for an answer of this length, and what completes when the server has ended the
/// connection.
async fn connect(service_time: Duration, answer_bytes: usize) -> (TcpStream, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let connections = Connections { keep_alive: KEEP_ALIVE, ..Connections::at_most(1) };
    let wire = Wire::new(accepted.unwrap().0, &connections);
    let factory = HttpService::build()
        .keep_alive(KeepAlive::Os)
        .on_connect_ext(|wire: &Wire, data| wire.introduce(data))
        .h1(fn_service(move |request: Request| async move {
            let serving = Connection::serve(&request);
            sleep(service_time).await;
            serving.answered(std::time::Instant::now());
            Ok::<_, actix_http::Error>(Response::with_body(StatusCode::OK, vec![b'x'; answer_bytes]))
        }));
    let service = factory.new_service(()).await.unwrap();
    let served = actix::spawn(async move {
        let connection = wire.connection();
        let _ = connection.attend(service.call((wire, None))).await;
    });
    (client.unwrap(), served)
}

async fn ask(client: &mut TcpStream) {
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    let length = timeout(PATIENCE, client.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200 OK"), "{:?}", &answer[..length]);
}

/// How long after now the server ends the connection.
async fn silence(client: &mut TcpStream, served: tokio::task::JoinHandle<()>) -> Duration {
    let began = Instant::now();
    let read = timeout(PATIENCE, client.read(&mut [0; 1])).await.expect("a silent connection is ended");
    assert_eq!(read.unwrap(), 0, "it ends in order");
    timeout(PATIENCE, served).await.expect("the task ends with it").unwrap();
    began.elapsed()
}

#[actix_web::test]
async fn a_connection_that_is_silent_after_a_request_is_ended_in_order() {
    let (mut client, served) = connect(Duration::ZERO, 0).await;
    ask(&mut client).await;
    let silent = silence(&mut client, served).await;
    assert!(silent > KEEP_ALIVE / 2, "{silent:?}");
}

#[actix_web::test]
async fn a_connection_in_use_is_not_ended_and_its_last_silence_counts() {
    let (mut client, served) = connect(Duration::ZERO, 0).await;
    let began = Instant::now();
    while began.elapsed() < 2 * KEEP_ALIVE {
        ask(&mut client).await;
        sleep(KEEP_ALIVE / 10).await;
    }
    ask(&mut client).await;
    let silent = silence(&mut client, served).await;
    assert!(silent > KEEP_ALIVE / 2, "{silent:?}");
}

#[actix_web::test]
async fn a_request_that_takes_longer_than_a_silence_may_is_answered() {
    let (mut client, served) = connect(2 * KEEP_ALIVE, 0).await;
    // The timer rings while the second one is in service.
    ask(&mut client).await;
    ask(&mut client).await;
    let silent = silence(&mut client, served).await;
    assert!(silent > KEEP_ALIVE / 2, "{silent:?}");
}

#[actix_web::test]
async fn an_answer_that_is_read_late_holds_up_nobody_and_its_silence_begins_when_it_was_read() {
    let (mut client, served) = connect(Duration::ZERO, LARGE).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    // Longer than a silence may be: this one is the client's, and the server shares this very thread.
    sleep(2 * KEEP_ALIVE).await;
    let mut answer = vec![0; LARGE];
    timeout(PATIENCE, client.read_exact(&mut answer)).await.expect("the rest of it comes").unwrap();
    let mut rest = [0; 1024];
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    timeout(PATIENCE, client.read_exact(&mut rest[..head])).await.expect("all of it comes").unwrap();
    let silent = silence(&mut client, served).await;
    assert!(silent > KEEP_ALIVE / 2, "{silent:?}");
}

#[actix_web::test]
async fn a_body_left_unread_behind_an_answer_that_is_read_late_holds_up_nobody() {
    let (mut client, served) = connect(Duration::ZERO, LARGE).await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{").await.unwrap();
    sleep(KEEP_ALIVE).await;
    let mut answer = vec![0; LARGE];
    timeout(PATIENCE, client.read_exact(&mut answer)).await.expect("it comes").unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, client.read_to_end(&mut rest)).await.expect("the connection is ended");
    timeout(PATIENCE, served).await.expect("the task ends with it").unwrap();
}
