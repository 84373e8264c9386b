//! The correlation id: taken from the request when it is usable, else made; on every answer and every log line.

use std::fmt;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header's name.
pub const NAME: &str = "x-request-id";
/// The header that brings it and takes it back.
pub const HEADER: HeaderName = HeaderName::from_static(NAME);
const MAX_BYTES: usize = 128;

/// A request's correlation id. It is written out only where somebody reads it.
#[derive(Clone, Debug)]
pub enum RequestId {
    /// The client's own: visible ASCII.
    Given(HeaderValue),
    Made(Uuid),
}

impl RequestId {
    /// The client's own id when it is 1 to 128 visible ASCII characters, else a UUID.
    pub fn of(headers: &HeaderMap) -> Self {
        let usable =
            |id: &&HeaderValue| (1..=MAX_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
        match headers.get(&HEADER).filter(usable) {
            Some(id) => Self::Given(id.clone()),
            None => Self::Made(Uuid::new_v4()),
        }
    }

    /// As it stands on the answer.
    pub fn to_header(&self) -> HeaderValue {
        match self {
            Self::Given(id) => id.clone(),
            Self::Made(id) => HeaderValue::from_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
                .expect("hexadecimal digits and hyphens stand in any header"),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(id) => formatter.write_str(id.to_str().unwrap_or_default()),
            Self::Made(id) => id.fmt(formatter),
        }
    }
}
