//! HTTP: extract, validate, map one outcome to one answer. No business rule and no SQL lives here.
//!
//! `connection` stands between a socket and actix-http. A request passes `edge` (request id, CORS, counting) and `endpoint`, which asks its route's throttle (`admission`) and
//! calls the endpoint's own file; there `body` and `fields` with `rules` read and check. It leaves through `answer`, the
//! one place that knows both envelopes. `routes` is the table.

mod admission;
mod answer;
mod auth;
mod batch;
mod bearer;
mod body;
mod client;
mod connection;
mod consent;
mod cors;
mod edge;
mod endpoint;
mod fields;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod health;
mod internal;
mod observe;
mod openapi;
mod pageview;
mod passage;
mod promise;
mod refusal;
mod request_id;
mod routes;
mod rules;
mod session;
mod state;
mod surrogates;
mod track;
mod users;
mod visitors;

pub use connection::{Connections, HEAD_TIMEOUT, Wire};
pub use edge::Edge;
pub use refusal::Refusal;
pub use routes::{metrics_routes, routes, unknown_routes};
pub use session::{SessionBody, read_visit};
pub use state::{AppState, DatabaseState};
