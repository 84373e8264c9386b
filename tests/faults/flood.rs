//! Far more requests than a browser would send: pipelined over many connections, with answers that are only counted.
//!
//! A closed flood sends the next requests when the last are answered. An open one sends by the clock, whatever becomes of
//! them, as a crowd does; what its connections cannot take is counted as unsent.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;
use weir_testkit::{BROWSER, TestApp};

/// How many requests of one connection wait for their answers at most.
const DEPTH: u64 = 16;
/// How often an open flood looks how much is due.
const TICK: Duration = Duration::from_millis(20);

#[derive(Clone, Copy)]
pub enum Pace {
    /// Each connection sends so many, and the next when they are answered.
    Closed(u64),
    /// So many a second in all.
    Open(f64),
}

/// When a flood ends.
#[derive(Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    /// Each connection has sent so many.
    Sent(u64),
}

/// What a flood's clients saw.
#[derive(Default)]
pub struct Flooded {
    pub offered: u64,
    pub sent: u64,
    pub acknowledged: Vec<Uuid>,
    pub refused: u64,
    pub longest: Duration,
    pub took: Duration,
}

impl Flooded {
    pub fn unanswered(&self) -> u64 {
        self.sent - self.acknowledged.len() as u64 - self.refused
    }

    /// Acknowledged records a second.
    pub fn rate(&self) -> f64 {
        self.acknowledged.len() as f64 / self.took.as_secs_f64()
    }
}

/// Runs a flood of sessions to its end. `page` begins every landing page.
pub async fn flood(app: &TestApp, connections: usize, pace: Pace, until: Until, page: &str) -> Flooded {
    let began = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..connections {
        let stream = TcpStream::connect(app.authority()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let pace = match pace {
            Pace::Open(rate) => Pace::Open(rate / connections as f64),
            Pace::Closed(_) => pace,
        };
        let page = format!("{page}/{number}");
        clients.spawn(Client { stream, page, pace, until, stop: Arc::clone(&stop), seen: Flooded::default() }.run());
    }
    let mut all = Flooded::default();
    while let Some(seen) = clients.join_next().await {
        let seen = seen.unwrap();
        all.offered += seen.offered;
        all.sent += seen.sent;
        all.refused += seen.refused;
        all.longest = all.longest.max(seen.longest);
        all.acknowledged.extend(seen.acknowledged);
    }
    all.took = began.elapsed();
    all
}

struct Client {
    stream: TcpStream,
    page: String,
    pace: Pace,
    until: Until,
    stop: Arc<AtomicBool>,
    seen: Flooded,
}

impl Client {
    async fn run(mut self) -> Flooded {
        let began = Instant::now();
        let mut unread = Vec::new();
        let mut waiting = std::collections::VecDeque::new();
        let mut batch = Vec::new();
        loop {
            let over = self.stop.load(Ordering::Relaxed)
                || match self.until {
                    Until::Elapsed(duration) => began.elapsed() >= duration,
                    Until::Sent(sent) => self.seen.sent >= sent,
                };
            if over && waiting.is_empty() {
                return self.seen;
            }
            let room = DEPTH - waiting.len() as u64;
            let due = match self.pace {
                _ if over => 0,
                Pace::Closed(depth) => {
                    if waiting.is_empty() {
                        depth.min(room)
                    } else {
                        0
                    }
                }
                Pace::Open(rate) => {
                    let offered = (began.elapsed().as_secs_f64() * rate) as u64;
                    let due = offered - self.seen.offered;
                    self.seen.offered = offered;
                    due.min(room)
                }
            };
            batch.clear();
            for _ in 0..due {
                self.request(&mut batch);
                waiting.push_back(Instant::now());
            }
            if !batch.is_empty() && self.stream.write_all(&batch).await.is_err() {
                return self.seen;
            }
            let read = async {
                if waiting.is_empty() { std::future::pending().await } else { self.stream.read_buf(&mut unread).await }
            };
            let read = match self.pace {
                Pace::Open(_) if !over => tokio::time::timeout(TICK, read).await.unwrap_or(Ok(usize::MAX)),
                _ => read.await,
            };
            if matches!(read, Ok(0) | Err(_)) {
                return self.seen;
            }
            while let Some(answer) = next_answer(&mut unread) {
                let sent_at = waiting.pop_front().expect("no more answers than requests");
                self.seen.longest = self.seen.longest.max(sent_at.elapsed());
                match answer {
                    Answer::Acknowledged(id) => self.seen.acknowledged.push(id),
                    Answer::Refused => self.seen.refused += 1,
                }
            }
        }
    }

    fn request(&mut self, batch: &mut Vec<u8>) {
        let body = format!(
            r#"{{"visitorId":"visitor-1","landingPage":"{}/{}","consentAnalytics":"granted"}}"#,
            self.page, self.seen.sent
        );
        write!(
            batch,
            "POST /api/v1/analytics/session HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {BROWSER}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("memory takes what is written to it");
        self.seen.sent += 1;
    }
}

enum Answer {
    Acknowledged(Uuid),
    Refused,
}

/// Takes one whole answer out of what was read.
fn next_answer(unread: &mut Vec<u8>) -> Option<Answer> {
    let head_end = unread.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&unread[..head_end]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let end = head_end + length.parse::<usize>().unwrap();
    if unread.len() < end {
        return None;
    }
    let body = std::str::from_utf8(&unread[head_end..end]).unwrap();
    let answer = match body.split_once(r#""id":""#) {
        Some((_, rest)) => Answer::Acknowledged(rest[..36].parse().unwrap()),
        None => Answer::Refused,
    };
    assert!(matches!(answer, Answer::Acknowledged(_)) || body.contains(r#""id":null"#), "{body}");
    unread.drain(..end);
    Some(answer)
}
