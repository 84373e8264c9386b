//! The contract, as clients see it: every test talks to a real server over HTTP and looks into its databases.

#[path = "../support/mod.rs"]
mod support;

mod first_steps;
mod session;
