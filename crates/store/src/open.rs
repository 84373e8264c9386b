//! Which engine each database is on: the one place where a URL becomes a sink.

use std::sync::Arc;

use super::postgres::{PostgresAnalytics, PostgresMain};
use super::sqlite::{SqliteAnalytics, SqliteMain};
use super::{
    Accounts, BatchKeyTable, MainReads, Maintained, Positions, RetentionPlan, SettingsTable, Sink, StoreError,
    VisitorTable,
};
use weir_domain::UnixMillis;

/// The analytics database's sink, by its engine.
pub enum AnalyticsSink {
    Sqlite(Arc<SqliteAnalytics>),
    Postgres(Arc<PostgresAnalytics>),
}

/// The main database's sink, by its engine.
pub enum MainSink {
    Sqlite(Arc<SqliteMain>),
    Postgres(Arc<PostgresMain>),
}

/// Opens the analytics database of a `sqlite://` or `postgres://` URL; nothing connects yet.
///
/// # Errors
/// When the URL is neither, or its directory cannot be made.
pub fn open_analytics(url: &str) -> Result<AnalyticsSink, StoreError> {
    Ok(match Engine::of(url)? {
        Engine::Sqlite => AnalyticsSink::Sqlite(Arc::new(SqliteAnalytics::open(url)?)),
        Engine::Postgres => AnalyticsSink::Postgres(Arc::new(PostgresAnalytics::open(url)?)),
    })
}

/// Opens the main database of a `sqlite://` or `postgres://` URL; nothing connects yet.
///
/// # Errors
/// When the URL is neither, or its directory cannot be made.
pub fn open_main(url: &str) -> Result<MainSink, StoreError> {
    Ok(match Engine::of(url)? {
        Engine::Sqlite => MainSink::Sqlite(Arc::new(SqliteMain::open(url)?)),
        Engine::Postgres => MainSink::Postgres(Arc::new(PostgresMain::open(url)?)),
    })
}

enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// By the URL's scheme: the drivers themselves do not all look at it.
    fn of(url: &str) -> Result<Self, StoreError> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Ok(Self::Sqlite),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            _ => Err(StoreError::Url("it is neither a sqlite:// nor a postgres:// URL".to_owned())),
        }
    }
}

/// The main database as requests and commands use it, whichever engine it is on.
pub struct MainTables {
    pub settings: Arc<dyn SettingsTable>,
    pub reads: Arc<dyn MainReads>,
    pub visitors: Arc<dyn VisitorTable>,
    pub accounts: Arc<dyn Accounts>,
}

impl MainSink {
    /// Finds the server that accepts writes, where the URL names several. The writer does that by itself; whoever has no writer
    /// does it first.
    ///
    /// # Errors
    /// When there is none.
    pub async fn find_server(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(sink) => sink.find_server().await,
        }
    }

    /// Asks whether the database can hold every text. Nothing is written, and no schema has to be there.
    ///
    /// # Errors
    /// [`StoreError::Encoding`] when it cannot; another when it does not answer.
    pub async fn check_encoding(&self) -> Result<(), StoreError> {
        match self {
            // Made by Weir, in UTF-8.
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(sink) => sink.check_encoding().await,
        }
    }

    /// How far journals are applied.
    #[must_use]
    pub fn positions(&self) -> &dyn Positions {
        match self {
            Self::Sqlite(sink) => sink.positions(),
            Self::Postgres(sink) => sink.positions(),
        }
    }

    /// Its tables beside the writer's.
    #[must_use]
    pub fn tables(&self) -> MainTables {
        match self {
            Self::Sqlite(sink) => MainTables {
                settings: Arc::clone(sink) as _,
                reads: sink.reads(),
                visitors: sink.visitors(),
                accounts: sink.accounts(),
            },
            Self::Postgres(sink) => MainTables {
                settings: Arc::clone(sink) as _,
                reads: sink.reads(),
                visitors: sink.visitors(),
                accounts: sink.accounts(),
            },
        }
    }
}

impl AnalyticsSink {
    /// Finds the server that accepts writes, where the URL names several. The writer does that by itself; whoever has no writer
    /// does it first.
    ///
    /// # Errors
    /// When there is none.
    pub async fn find_server(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(sink) => sink.find_server().await,
        }
    }

    /// Asks whether the database can hold every text. Nothing is written, and no schema has to be there.
    ///
    /// # Errors
    /// [`StoreError::Encoding`] when it cannot; another when it does not answer.
    pub async fn check_encoding(&self) -> Result<(), StoreError> {
        match self {
            // Made by Weir, in UTF-8.
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(sink) => sink.check_encoding().await,
        }
    }

    /// Statements that an operator should run in the database, for its sake and the journal's.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn advice(&self) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(Vec::new()),
            Self::Postgres(sink) => sink.advice().await,
        }
    }

    /// How far journals are applied.
    #[must_use]
    pub fn positions(&self) -> &dyn Positions {
        match self {
            Self::Sqlite(sink) => sink.positions(),
            Self::Postgres(sink) => sink.positions(),
        }
    }

    /// What retention would drop now.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn retention_plan(&self, now: UnixMillis, retention_days: u32) -> Result<RetentionPlan, StoreError> {
        match self {
            Self::Sqlite(sink) => sink.retention_plan(now, retention_days).await,
            Self::Postgres(sink) => sink.retention_plan(now, retention_days).await,
        }
    }

    /// An operator says that the clock is right.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn confirm_clock(&self, now: UnixMillis) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sink) => sink.confirm_clock(now).await,
            Self::Postgres(sink) => sink.confirm_clock(now).await,
        }
    }

    /// One run of maintenance.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError> {
        match self {
            Self::Sqlite(sink) => sink.maintain(now, retention_days).await,
            Self::Postgres(sink) => sink.maintain(now, retention_days).await,
        }
    }

    /// The keys of batches' items.
    #[must_use]
    pub fn batch_keys(&self) -> Arc<dyn BatchKeyTable> {
        match self {
            Self::Sqlite(sink) => Arc::clone(sink) as _,
            Self::Postgres(sink) => Arc::clone(sink) as _,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn database_url_malformed_is_reported_as_such_and_not_as_outage() {
        for url in [
            "postgres://[",
            "nothing",
            "mysql://127.0.0.1/weir",
            "postgres://127.0.0.1:wrong/weir",
            "sqlite://x?mode=wrong",
        ] {
            let opened = open_main(url).err();
            assert!(matches!(opened, Some(StoreError::Url(_))), "{url}: {opened:?}");
        }
    }
}
