//! The state of one connection: who is awaited, how much may be read meanwhile, and until when.
//!
//! The socket's side (`stream`) and the requests' side (`service`, `body`) share it. Both run in the connection's one task,
//! so it is made of cells.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_http::Request;
use actix_http::error::DispatchError;
use tokio::time::Instant;

use crate::connections::{Connections, Permit};
use crate::refusal::Refusal;
use crate::state::{ConnectionState, Head, READ_AHEAD_BYTES};
use crate::timeouts::Timeouts;

/// What the socket's side and the requests' side of one connection know together.
pub struct Connection {
    state: Cell<ConnectionState>,
    /// Woken when more may be read than before.
    reader: RefCell<Option<Waker>>,
    /// A handler waits for nothing but its next poll.
    poll_again: Cell<bool>,
    /// Since when the client takes nothing more.
    write_stalled_since: Cell<Option<Instant>>,
    /// Since when there was no request, once there was one.
    idle_since: Cell<Option<Instant>>,
    /// When the timer will wake the task.
    timer_at: Cell<Option<Instant>>,
    /// Something of the body of the last request was left when it was answered: what comes next need be no head.
    owes_body: Cell<bool>,
    /// The last request did not reach the service, and that was told.
    is_refused: Cell<bool>,
    /// The head that had begun took too long.
    head_overdue: Cell<bool>,
    permit: Permit,
}

impl Connection {
    pub(crate) fn new(connections: &Connections) -> Rc<Self> {
        Rc::new(Self {
            state: Cell::new(ConnectionState::NEW),
            reader: RefCell::default(),
            poll_again: Cell::new(false),
            write_stalled_since: Cell::new(None),
            idle_since: Cell::new(None),
            timer_at: Cell::new(None),
            owes_body: Cell::new(false),
            is_refused: Cell::new(false),
            head_overdue: Cell::new(false),
            permit: connections.admit(),
        })
    }

    /// The connection of a request; `None` of one that did not come by a [`GuardedStream`](crate::GuardedStream).
    pub fn of<P>(request: &Request<P>) -> Option<&Rc<Self>> {
        request.conn_data::<Rc<Self>>()
    }

    /// Serves the connection to its end. `served` is actix-http's dispatcher.
    ///
    /// A handler that asks for its next poll gets it, though nothing wakes the task. So does the stream when the timer is
    /// to be set.
    pub async fn drive<T>(self: Rc<Self>, served: impl Future<Output = T>) -> T {
        let mut served = pin!(served);
        poll_fn(|context| {
            // At most once a wake-up: a second look could be followed by any number of them.
            let mut is_timed = false;
            loop {
                match served.as_mut().poll(context) {
                    Poll::Pending if self.poll_again.take() => {}
                    Poll::Pending if !is_timed && self.needs_timer() => is_timed = true,
                    polled => return polled,
                }
            }
        })
        .await
    }

    /// A request is in service, until [`Connection::finish_request`].
    pub(crate) fn begin_request(&self, request: &Request) {
        self.state.set(ConnectionState::of_request(request));
        self.owes_body.set(false);
        self.wake_reader();
    }

    /// The answer was made at this time.
    pub(crate) fn answered(&self, at: Instant) {
        self.idle_since.set(Some(at));
    }

    /// The answer was handed to actix-http, or the request is dropped.
    pub(crate) fn finish_request(&self) {
        self.owes_body.set(matches!(self.state.get(), ConnectionState::InService { unread: true, .. }));
        self.state.set(self.state.get().after_request());
        self.wake_reader();
    }

    /// Completes when what came of the body with the head can be had.
    ///
    /// actix-http hands it over after it has polled the handler for the first time. A handler that asked for it before would
    /// be woken for it, at the price of a whole pass.
    pub(crate) async fn body_ready(&self) {
        let ConnectionState::InService { unread: true, .. } = self.state.get() else { return };
        let mut polled = false;
        poll_fn(|_| {
            if std::mem::replace(&mut polled, true) {
                self.poll_again.set(false);
                return Poll::Ready(());
            }
            self.poll_again.set(true);
            Poll::Pending
        })
        .await;
    }

    /// Some of the body was taken; as much more of it may come.
    pub(crate) fn body_taken(&self) {
        if let ConnectionState::InService { allowed, unread } = self.state.get() {
            self.state.set(ConnectionState::InService { allowed: allowed.max(READ_AHEAD_BYTES), unread });
            self.wake_reader();
        }
    }

