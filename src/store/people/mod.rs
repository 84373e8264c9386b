//! What requests themselves read and write in the main database, beside what the writer brings there: reads that must
//! see everything acknowledged, the visitors that a start warms up with, and accounts.
//!
//! One text for both engines. On PostgreSQL these statements have connections of their own, on SQLite too: a request
//! never waits for a place in the writer's queue. Every statement is bounded by the server.

mod accounts;
mod reads;
mod visitors;

use chrono::{DateTime, Utc};
use sqlx::{Database, Pool};

use super::StoreError;
use crate::domain::UnixMillis;

pub use accounts::{
    Accounts, CODE_LIMITS, CodeRequest, CreateUser, Created, NewUser, Origin, Proof, SignIn, SignInOutcome, SignedIn,
    UserRow,
};
pub use reads::{Attribution, ConsentRow, MainReads};
pub use visitors::{RecentVisitor, VisitorProfile, VisitorTable};

/// The main database as requests see it.
pub(super) struct People<DB: Database>(Pool<DB>);

impl<DB: Database> People<DB> {
    pub(super) fn new(pool: Pool<DB>) -> Self {
        Self(pool)
    }
}

/// How an engine keeps a time.
trait Time: Sized {
    fn of(time: UnixMillis) -> Self;
    fn read(self) -> Result<UnixMillis, StoreError>;
}

impl Time for DateTime<Utc> {
    fn of(time: UnixMillis) -> Self {
        time.to_datetime()
    }

    fn read(self) -> Result<UnixMillis, StoreError> {
        Ok(UnixMillis(self.timestamp_millis()))
    }
}

impl Time for String {
    fn of(time: UnixMillis) -> Self {
        time.to_rfc3339()
    }

    fn read(self) -> Result<UnixMillis, StoreError> {
        super::sqlite::read_time(&self)
    }
}
