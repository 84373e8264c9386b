//! The contract, as clients see it: every test talks to a real server over HTTP and looks into its databases.

// A metric is a float, and what it counts here is a small whole number.
#![allow(clippy::float_cmp)]
// A request or a script is put together from small pieces.
#![allow(clippy::format_collect)]

mod analytics;
mod attribution;
mod consent;
mod first_steps;
mod http;
mod operations;
mod privacy;
mod secrets;
mod session;
mod sign_in;
mod silence;
mod throttle;
mod track;
mod visitors;

/// Where sessions are made.
const SESSION: &str = "/api/v1/analytics/session";
/// Where a cookie choice is saved.
const CONSENT: &str = "/api/v1/consent/cookies";
