//! What is known of the request in service on a connection: its id on the way in, what became of it on the way out.
//!
//! A connection serves one request at a time, so this lies with it: no entry in a table of each request, and it outlives the
//! request, whose parts are let go before its answer is made.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::HttpRequest;

use super::admission::Admission;
use super::connection::Connection;
use super::promise::Promise;
use super::request_id::RequestId;
use crate::domain::Outcome;
use crate::journal::AppendError;

/// One request's.
pub struct Passage {
    id: RefCell<RequestId>,
    outcome: Cell<Option<Outcome>>,
    admission: Cell<Option<Admission>>,
    promise: RefCell<Option<Promise>>,
}

impl Default for Passage {
    fn default() -> Self {
        Self {
            id: RefCell::new(RequestId::NONE),
            outcome: Cell::default(),
            admission: Cell::default(),
            promise: RefCell::default(),
        }
    }
}

impl Passage {
    /// Of the request in service.
    ///
    /// # Panics
    /// As [`Connection::of`].
    pub fn of(request: &HttpRequest) -> &Self {
        Connection::of(request).passage()
    }

    /// A request is in service.
    pub fn begin(&self, id: RequestId) {
        self.id.replace(id);
    }

    /// It is answered, or its client is gone. A client's own id would hold what was read of the connection in memory.
    pub fn end(&self) {
        self.id.replace(RequestId::NONE);
        self.outcome.take();
        self.admission.take();
        self.promise.take();
    }

    /// The request's id.
    pub fn id(&self) -> RequestId {
        self.id.borrow().clone()
    }

    /// Notes under which outcome the request is counted.
    pub fn note(&self, outcome: Outcome) {
        self.outcome.set(Some(outcome));
    }

    /// What was noted last.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome.get()
    }

    /// Notes where the client stands with its route's limit.
    pub fn admit(&self, admission: Admission) {
        self.admission.set(Some(admission));
    }

    /// Where the client stands, once.
    pub fn admission(&self) -> Option<Admission> {
        self.admission.take()
    }

    /// Leaves the answer to what becomes of a record.
    pub fn promise(&self, promise: Promise) {
        self.promise.replace(Some(promise));
    }

    /// Whether the answer is left to what becomes of a record.
    pub fn has_promise(&self) -> bool {
        self.promise.borrow().is_some()
    }

    /// Completes with the promise and what became of its record, once. It waits where it is: moving it costs more.
    ///
    /// # Panics
    /// When there is none.
    pub fn poll_promise(&self, context: &mut Context<'_>) -> Poll<(Promise, Result<(), AppendError>)> {
        let mut promise = self.promise.borrow_mut();
        let waiting = promise.as_mut().expect("whoever waits for a promise has been given one");
        let durable = ready!(Pin::new(&mut waiting.keeping).poll(context));
        Poll::Ready((promise.take().expect("it was there a line ago"), durable))
    }
}
