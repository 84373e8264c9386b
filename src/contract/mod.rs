//! What clients send: each body declared once, field by field, with its name in JSON, its rule and its description.
//!
//! `request_body!` is the declaration: from it come the parser, the checked form and what the `OpenAPI` document says. Under it
//! lie `json_fields` (the parser), `fields` (loosely typed values), `rules` (checks, each violation collected) and `kinds` (the
//! rules as types). Errors are `body_error`'s; HTTP gives them a status.
//!
//! Invariants: what is checked and what is described are the same; violations are told in the order of the fields; texts are
//! borrowed from the body. Cost: about a microsecond for a session of 434 bytes.

mod body_error;
pub mod fields;
mod json_fields;
pub mod kinds;
mod request_body;
mod rules;

pub use body_error::{BodyError, Detail};
pub use fields::Field;
pub use kinds::Rule;
pub use rules::{Cut, Rules, TEXT_MAX, URL_MAX};

#[cfg(test)]
pub(crate) use json_fields::assert_described;
pub(crate) use json_fields::json_fields;
pub(crate) use request_body::request_body;
#[doc(hidden)]
pub use request_body::{Described, describe};
