//! An answer that waits for its record to be durable, when the request that it answers is gone.
//!
//! What stays alive across an fsync is cold when it is over, and paid for twice. So a request that was handed to its journal
//! is let go, with its tables of headers, its body and every layer of services that it passed; what waits is this.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;

use super::answer::{self, Envelope};
use super::refusal::Refusal;
use super::request_id::RequestId;
use crate::domain::Outcome;
use crate::journal::{Ack, AppendError, Journal};

/// A record that was handed to its journal. Completes when it is durable, or with the reason why it is not.
#[must_use = "a record is not durable before this completes"]
pub struct Keeping {
    /// When it was handed over.
    pub began: Instant,
    appended: Result<Ack, AppendError>,
}

impl Keeping {
    /// Hands it over.
    pub fn begin(journal: &Journal, record: Vec<u8>) -> Self {
        Self { began: Instant::now(), appended: journal.append(record) }
    }
}

impl Future for Keeping {
    type Output = Result<(), AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.appended {
            Ok(ack) => Pin::new(ack).poll(context),
            Err(error) => Poll::Ready(Err(*error)),
        }
    }
}

/// What is said when a record is durable, and what otherwise.
pub struct Promise {
    pub keeping: Keeping,
    envelope: Envelope,
    body: Vec<u8>,
    otherwise: Otherwise,
}

/// What is said of a record that did not become durable.
enum Otherwise {
    Refused,
    /// The contract's way for sessions and views: an id that is null.
    Null(fn(Envelope) -> Vec<u8>),
}

impl Promise {
    /// Says `data` when the record is durable, else refuses.
    pub fn or_refusal<T: Serialize>(keeping: Keeping, envelope: Envelope, data: &T) -> Self {
        Self { keeping, envelope, body: envelope.fill(data), otherwise: Otherwise::Refused }
    }

    /// Says `data` when the record is durable, else nothing in its stead.
    pub fn or_null<T: Serialize + Default>(keeping: Keeping, envelope: Envelope, data: &T) -> Self {
        let null = |envelope: Envelope| envelope.fill(&T::default());
        Self { keeping, envelope, body: envelope.fill(data), otherwise: Otherwise::Null(null) }
    }

    /// The answer, now that it is known what became of the record.
    pub fn answer(self, durable: Result<(), AppendError>, id: &RequestId) -> (HttpResponse, Outcome) {
        match (durable, self.otherwise) {
            (Ok(()), _) => (answer::json(StatusCode::OK, self.body), Outcome::Accepted),
            (Err(_), Otherwise::Null(null)) => {
                (answer::json(StatusCode::OK, null(self.envelope)), Outcome::Unavailable)
            }
            (Err(error), Otherwise::Refused) => self.envelope.refuse(id, Refusal::from(error)),
        }
    }
}
