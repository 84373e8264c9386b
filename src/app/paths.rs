//! Where things lie in `data_dir`.

use std::path::PathBuf;

use crate::config::Config;

/// The directory of a database's journal.
#[must_use]
pub fn journal_directory(config: &Config, database: &str) -> PathBuf {
    config.data_dir.join("journal").join(database)
}
