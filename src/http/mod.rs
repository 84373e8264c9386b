//! HTTP: extract, validate, map one outcome to one answer. No business rule and no SQL lives here.
//!
//! A request passes `edge` (request id, CORS, counting), its route's throttle (`admission`), `body` and `fields` with
//! `rules` (reading and checking), the endpoint's own file, and leaves through `answer`, the one place that knows both
//! envelopes. `routes` is the table.

mod admission;
mod answer;
mod bearer;
mod body;
mod client;
mod consent;
mod cors;
mod edge;
mod fields;
mod health;
mod observe;
mod refusal;
mod request_id;
mod routes;
mod rules;
mod session;
mod state;

pub use edge::edge;
pub use refusal::Refusal;
pub use routes::{metrics_routes, routes, unknown_routes};
pub use session::read_visit;
pub use state::{AppState, DatabaseState};
