//! The contract's HTTP, apart from any endpoint: what a request says, what is checked of it, what an answer looks like.
//!
//! Inwards: `path` and `client` read the head, `bearer` the caller, `body` the body, whose fields are `crate::contract`'s.
//! Outwards: `envelope` is both shapes of an answer, `api_error` every error, `reply` what a handler returns.

pub mod api_error;
pub mod bearer;
pub mod body;
pub mod client;
pub mod envelope;
pub mod lone_surrogates;
pub mod path;
pub mod reply;
