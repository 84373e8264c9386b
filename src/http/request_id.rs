//! The correlation id: taken from the request when it is usable, else made; on every answer and every log line.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use uuid::Uuid;

/// The header that brings it and takes it back.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const MAX_BYTES: usize = 128;

/// A request's correlation id.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

impl RequestId {
    /// The client's own id when it is 1 to 128 visible ASCII characters, else a UUID.
    pub fn of(request: &ServiceRequest) -> Self {
        let given = request.headers().get(&HEADER).map(HeaderValue::as_bytes);
        let usable = |id: &&[u8]| (1..=MAX_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
        match given.filter(usable).and_then(|id| std::str::from_utf8(id).ok()) {
            Some(id) => Self(id.to_owned()),
            None => Self(Uuid::new_v4().to_string()),
        }
    }
}
