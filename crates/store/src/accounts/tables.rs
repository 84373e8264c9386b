//! The tables behind a pool, and how each engine keeps a time.

use chrono::{DateTime, Utc};
use sqlx::{Database, Pool};
use weir_domain::UnixMillis;

use crate::StoreError;

/// The main database as requests see it.
pub(crate) struct AccountTables<DB: Database>(pub(super) Pool<DB>);

impl<DB: Database> AccountTables<DB> {
    pub(crate) fn new(pool: Pool<DB>) -> Self {
        Self(pool)
    }
}

/// How an engine keeps a time.
pub(super) trait Time: Sized {
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
        crate::sqlite::read_time(&self)
    }
}
