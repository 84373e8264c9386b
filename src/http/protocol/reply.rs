//! What a handler returns: an answer for now, or one for after the commit of a record.
//!
//! What stays alive across an fsync is cold when it is over, and paid for twice. So a request whose record was handed to
//! its journal is dropped, with its headers, its body and its handler; what waits is the reply.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;
use weir_domain::Outcome;
use weir_journal::{Ack, AppendError, Appender};

use super::envelope::{self, ApiEnvelope};

/// What a handler makes of a request, short of an error.
pub enum Reply {
    /// The answer is known.
    Now { outcome: Outcome, response: HttpResponse },
    /// The answer depends on what becomes of a record.
    AfterCommit {
        commit: PendingCommit,
        /// The body of the 200 when the record is durable.
        body: Vec<u8>,
        otherwise: Otherwise,
    },
}

/// What is answered when a record did not become durable.
#[derive(Clone, Copy)]
pub enum Otherwise {
    /// 503.
    Error,
    /// The contract's way for sessions and views: a 200 with an id that is null.
    Body(fn(ApiEnvelope) -> Vec<u8>),
}

impl Reply {
    /// A 200 with data.
    pub fn now<T: Serialize>(envelope: ApiEnvelope, outcome: Outcome, data: &T) -> Self {
        Self::Now { outcome, response: envelope::json(StatusCode::OK, envelope.fill(data)) }
    }

    /// Data when the record is durable, else an error.
    pub fn after_commit<T: Serialize>(envelope: ApiEnvelope, commit: PendingCommit, data: &T) -> Self {
        Self::AfterCommit { commit, body: envelope.fill(data), otherwise: Otherwise::Error }
    }

    /// Data when the record is durable, else the data that says nothing.
    pub fn after_commit_or_default<T: Serialize + Default>(
        envelope: ApiEnvelope,
        commit: PendingCommit,
        data: &T,
    ) -> Self {
        let default = |envelope: ApiEnvelope| envelope.fill(&T::default());
        Self::AfterCommit { commit, body: envelope.fill(data), otherwise: Otherwise::Body(default) }
    }
}

/// A record that was handed to its journal. Completes when it is durable, or with the reason why it is not.
#[must_use = "a record is not durable before this completes"]
pub struct PendingCommit {
    /// When it was handed over.
    pub began: Instant,
    appended: Result<Ack, AppendError>,
}

impl PendingCommit {
    /// Hands an encoded record over.
    pub fn append(journal: &Appender, record: Vec<u8>) -> Self {
        Self { began: Instant::now(), appended: journal.append(record) }
    }
}

impl Future for PendingCommit {
    type Output = Result<(), AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.appended {
            Ok(ack) => Pin::new(ack).poll(context),
            Err(error) => Poll::Ready(Err(*error)),
        }
    }
}
