//! The socket as actix-http sees it. Reads stop at the end of the request in service, and a client that keeps the server
//! waiting is dropped.
//!
//! Cost: a comparison or two a read. A request that nothing is pipelined behind ends without another look at the socket,
//! because what comes next wakes its task. The one timer of a connection is made when it is first needed and left to
//! run: it is moved only when something is due earlier, and looks again when it fires for nothing.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::Extensions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::connection::Connection;
use crate::connections::Connections;
use crate::refusal::{Refusal, RefusalObserver};
use crate::state::{ConnectionState, Head, READ_AHEAD_BYTES};

/// A TCP stream with deadlines and bounded read-ahead.
pub struct GuardedStream {
    /// Its limit is what may be read now.
    stream: Take<TcpStream>,
    connection: Rc<Connection>,
    /// Read since the stream last had to be waited for, while a request is awaited.
    read_in_a_row: usize,
    timer: Option<Pin<Box<Sleep>>>,
    refused: Option<(RefusalObserver, &'static str)>,
    /// An answer of actix-http's own with further headers, on its way.
    refusal: Option<RefusalAnswer>,
}

/// What is written instead of an answer.
struct RefusalAnswer {
    bytes: Vec<u8>,
    written: usize,
    /// How long the answer was.
    replaces: usize,
}

impl GuardedStream {
    /// Counts the stream among `connections` and guards it.
    #[must_use]
    pub fn new(stream: TcpStream, connections: &Connections) -> Self {
        Self {
            stream: stream.take(0),
            connection: Connection::new(connections),
            read_in_a_row: 0,
            timer: None,
            refused: None,
            refusal: None,
        }
    }

    /// Tells of answers that are actix-http's own, known by the lack of a header, and puts headers into them.
    #[must_use]
    pub(crate) fn telling(self, refused: RefusalObserver, served_header: &'static str) -> Self {
        Self { refused: Some((refused, served_header)), ..self }
    }

    /// The answer with further headers, where these bytes are one of actix-http's own.
    fn refusal_answer(&self, bytes: &[u8]) -> Option<RefusalAnswer> {
        let (refused, served_header) = self.refused.as_ref()?;
        let (refusal, line) = Refusal::of_answer(bytes, served_header)?;
        if !self.connection.begins_refusal(refusal) {
            return None;
        }
        let headers = refused(refusal);
        let bytes_with_headers = [&bytes[..line], headers.as_bytes(), &bytes[line..]].concat();
        Some(RefusalAnswer { bytes: bytes_with_headers, written: 0, replaces: bytes.len() })
    }

    /// What this side of the connection shares with its requests.
    #[must_use]
    pub fn connection(&self) -> Rc<Connection> {
        Rc::clone(&self.connection)
    }

    /// Makes the connection known to its requests. For actix-http's `on_connect_ext`.
    pub fn attach(&self, data: &mut Extensions) {
        data.insert(Rc::clone(&self.connection));
    }

    /// Has this task woken when something is due.
    ///
    /// Completes when it is overdue: with an end, as if the client had hung up, after a silence, and with an error when the
    /// client keeps the server waiting.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let timer_at = self.timer.as_ref().filter(|timer| !timer.is_elapsed()).map(|timer| timer.deadline());
        self.connection.set_timer_at(timer_at);
        let Some(due) = self.connection.due() else { return Poll::Pending };
        // The task that waits is always the same: what is set once wakes it, and then it looks again.
        if timer_at.is_some_and(|at| at <= due) {
            return Poll::Pending;
        }
        if due <= Instant::now() {
            self.connection.note_overdue();
            let ended = if self.connection.is_idle() { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) };
            return Poll::Ready(ended);
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        timer.as_mut().reset(due);
        self.connection.set_timer_at(Some(due));
        // Without the runtime's budget, which may be used up: a timer that was not polled would never wake this task.
        if Pin::new(&mut unconstrained(timer.as_mut())).poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Has this task woken when the state changes, or when more is allowed.
    fn poll_state_change(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.set_reader(context);
        self.poll_deadline(context)
    }

    /// Has this task woken when there is something to be read, or at once when it may be.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream.get_ref().poll_read_ready(context)? {
            // It is there, and may not be read before the request is answered.
            Poll::Ready(()) => self.poll_state_change(context),
            Poll::Pending => self.poll_beside_socket(context),
        }
    }

    /// The same when the socket wakes this task anyway. With a body still to come, the end of the request is to be seen too:
    /// from then on there is a limit to how long that may take.
    fn poll_beside_socket(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let ConnectionState::InService { unread: true, .. } = self.connection.state() {
            return self.poll_state_change(context);
        }
        self.poll_deadline(context)
    }

    /// Notes what was read.
    fn count(&mut self, read: usize) {
        match self.connection.state() {
            ConnectionState::AwaitingRequest { head } if read > 0 => {
                self.read_in_a_row += read;
                if matches!(head, Head::Awaited) {
                    self.connection.set_state(ConnectionState::AwaitingRequest { head: Head::Arriving });
                }
            }
            ConnectionState::AwaitingRequest { .. } => self.read_in_a_row = 0,
            ConnectionState::InService { allowed, unread } => {
                self.connection.set_state(ConnectionState::InService { allowed: allowed - read, unread });
            }
        }
    }
}

impl RefusalAnswer {
    /// Completes when all of it is written, as if what it stands for had been.
    fn poll_write(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while self.written < self.bytes.len() {
            let written = ready!(Pin::new(&mut *stream).poll_write(context, &self.bytes[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Ok(0));
            }
            self.written += written;
        }
        Poll::Ready(Ok(self.replaces))
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.is_write_stalled() {
            return this.poll_state_change(context);
        }
        let allowed = match this.connection.state() {
            ConnectionState::AwaitingRequest { .. } => READ_AHEAD_BYTES - this.read_in_a_row,
            ConnectionState::InService { allowed: 0, .. } => return this.poll_readable(context),
            ConnectionState::InService { allowed, .. } => allowed,
        };
        if allowed == 0 {
            // What was read is looked at first; then there is more to be read.
            this.read_in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        this.stream.set_limit(allowed as u64);
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.count(buffer.filled().len() - before);
        if polled.is_pending() {
            return this.poll_beside_socket(context);
        }
        polled
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refusal.is_none() {
            this.refusal = this.refusal_answer(bytes);
        }
        let polled = match &mut this.refusal {
            Some(answer) => answer.poll_write(this.stream.get_mut(), context),
            None => Pin::new(this.stream.get_mut()).poll_write(context, bytes),
        };
        if polled.is_ready() {
            this.refusal = None;
        }
        if polled.is_pending() {
            this.connection.write_stalled();
            if let Poll::Ready(overdue) = this.poll_deadline(context) {
                overdue?;
            }
        } else {
            this.connection.write_resumed();
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream.get_mut()).poll_shutdown(context)
    }
}
