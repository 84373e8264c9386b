//! Idempotency: what is made once, however often it is asked for.
//!
//! `single_flight` is the table of what was made under a key, `batch_keys` the keys of batches' items on top of it.

mod batch_keys;
mod single_flight;

pub use batch_keys::{BatchKeys, KeyError, KeyView};
pub use single_flight::{InFlight, Landed, SingleFlight, SingleFlightError};
