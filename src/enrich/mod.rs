//! Enrichment: what the server itself knows of a visit.
//!
//! Pure functions (`bots`, `user_agent`, `geo`, `referrer`, `token`), a cache and a pool of actors for the one that is
//! expensive (`pool`), and the order in which the contract wants them (`session`).
//!
//! Invariant: the raw client address ends here; what leaves is a [`weir_domain::GeoLocation`].

pub mod bots;
pub mod geo;
pub mod pool;
pub mod referrer;
mod session;
pub mod token;
pub mod user_agent;
mod utm;

pub use session::{Admitted, Discarded, Enricher, EventTime, SessionFields, SessionRequest, SessionVisit};
