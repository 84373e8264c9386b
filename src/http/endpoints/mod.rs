//! The endpoints, a file for each subject: what a body says, what becomes of it, what is answered.
//!
//! A handler takes a `Call` and returns a [`Reply`](super::protocol::reply::Reply). Its path, its
//! body's limit and its caller stand in its row in `routes`.

pub mod auth;
pub mod batch;
pub mod consent;
pub mod health;
pub mod internal;
pub mod metrics;
pub mod openapi;
pub mod pageview;
pub mod session;
pub mod track;
pub mod users;
pub mod visitors;
