//! What fuzzers feed to this module: bodies and headers from anybody.
//!
//! The functions take any bytes, and panic when an invariant does not hold. Unit tests replay the committed corpora
//! through them, `fuzz/` searches for more. Cost: microseconds an input.

mod client;
mod request;

pub use client::client_ip;
pub use request::request;
