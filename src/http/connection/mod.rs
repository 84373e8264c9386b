//! One connection: whose turn it is, how much may be read ahead, and how long the client's turns may take.
//!
//! actix-http bounds the first head of a connection. What it leaves open, or does at a price, is done here, between it and
//! the socket (`wire`):
//!
//! - a head after the first one may take for ever: here no head takes longer than [`HEAD_TIMEOUT`], but for one that began
//!   behind another request, which has the time of a silence;
//! - what is left of a body in chunks when its request is answered may take for ever: here it takes no longer than a head;
//! - a client that sends and never reads is never let go: here no write waits longer than [`WRITE_TIMEOUT`];
//! - the silence between two requests is bounded by a timer of its own each time, made and undone with every request: here
//!   it is one of the things that a connection's only timer is for ([`KEEP_ALIVE`]);
//! - whatever is there is read, 128 KiB of it, and taken apart into thousands of requests before the first one is
//!   answered: 11 MB a connection, and a loop that takes a whole core while the answers cannot be written. Here nothing
//!   is read beyond the request in service and [`PIECE`].
//!
//! Invariant: while it is the server's turn, only the body that this request announced is read.

#[cfg(test)]
mod tests;
mod wire;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use actix_http::{HttpMessage as _, Request};
use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING, UPGRADE};
use tokio::time::Instant;

pub use wire::Wire;

use super::passage::Passage;

/// How long a client may take to send a request's head.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may be silent between two requests.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to make room for more of its answers.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How much is read at once of what may be more than one request: nearly every head, with a small body.
const PIECE: usize = 2 << 10;
const INTRODUCED: &str = "every listener introduces its connections";

/// How many connections there are, of how many, and how long each may be of no use.
#[derive(Clone, Debug)]
pub struct Connections {
    open: Arc<AtomicUsize>,
    pub max: usize,
    /// How long one may be silent between two requests.
    keep_alive: Duration,
}

impl Connections {
    #[must_use]
    pub fn at_most(max: usize) -> Self {
        Self { open: Arc::default(), max, keep_alive: KEEP_ALIVE }
    }

    /// How many are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// A connection's share of the count.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(connections: &Connections) -> Self {
        connections.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&connections.open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the socket's side and the handlers' side of one connection know together.
pub struct Connection {
    turn: Cell<Turn>,
    /// Woken when more may be read than before.
    reader: RefCell<Option<Waker>>,
    /// A handler waits for nothing but its next poll.
    again: Cell<bool>,
    /// Since when the client takes nothing more.
    stalled: Cell<Option<Instant>>,
    /// Since when there was no request, once there was one.
    silent_since: Cell<Option<Instant>>,
    /// How long that may last.
    keep_alive: Duration,
    /// When the timer will wake the task.
    rings_at: Cell<Option<Instant>>,
    passage: Passage,
    _place: Place,
}

/// What has come of a request's head.
#[derive(Clone, Copy)]
enum Head {
    Awaited,
    /// Some of it, just now. Nearly always it is all of it, and nobody needs to know the time.
    Arriving,
    /// Some of it, and the rest is waited for since then.
    Unfinished(Instant),
}

#[derive(Clone, Copy)]
enum Turn {
    /// A head is awaited, or has begun to arrive.
    Client { head: Head },
    /// A request is in service.
    Server {
        /// So many more bytes may be read meanwhile.
        allowed: usize,
        /// Its body has not been read to the end.
        unread: bool,
    },
}

impl Connection {
    fn new(connections: &Connections) -> Rc<Self> {
        Rc::new(Self {
            turn: Cell::new(Turn::Client { head: Head::Awaited }),
            reader: RefCell::default(),
            again: Cell::new(false),
            stalled: Cell::new(None),
            silent_since: Cell::new(None),
            keep_alive: connections.keep_alive,
            rings_at: Cell::new(None),
            passage: Passage::default(),
            _place: Place::take(connections),
        })
    }

    /// A request's.
    ///
    /// # Panics
    /// When the request came past the listeners, which all have [`Wire`].
    pub fn of(request: &HttpRequest) -> &Rc<Self> {
        request.conn_data::<Rc<Self>>().expect(INTRODUCED)
    }

    /// The server's turn, until the answer is made.
    ///
    /// # Panics
    /// As [`Connection::of`].
    pub fn serve(request: &Request) -> Serving {
        let connection = request.conn_data::<Rc<Self>>().expect(INTRODUCED);
        let allowed = announced(request.method(), request.headers());
        connection.turn.set(Turn::Server { allowed, unread: allowed > 0 });
        connection.wake();
        Serving(Rc::clone(connection))
    }

