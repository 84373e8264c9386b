//! The schema's versions, embedded in the binary.
//!
//! Listed by hand rather than by sqlx's macro: that macro builds both drivers, and SQLite, a second time for the compiler's
//! own use, which is a quarter of a clean build. Invariant: a migration once released is never edited; its checksum is in
//! every database, and another one refuses to migrate.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// A version, what it does, and its SQL.
type Embedded = (i64, &'static str, &'static str);

macro_rules! sql {
    ($file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $file))
    };
}

/// Of the analytics database on PostgreSQL.
pub(super) const ANALYTICS_POSTGRES: &[Embedded] = &[
    (1, "sessions and pageviews", sql!("analytics/postgres/0001_sessions_and_pageviews.sql")),
    (2, "batch keys", sql!("analytics/postgres/0002_batch_keys.sql")),
    (3, "row types", sql!("analytics/postgres/0003_row_types.sql")),
];
/// Of the analytics database on SQLite.
pub(super) const ANALYTICS_SQLITE: &[Embedded] = &[
    (1, "sessions and pageviews", sql!("analytics/sqlite/0001_sessions_and_pageviews.sql")),
    (2, "batch keys", sql!("analytics/sqlite/0002_batch_keys.sql")),
];
/// Of the main database on PostgreSQL.
pub(super) const MAIN_POSTGRES: &[Embedded] = &[
    (1, "consent and settings", sql!("main/postgres/0001_consent_and_settings.sql")),
    (2, "users, visitors and events", sql!("main/postgres/0002_users_visitors_and_events.sql")),
];
/// Of the main database on SQLite.
pub(super) const MAIN_SQLITE: &[Embedded] = &[
    (1, "consent and settings", sql!("main/sqlite/0001_consent_and_settings.sql")),
    (2, "users, visitors and events", sql!("main/sqlite/0002_users_visitors_and_events.sql")),
];

/// What brings a database up to the last of these versions.
pub(super) fn migrator(embedded: &[Embedded]) -> Migrator {
    let migration = |&(version, description, sql): &Embedded| {
        Migration::new(version, Cow::Borrowed(description), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(embedded.iter().map(migration).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_file_is_listed_once() {
        let lists = [
            ("analytics/postgres", ANALYTICS_POSTGRES),
            ("analytics/sqlite", ANALYTICS_SQLITE),
            ("main/postgres", MAIN_POSTGRES),
            ("main/sqlite", MAIN_SQLITE),
        ];
        for (folder, list) in lists {
            let path = format!("{}/migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
            let mut files: Vec<String> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
                .collect();
            files.sort();
            let mut listed: Vec<&str> = list.iter().map(|(_, _, sql)| *sql).collect();
            listed.sort_unstable();
            assert_eq!(files, listed, "{folder}");
            assert!(list.iter().map(|(version, ..)| *version).eq(1..=i64::try_from(list.len()).unwrap()));
        }
    }
}