    /// The body was read to its end.
    pub(crate) fn body_finished(&self) {
        if let ConnectionState::InService { allowed, .. } = self.state.get() {
            self.state.set(ConnectionState::InService { allowed, unread: false });
        }
    }

    pub(crate) fn state(&self) -> ConnectionState {
        self.state.get()
    }

    pub(crate) fn set_state(&self, state: ConnectionState) {
        self.state.set(state);
    }

    /// Whether the client takes nothing of what is written.
    pub(crate) fn is_write_stalled(&self) -> bool {
        self.write_stalled_since.get().is_some()
    }

    /// The client takes nothing more, from now on or since it did so before.
    pub(crate) fn write_stalled(&self) {
        let since = self.write_stalled_since.get().unwrap_or_else(Instant::now);
        self.write_stalled_since.set(Some(since));
    }

    /// The client takes something. If it had stopped, reading goes on, and what has begun of a head, or of a silence, has
    /// its time from now on.
    pub(crate) fn write_resumed(&self) {
        if self.write_stalled_since.take().is_none() {
            return;
        }
        match self.state.get() {
            ConnectionState::AwaitingRequest { head: Head::Unfinished(_) } => {
                self.state.set(ConnectionState::AwaitingRequest { head: Head::Unfinished(Instant::now()) });
            }
            ConnectionState::AwaitingRequest { head: Head::Awaited } => self.idle_since.set(Some(Instant::now())),
            ConnectionState::AwaitingRequest { head: Head::Arriving } | ConnectionState::InService { .. } => {}
        }
        self.wake_reader();
    }

    /// Whether the connection waits for its next request, and for nothing else.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_write_stalled() && matches!(self.state.get(), ConnectionState::AwaitingRequest { head: Head::Awaited })
    }

    /// Whether an answer that is none of the service's is one to a request, and the first of its kind.
    pub(crate) fn begins_refusal(&self, refusal: Refusal) -> bool {
        if refusal == Refusal::TooSlow {
            self.note_overdue();
        }
        let is_to_request = refusal != Refusal::TooSlow || self.head_overdue.get();
        is_to_request && !self.owes_body.get() && !self.is_refused.replace(true)
    }

    /// The client has kept the server waiting. If it was with a head, that was a request.
    pub(crate) fn note_overdue(&self) {
        let has_begun =
            matches!(self.state.get(), ConnectionState::AwaitingRequest { head: Head::Arriving | Head::Unfinished(_) });
        if has_begun && !self.owes_body.get() && !self.is_write_stalled() {
            self.head_overdue.set(true);
        }
    }

    /// The request that the connection ended with, if it did not reach the service and nobody was told.
    pub(crate) fn refusal(&self, ended: &Result<(), DispatchError>) -> Option<Refusal> {
        if self.is_refused.get() {
            return None;
        }
        if self.head_overdue.get() {
            return Some(Refusal::TooSlow);
        }
        Refusal::of_end(ended).filter(|_| !self.owes_body.get())
    }

    /// When the client must have moved.
    pub(crate) fn due(&self) -> Option<Instant> {
        let Timeouts { head, keep_alive, write, .. } = self.permit.timeouts();
        // While the client takes nothing, nothing is read, and so nothing of a head can come.
        if let Some(since) = self.write_stalled_since.get() {
            return Some(since + *write);
        }
        match self.state.get() {
            ConnectionState::AwaitingRequest { head: Head::Awaited } => Some(self.idle_since.get()? + *keep_alive),
            ConnectionState::AwaitingRequest { head: Head::Unfinished(since) } => Some(since + *head),
            ConnectionState::AwaitingRequest { head: Head::Arriving } | ConnectionState::InService { .. } => None,
        }
    }

    /// Notes when the timer will wake the task.
    pub(crate) fn set_timer_at(&self, at: Option<Instant>) {
        self.timer_at.set(at);
    }

    /// Has the task woken when more may be read than now.
    pub(crate) fn set_reader(&self, context: &Context<'_>) {
        self.reader.replace(Some(context.waker().clone()));
    }

    /// Whether something is waited for that the timer does not bound yet. The next look at the socket sets it.
    fn needs_timer(&self) -> bool {
        if let ConnectionState::AwaitingRequest { head: Head::Arriving } = self.state.get() {
            // What came was not all of it. The rest has its time from now on.
            self.state.set(ConnectionState::AwaitingRequest { head: Head::Unfinished(Instant::now()) });
        }
        let Some(due) = self.due() else { return false };
        self.timer_at.get().is_none_or(|timer_at| timer_at > due)
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }
}
