//! What every request passes first and last: its id, CORS, its throttle, its one count, its log line; and the wait for its
//! record.
//!
//! It stands around the handlers and not in them: an answer may depend on a commit, and whatever served the request is
//! dropped before that is waited for.

mod context;
pub mod cors;
mod rate_limit;
mod request_id;
mod response_future;

pub use context::{RequestContext, refused_before_routing};
pub use rate_limit::RateLimit;
pub use request_id::{NAME as REQUEST_ID_HEADER, RequestId};
pub use response_future::{Handled, ResponseFuture};
