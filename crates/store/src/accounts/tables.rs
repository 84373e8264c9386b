//! The tables behind a pool, and how each engine keeps a time.

use chrono::{DateTime, Utc};
use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool, Postgres, Sqlite};
use weir_domain::UnixMillis;

use crate::position::PositionTable;
use crate::{AsOf, StoreError};

/// The main database as requests see it.
pub(crate) struct AccountTables<DB: Database>(pub(super) Pool<DB>);

impl<DB: Database> AccountTables<DB> {
    pub(crate) fn new(pool: Pool<DB>) -> Self {
        Self(pool)
    }
}

macro_rules! on_engine {
    ($engine:ty) => {
        impl AccountTables<$engine> {
            /// A connection that reads nothing older than that.
            pub(super) async fn connection(&self, as_of: Option<AsOf>) -> Result<PoolConnection<$engine>, StoreError> {
                let mut connection = self.0.acquire().await?;
                PositionTable::<$engine>::check(&mut connection, as_of).await?;
                Ok(connection)
            }
        }
    };
}

on_engine!(Postgres);
on_engine!(Sqlite);

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
