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

/// Who is told of each one, once. What it returns are header lines for the answer, each with its line break: they are put into it
/// where the answer is written by itself.
pub type RefusalObserver = Arc<dyn Fn(Refusal) -> String + Send + Sync>;

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

    /// What an answer is that is about to be written, if it is none of the service's, and where its status line ends.
    /// `is_served` is a header that all of the service's answers have.
    pub(crate) fn of_answer(bytes: &[u8], is_served: &str) -> Option<(Self, usize)> {
        let refusal = match bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)? {
            b"400" => Self::Malformed,
            b"431" => Self::TooLong,
            b"408" => Self::TooSlow,
            _ => return None,
        };
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let status_line = lines.next()?.len();
        let mut headers = lines.take_while(|line| *line != b"\r\n");
        let is_header = |line: &[u8]| {
            line.get(..is_served.len()).is_some_and(|name| name.eq_ignore_ascii_case(is_served.as_bytes()))
        };
        headers.all(|line| !is_header(line)).then_some((refusal, status_line))
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