    /// What is known of the request in service.
    pub fn passage(&self) -> &Passage {
        &self.passage
    }

    /// Completes when what came of the body with the head can be had: actix-http hands it over after it has polled the
    /// handler for the first time. Whoever asked for it before would be woken for it, at the price of a whole pass.
    pub async fn handed_over(request: &HttpRequest) {
        let connection = Self::of(request);
        let Turn::Server { unread: true, .. } = connection.turn.get() else { return };
        let mut polled = false;
        poll_fn(|_| {
            if std::mem::replace(&mut polled, true) {
                connection.again.set(false);
                return Poll::Ready(());
            }
            connection.again.set(true);
            Poll::Pending
        })
        .await;
    }

    /// Serves the connection to its end. A handler that asks for its next poll gets it, though nothing wakes the task; and
    /// so does the wire when the timer is to be set.
    pub async fn attend<T>(self: Rc<Self>, served: impl Future<Output = T>) -> T {
        let mut served = pin!(served);
        poll_fn(|context| {
            // At most once a waking: whoever looks twice could look for ever.
            let mut watched = false;
            loop {
                match served.as_mut().poll(context) {
                    Poll::Pending if self.again.take() => {}
                    Poll::Pending if !watched && self.is_unwatched() => watched = true,
                    polled => return polled,
                }
            }
        })
        .await
    }

    /// Some of the body was taken; as much more of it may come.
    pub fn more(request: &HttpRequest) {
        let connection = Self::of(request);
        if let Turn::Server { allowed, unread } = connection.turn.get() {
            connection.turn.set(Turn::Server { allowed: allowed.max(PIECE), unread });
            connection.wake();
        }
    }

    /// The body was read to its end.
    pub fn whole(request: &HttpRequest) {
        let connection = Self::of(request);
        if let Turn::Server { allowed, .. } = connection.turn.get() {
            connection.turn.set(Turn::Server { allowed, unread: false });
        }
    }

    /// Whether something is waited for that the timer does not bound yet. The next look at the socket sets it.
    fn is_unwatched(&self) -> bool {
        if let Turn::Client { head: Head::Arriving } = self.turn.get() {
            // What came was not all of it. The rest has its time from now on.
            self.turn.set(Turn::Client { head: Head::Unfinished(Instant::now()) });
        }
        let Some(due) = self.due() else { return false };
        self.rings_at.get().is_none_or(|rings_at| rings_at > due)
    }

    /// When the client must have moved.
    fn due(&self) -> Option<Instant> {
        // While the client takes nothing, nothing is read, and so nothing of a head can come.
        if let Some(since) = self.stalled.get() {
            return Some(since + WRITE_TIMEOUT);
        }
        match self.turn.get() {
            Turn::Client { head: Head::Awaited } => Some(self.silent_since.get()? + self.keep_alive),
            Turn::Client { head: Head::Unfinished(since) } => Some(since + HEAD_TIMEOUT),
            Turn::Client { head: Head::Arriving } | Turn::Server { .. } => None,
        }
    }

    /// Reading goes on after it was of no use: what has begun of a head, or of a silence, has its time from now on.
    fn read_on(&self) {
        match self.turn.get() {
            Turn::Client { head: Head::Unfinished(_) } => {
                self.turn.set(Turn::Client { head: Head::Unfinished(Instant::now()) });
            }
            Turn::Client { head: Head::Awaited } => self.silent_since.set(Some(Instant::now())),
            Turn::Client { head: Head::Arriving } | Turn::Server { .. } => {}
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }
}

/// The server's turn; ends when it is dropped.
pub struct Serving(Rc<Connection>);

impl Serving {
    /// The answer was made at this time.
    pub fn answered(&self, at: std::time::Instant) {
        self.0.silent_since.set(Some(at.into()));
    }

    /// What is known of the request in service.
    pub fn passage(&self) -> &Passage {
        &self.0.passage
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // What is left of a body counts as the beginning of the next head: actix-http reads it without an end in sight.
        let unread = matches!(self.0.turn.get(), Turn::Server { unread: true, .. });
        let head = if unread { Head::Unfinished(Instant::now()) } else { Head::Awaited };
        self.0.turn.set(Turn::Client { head });
        self.0.passage.end();
        self.0.wake();
    }
}

/// How much of a body may be read before anybody asks for it. One whose length is not told comes piece by piece.
fn announced(method: &Method, headers: &HeaderMap) -> usize {
    if headers.contains_key(TRANSFER_ENCODING) || headers.contains_key(UPGRADE) || method == Method::CONNECT {
        return PIECE;
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.trim().parse().ok());
    length.unwrap_or(0)
}
