//! Requests that never reach the service: actix-http answers them by itself, or the deadline of a head ends them.
//!
//! A client that hangs up in the middle of a head has asked for nothing, and neither has a connection without a byte.

use std::sync::Arc;

use actix_http::error::{DispatchError, ParseError};

/// Why a request did not reach the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its head is none, or says in two ways where the request ends. Answered with 400.
    Malformed,
    /// Its head is too long. Answered with 431.
    TooLong,
    /// Its head took too long. The first one of a connection is answered with 408; at a later one the connection ends.
    TooSlow,
}

/// Who is told of each one, once.
pub type RefusalObserver = Arc<dyn Fn(Refusal) + Send + Sync>;

impl Refusal {
    /// The status that the client was told, or would have been.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLong => 431,
            Self::TooSlow => 408,
        }
    }

    /// What the end of a connection says of its last head.
    pub(crate) fn of_end(ended: &Result<(), DispatchError>) -> Option<Self> {
        match ended {
            Err(DispatchError::Parse(ParseError::TooLarge)) => Some(Self::TooLong),
            Err(DispatchError::Parse(_)) => Some(Self::Malformed),
            _ => None,
        }
    }
}
