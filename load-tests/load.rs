//! Sessions at a constant rate, and how long each answer took from the moment it was due.
//!
//! ```text
//! cargo run --release --example load -- 127.0.0.1:8080 64 10000 60
//! ```
//!
//! Address, connections, requests a second, seconds. A request that a connection could only send late counts from when
//! it was due: a server that stands still for a second is not asked less meanwhile. `BIO_PAGE_ID` and `TRACKING_TOKEN`
//! in the environment make them sessions of a bio page.

// Rates and counts of a report.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const THREADS: usize = 2;
const DISTINCT: usize = 16_384;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, connections, rate, seconds] = arguments.as_slice() else {
        eprintln!("usage: load ADDRESS CONNECTIONS REQUESTS_PER_SECOND SECONDS");
        return ExitCode::from(2);
    };
    let connections: usize = connections.parse().expect("a number of connections");
    let rate: f64 = rate.parse().expect("a rate");
    let duration = Duration::from_secs(seconds.parse().expect("a number of seconds"));
    let requests: std::sync::Arc<Vec<Vec<u8>>> = std::sync::Arc::new((0..DISTINCT).map(request).collect());
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (address, requests) = (address.clone(), std::sync::Arc::clone(&requests));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    let interval = Duration::from_secs_f64(connections as f64 / rate);
                    let began = Instant::now() + Duration::from_millis(200);
                    let mut clients = JoinSet::new();
                    for number in (thread..connections).step_by(THREADS) {
                        let stream = TcpStream::connect(&address).await.expect("a server that listens");
                        stream.set_nodelay(true).expect("a socket");
                        // Spread over the interval, so that they do not come all at once.
                        let first = began + interval.mul_f64(number as f64 / connections as f64);
                        clients.spawn(client(stream, number, first, interval, began + duration, requests.clone()));
                    }
                    let mut all = Seen::default();
                    while let Some(seen) = clients.join_next().await {
                        all.add(seen.expect("no client panics"));
                    }
                    all
                })
            })
        })
        .collect();
    let mut all = Seen::default();
    for thread in threads {
        all.add(thread.join().expect("no thread panics"));
    }
    all.took_us.sort_unstable();
    let quantile = |of: f64| {
        let at = ((all.took_us.len() as f64 * of) as usize).min(all.took_us.len().saturating_sub(1));
        all.took_us.get(at).map_or(0.0, |us| f64::from(*us) / 1000.0)
    };
    println!(
        "answered {} refused {} p50 {:.2} p99 {:.2} p999 {:.2} max {:.2} ms",
        all.took_us.len(),
        all.refused,
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0),
    );
    ExitCode::SUCCESS
}

#[derive(Default)]
struct Seen {
    took_us: Vec<u32>,
    refused: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.took_us.extend(other.took_us);
        self.refused += other.refused;
    }
}

async fn client(
    mut stream: TcpStream,
    number: usize,
    first: Instant,
    interval: Duration,
    end: Instant,
    requests: std::sync::Arc<Vec<Vec<u8>>>,
) -> Seen {
    let mut seen = Seen::default();
    let mut due = first;
    let mut turn = number;
    let mut answer = Vec::with_capacity(4096);
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        turn = (turn + 7919) % requests.len();
        stream.write_all(&requests[turn]).await.expect("a server that reads");
        answer.clear();
        while !is_whole(&answer) {
            assert!(stream.read_buf(&mut answer).await.expect("a server that answers") > 0, "the connection ended");
        }
        seen.took_us.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
        let is_kept = answer.starts_with(b"HTTP/1.1 200") && !answer.windows(9).any(|nine| nine == b"\"id\":null");
        seen.refused += u64::from(!is_kept);
        due += interval;
    }
    seen
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let text = std::str::from_utf8(&answer[..head]).expect("a head in ASCII");
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    answer.len() >= head + 4 + length.map_or(0, |length| length.parse::<usize>().expect("a length"))
}

fn request(number: usize) -> Vec<u8> {
    let page = std::env::var("BIO_PAGE_ID").and_then(|page| {
        let token = std::env::var("TRACKING_TOKEN")?;
        Ok(format!(r#","bioPageId":"{page}","trackingToken":"{token}""#))
    });
    let body = format!(
        concat!(
            r#"{{"visitorId":"2f1f3c1e-6d9b-4a55-9a54-{:012}","landingPage":"https://bio.example/alice/landing?utm_source=instagram","#,
            r#""consentAnalytics":"granted","referrer":"https://www.instagram.com/alice","utmMedium":"story","#,
            r#""utmCampaign":"spring-launch","screenWidth":390,"screenHeight":844,"language":"en-US","timezone":"Europe/Istanbul"{}}}"#
        ),
        number,
        page.unwrap_or_default(),
    );
    let mut request = Vec::new();
    write!(
        request,
        "POST /api/v1/analytics/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nUser-Agent: Mozilla/5.0 \
         (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36\r\n\
         Content-Length: {}\r\n\r\n{body}",
        111 + number % 60,
        body.len(),
    )
    .expect("memory takes what is written to it");
    request
}
