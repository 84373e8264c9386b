//! HTTP: extract, validate, map one outcome to one answer. No business rule and no SQL lives here.
//!
//! A request comes to the `service`, which finds its row in the table (`routes`) and begins its context (`middleware`).
//! `call` lets it in and calls the handler (`endpoints`), which reads and checks with `protocol` and returns a reply. The
//! middleware turns that into the answer, after the commit of a record where it depends on one.
//!
//! Each of these uses only what stands before it: `protocol`, `state`, `middleware`, `endpoint` (a row's type), `call`,
//! `endpoints`, `routes`, `service`.

mod call;
mod endpoint;
pub mod endpoints;
mod middleware;
pub mod protocol;
mod routes;
mod service;
mod state;

pub use middleware::{REQUEST_ID_HEADER, refused_before_routing};
pub use routes::Listener;
pub use service::HttpApi;
pub use state::{AppState, DatabaseState};
