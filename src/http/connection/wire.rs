//! The socket as actix-http sees it: reads stop where the turn ends, and whoever keeps the other side waiting is let go.
//!
//! Cost: a comparison or two a read; a turn that nobody pipelines into ends without another look at the socket, because
//! its task is woken by what comes next. The one timer of a connection is made when it is first needed and left to run: it is
//! moved only when something is due earlier, and looks again when it rings for nothing. So a connection in use sets it
//! once in the longest silence that it may have.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::dev::Extensions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Connection, Connections, Head, PIECE, Turn};

/// A stream with manners.
pub struct Wire {
    /// Its limit is what may be read now.
    stream: Take<TcpStream>,
    connection: Rc<Connection>,
    /// Read since the stream last had to be waited for, while it is the client's turn.
    in_a_row: usize,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    #[must_use]
    pub fn new(stream: TcpStream, connections: &Connections) -> Self {
        Self { stream: stream.take(0), connection: Connection::new(connections), in_a_row: 0, alarm: None }
    }

    /// What this side of the connection shares with its requests.
    #[must_use]
    pub fn connection(&self) -> Rc<Connection> {
        Rc::clone(&self.connection)
    }

    /// Makes the connection known to its requests.
    pub fn introduce(&self, data: &mut Extensions) {
        data.insert(Rc::clone(&self.connection));
    }

    /// Has this task woken when something is due. Completes when it is overdue: with an end, as if the client had hung up,
    /// after a silence, and with an error for a client that keeps the other side waiting.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let rings_at = self.alarm.as_ref().filter(|alarm| !alarm.is_elapsed()).map(|alarm| alarm.deadline());
        self.connection.rings_at.set(rings_at);
        let Some(due) = self.connection.due() else { return Poll::Pending };
        // The task that waits is always the same: what is set once wakes it, and then it looks again.
        if rings_at.is_some_and(|at| at <= due) {
            return Poll::Pending;
        }
        if due <= Instant::now() {
            let is_silent = self.connection.stalled.get().is_none()
                && matches!(self.connection.turn.get(), Turn::Client { head: Head::Awaited });
            return Poll::Ready(if is_silent { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) });
        }
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        alarm.as_mut().reset(due);
        self.connection.rings_at.set(Some(due));
        // Without the runtime's budget, which may be used up: a timer that nobody listens to would never be heard.
        if Pin::new(&mut unconstrained(alarm.as_mut())).poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Has this task woken when the turn changes, or when more is allowed.
    fn wait_for_turn(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.reader.replace(Some(context.waker().clone()));
        self.wait(context)
    }

    /// Has this task woken when there is something to be read, or at once when it may be.
    fn wait_for_bytes(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream.get_ref().poll_read_ready(context)? {
            // It is there, and may not be read before the turn ends.
            Poll::Ready(()) => self.wait_for_turn(context),
            Poll::Pending => self.wait_beside_socket(context),
        }
    }

    /// The same when the socket wakes this task anyway. With a body still to come, the end of the turn is to be seen too:
    /// from then on there is a limit to how long that may take.
    fn wait_beside_socket(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Turn::Server { unread: true, .. } = self.connection.turn.get() {
            return self.wait_for_turn(context);
        }
        self.wait(context)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.stalled.get().is_some() {
            return this.wait_for_turn(context);
        }
        let allowed = match this.connection.turn.get() {
            Turn::Client { .. } => PIECE - this.in_a_row,
            Turn::Server { allowed: 0, .. } => return this.wait_for_bytes(context),
            Turn::Server { allowed, .. } => allowed,
        };
        if allowed == 0 {
            // What was read is looked at first; then there is more to be read.
            this.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        this.stream.set_limit(allowed as u64);
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        match this.connection.turn.get() {
            Turn::Client { head } if read > 0 => {
                this.in_a_row += read;
                if matches!(head, Head::Awaited) {
                    this.connection.turn.set(Turn::Client { head: Head::Arriving });
                }
            }
            Turn::Client { .. } => this.in_a_row = 0,
            Turn::Server { allowed, unread } => {
                this.connection.turn.set(Turn::Server { allowed: allowed - read, unread });
            }
        }
        if polled.is_pending() {
            return this.wait_beside_socket(context);
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(this.stream.get_mut()).poll_write(context, bytes);
        if polled.is_pending() {
            let since = this.connection.stalled.get().unwrap_or_else(Instant::now);
            this.connection.stalled.set(Some(since));
            if let Poll::Ready(overdue) = this.wait(context) {
                overdue?;
            }
        } else if this.connection.stalled.take().is_some() {
            this.connection.read_on();
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
