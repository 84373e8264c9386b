//! Deadlines of a connection, with actix-http's own dispatcher over real sockets.

use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Request, Response, StatusCode};
use actix_service::{Service as _, ServiceFactory as _, fn_service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use weir_http_guard::{Connections, GuardedBody, GuardedStream, READ_AHEAD_BYTES, Timeouts, guard_requests};

/// Long enough for a busy machine to come back to a client in time.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than the system keeps of what a client does not read.
const LARGE: usize = 32 << 20;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A client of a server that answers with `answer`, and what completes when the server has ended the connection.
async fn connect<F: Future<Output = Vec<u8>> + 'static>(
    answer: impl Fn(Request) -> F + Clone + 'static,
) -> (TcpStream, tokio::task::JoinHandle<()>) {
    let timeouts = Timeouts { keep_alive: KEEP_ALIVE, ..Timeouts::default() };
    connect_counted(&Connections::at_most(1, timeouts), answer).await
}

/// The same as one of these connections.
async fn connect_counted<F: Future<Output = Vec<u8>> + 'static>(
    connections: &Connections,
    answer: impl Fn(Request) -> F + Clone + 'static,
) -> (TcpStream, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let stream = GuardedStream::new(accepted.unwrap().0, connections);
    let service = fn_service(move |request: Request| {
        let answer = answer(request);
        async { Ok::<_, actix_http::Error>(Response::with_body(StatusCode::OK, answer.await)) }
    });
    let factory = HttpService::build()
        .keep_alive(KeepAlive::Os)
        .on_connect_ext(|stream: &GuardedStream, data| stream.attach(data))
        .h1(guard_requests(service));
    let service = factory.new_service(()).await.unwrap();
    let served = actix_web::rt::spawn(async move {
        let connection = stream.connection();
        let _ = connection.drive(service.call((stream, None))).await;
    });
    (client.unwrap(), served)
}

/// The same of a server that takes so long for an answer of this length.
async fn connect_to(service_time: Duration, answer_bytes: usize) -> (TcpStream, tokio::task::JoinHandle<()>) {
    connect(move |_| async move {
        sleep(service_time).await;
        vec![b'x'; answer_bytes]
    })
    .await
}

async fn ask(client: &mut TcpStream) {
    client.write_all(REQUEST).await.unwrap();
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
async fn connection_silent_after_a_request_is_ended_in_order() {
    let (mut client, served) = connect_to(Duration::ZERO, 0).await;
    ask(&mut client).await;
    let silent = silence(&mut client, served).await;
    assert!(silent > KEEP_ALIVE / 2, "{silent:?}");
}

#[actix_web::test]
async fn connection_in_use_is_ended_only_after_its_last_silence() {
    let (mut client, served) = connect_to(Duration::ZERO, 0).await;
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
async fn request_in_service_for_longer_than_a_silence_is_answered() {
    let (mut client, served) = connect_to(2 * KEEP_ALIVE, 0).await;
    // The timer fires while the second one is in service.
    ask(&mut client).await;
    ask(&mut client).await;
    let silent = silence(&mut client, served).await;
    assert!(silent > KEEP_ALIVE / 2, "{silent:?}");
}

#[actix_web::test]
async fn answer_read_late_blocks_nobody_and_its_silence_begins_when_it_was_read() {
    let (mut client, served) = connect_to(Duration::ZERO, LARGE).await;
    client.write_all(REQUEST).await.unwrap();
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
async fn body_left_unread_behind_an_answer_read_late_blocks_nobody() {
    let (mut client, served) = connect_to(Duration::ZERO, LARGE).await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{").await.unwrap();
    sleep(KEEP_ALIVE).await;
    let mut answer = vec![0; LARGE];
    timeout(PATIENCE, client.read_exact(&mut answer)).await.expect("it comes").unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, client.read_to_end(&mut rest)).await.expect("the connection is ended");
    timeout(PATIENCE, served).await.expect("the task ends with it").unwrap();
}

#[actix_web::test]
async fn chunked_body_longer_than_the_read_ahead_is_read_to_its_end() {
    let (mut client, served) = connect(async |mut request| {
        use futures_util::StreamExt as _;

        let body = GuardedBody::take_from(&mut request);
        body.ready().await;
        let read = body.fold(0, async |read, chunk| read + chunk.unwrap().len()).await;
        read.to_string().into_bytes()
    })
    .await;
    let chunk = [b"400\r\n".as_slice(), &[b'x'; 1024], b"\r\n"].concat();
    let chunks = 5 * READ_AHEAD_BYTES / 1024;
    client.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    client.write_all(&[&chunk.repeat(chunks)[..], b"0\r\n\r\n"].concat()).await.unwrap();
    let mut answer = [0; 1024];
    let length = timeout(PATIENCE, client.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..length].ends_with((5 * READ_AHEAD_BYTES).to_string().as_bytes()), "{:?}", &answer[..length]);
    let silent = silence(&mut client, served).await;
    assert!(silent > KEEP_ALIVE / 2, "{silent:?}");
}

#[actix_web::test]
async fn connection_head_behind_a_request_unfinished_in_its_time_is_closed() {
    let head = Duration::from_secs(1);
    let connections = Connections::at_most(1, Timeouts { head, ..Timeouts::default() });
    let (mut client, served) = connect_counted(&connections, async |_| Vec::new()).await;
    ask(&mut client).await;
    let began = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, client.read_to_end(&mut rest)).await.expect("the connection is ended");
    let waited = began.elapsed();
    assert!(waited > head / 2, "{waited:?}");
    timeout(PATIENCE, served).await.expect("the task ends with it").unwrap();
}

#[actix_web::test]
async fn connection_whose_client_reads_nothing_is_closed() {
    let write = Duration::from_secs(1);
    let connections = Connections::at_most(1, Timeouts { write, ..Timeouts::default() });
    let (mut client, served) = connect_counted(&connections, async |_| vec![b'x'; LARGE]).await;
    client.write_all(REQUEST).await.unwrap();
    let began = Instant::now();
    timeout(PATIENCE, served).await.expect("a client that takes nothing is dropped").unwrap();
    assert!(began.elapsed() > write / 2, "{:?}", began.elapsed());
}

#[actix_web::test]
async fn connection_is_counted_until_its_end() {
    let connections = Connections::at_most(1, Timeouts::default());
    let (mut client, served) = connect_counted(&connections, async |_| Vec::new()).await;
    ask(&mut client).await;
    assert_eq!(connections.open(), 1);
    drop(client);
    timeout(PATIENCE, served).await.expect("the task ends with its client").unwrap();
    assert_eq!(connections.open(), 0);
}
