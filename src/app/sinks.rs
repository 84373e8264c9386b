//! Which engine each database is on: the one place where a URL becomes a sink.

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::AppError;
use crate::config::DatabaseUrl;
use crate::store::postgres::{PostgresAnalytics, PostgresMain};
use crate::store::sqlite::{SqliteAnalytics, SqliteMain};
use crate::store::{Accounts, BatchKeyTable, MainReads, Positions, SettingsTable, Sink, VisitorTable};

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

/// Opens the analytics database; nothing connects yet.
pub fn open_analytics(url: &DatabaseUrl) -> Result<AnalyticsSink, AppError> {
    let opened = match url {
        DatabaseUrl::Sqlite(file) => SqliteAnalytics::open(file).map(|sink| AnalyticsSink::Sqlite(Arc::new(sink))),
        DatabaseUrl::Postgres(url) => {
            PostgresAnalytics::open(url.expose_secret()).map(|sink| AnalyticsSink::Postgres(Arc::new(sink)))
        }
    };
    opened.map_err(|source| AppError::Database { database: url.describe(), source })
}

/// Opens the main database; nothing connects yet.
pub fn open_main(url: &DatabaseUrl) -> Result<MainSink, AppError> {
    let opened = match url {
        DatabaseUrl::Sqlite(file) => SqliteMain::open(file).map(|sink| MainSink::Sqlite(Arc::new(sink))),
        DatabaseUrl::Postgres(url) => {
            PostgresMain::open(url.expose_secret()).map(|sink| MainSink::Postgres(Arc::new(sink)))
        }
    };
    opened.map_err(|source| AppError::Database { database: url.describe(), source })
}

/// The main database as requests and commands use it, whichever engine it is on.
pub struct MainTables {
    pub settings: Arc<dyn SettingsTable>,
    pub reads: Arc<dyn MainReads>,
    pub visitors: Arc<dyn VisitorTable>,
    pub accounts: Arc<dyn Accounts>,
}

impl MainSink {
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
    /// How far journals are applied.
    #[must_use]
    pub fn positions(&self) -> &dyn Positions {
        match self {
            Self::Sqlite(sink) => sink.positions(),
            Self::Postgres(sink) => sink.positions(),
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
