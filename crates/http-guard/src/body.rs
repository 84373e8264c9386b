//! A request's body as its handler reads it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::error::PayloadError;
use actix_http::{Payload, Request};
use bytes::Bytes;
use futures_util::Stream;

use crate::connection::Connection;

/// A body that lets its next piece in when one was taken. Without this wrapper a chunked body stops after
/// [`READ_AHEAD_BYTES`](crate::READ_AHEAD_BYTES).
///
/// Of a request that did not come by a [`GuardedStream`](crate::GuardedStream) it is the bare payload.
pub struct GuardedBody {
    payload: Payload,
    connection: Option<Rc<Connection>>,
}

impl GuardedBody {
    /// Takes the body out of its request.
    #[must_use]
    pub fn take_from(request: &mut Request) -> Self {
        Self { connection: Connection::of(request).cloned(), payload: request.take_payload() }
    }

    /// Completes when what came of the body with the head can be had. To ask for it before costs one more pass of the whole
    /// connection.
    pub async fn ready(&self) {
        if let Some(connection) = &self.connection {
            connection.body_ready().await;
        }
    }
}

impl Stream for GuardedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(Pin::new(&mut self.payload).poll_next(context));
        if let Some(connection) = &self.connection {
            match &next {
                Some(Ok(_)) => connection.body_taken(),
                Some(Err(_)) => {}
                None => connection.body_finished(),
            }
        }
        Poll::Ready(next)
    }
}
