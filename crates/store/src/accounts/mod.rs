//! What requests themselves read and write in the main database, beside what the writer brings there: reads that must
//! see everything acknowledged, the visitors that a start warms up with, and accounts.
//!
//! One text for both engines. On PostgreSQL these statements have connections of their own, on SQLite too: a request
//! never waits for a place in the writer's queue. Every statement is bounded by the server.

mod account;
mod codes;
mod reads;
mod sign_in;
mod tables;
mod users;
mod visitors;

pub use account::{Accounts, Made};
pub use reads::MainReads;
pub(crate) use tables::AccountTables;
pub use visitors::VisitorTable;
