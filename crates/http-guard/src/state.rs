//! Whose move it is on a connection, and what that allows.

use actix_http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING, UPGRADE};
use actix_http::{HttpMessage as _, Method, Request};
use tokio::time::Instant;

/// How much is read at once of what may be more than one request: nearly every head, with a small body.
pub const READ_AHEAD_BYTES: usize = 2 << 10;

/// Whose move it is.
#[derive(Clone, Copy)]
pub enum ConnectionState {
    /// The client's: a head is awaited, or has begun to arrive.
    AwaitingRequest { head: Head },
    /// The server's: a request is in service.
    InService {
        /// So many more bytes may be read meanwhile.
        allowed: usize,
        /// Its body has not been read to the end.
        unread: bool,
    },
}

/// How much of a request's head has arrived.
#[derive(Clone, Copy)]
pub enum Head {
    Awaited,
    /// Some of it, just now. Nearly always it is all of it, and the time need not be known.
    Arriving,
    /// Some of it, and the rest is waited for since then.
    Unfinished(Instant),
}

impl ConnectionState {
    /// A new connection's.
    pub const NEW: Self = Self::AwaitingRequest { head: Head::Awaited };

    /// A request has come.
    pub fn of_request(request: &Request) -> Self {
        let allowed = announced_bytes(request.method(), request.headers());
        Self::InService { allowed, unread: allowed > 0 }
    }

    /// Its answer is made.
    pub fn after_request(self) -> Self {
        // What is left of a body counts as the beginning of the next head: actix-http reads it without an end in sight.
        let unread = matches!(self, Self::InService { unread: true, .. });
        Self::AwaitingRequest { head: if unread { Head::Unfinished(Instant::now()) } else { Head::Awaited } }
    }
}

/// How much of a body may be read before a handler asks for it. A body whose length is not told comes piece by piece.
fn announced_bytes(method: &Method, headers: &HeaderMap) -> usize {
    if headers.contains_key(TRANSFER_ENCODING) || headers.contains_key(UPGRADE) || method == Method::CONNECT {
        return READ_AHEAD_BYTES;
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.trim().parse().ok());
    length.unwrap_or(0)
}
