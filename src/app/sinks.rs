//! The databases, as the configuration names them.

use secrecy::ExposeSecret;
use weir_store::{AnalyticsSink, MainSink, StoreError};

use super::AppError;
use crate::config::DatabaseUrl;

/// Opens the analytics database; nothing connects yet.
///
/// # Errors
/// When its URL cannot be used.
pub fn open_analytics(url: &DatabaseUrl) -> Result<AnalyticsSink, AppError> {
    weir_store::open_analytics(text(url)).map_err(|source| named(url, source))
}

/// Opens the main database; nothing connects yet.
///
/// # Errors
/// When its URL cannot be used.
pub fn open_main(url: &DatabaseUrl) -> Result<MainSink, AppError> {
    weir_store::open_main(text(url)).map_err(|source| named(url, source))
}

fn text(url: &DatabaseUrl) -> &str {
    match url {
        DatabaseUrl::Sqlite(url) => url,
        DatabaseUrl::Postgres(url) => url.expose_secret(),
    }
}

fn named(url: &DatabaseUrl, source: StoreError) -> AppError {
    AppError::Database { database: url.describe(), source }
}
