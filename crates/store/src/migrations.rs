//! The schema's versions, embedded in the binary.
//!
//! Listed by hand rather than by sqlx's macro: that macro builds both drivers, and SQLite, a second time for the compiler's
//! own use, which is a quarter of a clean build. Invariant: a migration once released is never edited; its checksum is in
//! every database, and another one refuses to migrate.

use std::borrow::Cow;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::SqlSafeStr;
use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migration, MigrationType, Migrator};

/// A version, what it does, and its SQL.
type Embedded = (i64, &'static str, &'static str);

macro_rules! sql {
    ($file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/", $file))
    };
}

/// Of the analytics database on PostgreSQL.
pub(super) const ANALYTICS_POSTGRES: &[Embedded] = &[
    (1, "sessions and pageviews", sql!("analytics/postgres/0001_sessions_and_pageviews.sql")),
    (2, "batch keys", sql!("analytics/postgres/0002_batch_keys.sql")),
    (3, "row types", sql!("analytics/postgres/0003_row_types.sql")),
    (4, "no index on times", sql!("analytics/postgres/0004_no_index_on_times.sql")),
    (5, "row types in the order of records", sql!("analytics/postgres/0005_row_types.sql")),
    (6, "identity of the database", sql!("analytics/postgres/0006_database_identity.sql")),
    (7, "effects that wait", sql!("analytics/postgres/0007_pending_effects.sql")),
    (8, "state of retention", sql!("analytics/postgres/0008_retention_state.sql")),
];
/// Of the analytics database on SQLite.
pub(super) const ANALYTICS_SQLITE: &[Embedded] = &[
    (1, "sessions and pageviews", sql!("analytics/sqlite/0001_sessions_and_pageviews.sql")),
    (2, "batch keys", sql!("analytics/sqlite/0002_batch_keys.sql")),
    (3, "identity of the database", sql!("analytics/sqlite/0003_database_identity.sql")),
    (4, "effects that wait", sql!("analytics/sqlite/0004_pending_effects.sql")),
    (5, "state of retention", sql!("analytics/sqlite/0005_retention_state.sql")),
];
/// Of the main database on PostgreSQL.
pub(super) const MAIN_POSTGRES: &[Embedded] = &[
    (1, "consent and settings", sql!("main/postgres/0001_consent_and_settings.sql")),
    (2, "users, visitors and events", sql!("main/postgres/0002_users_visitors_and_events.sql")),
    (3, "no index on the time of events", sql!("main/postgres/0003_no_index_on_the_time_of_events.sql")),
    (4, "identity of the database", sql!("main/postgres/0004_database_identity.sql")),
    (5, "order of consents", sql!("main/postgres/0005_order_of_consents.sql")),
    (6, "index on the order of consents", sql!("main/postgres/0006_index_on_the_order_of_consents.sql")),
];
/// Of the main database on SQLite.
pub(super) const MAIN_SQLITE: &[Embedded] = &[
    (1, "consent and settings", sql!("main/sqlite/0001_consent_and_settings.sql")),
    (2, "users, visitors and events", sql!("main/sqlite/0002_users_visitors_and_events.sql")),
    (3, "identity of the database", sql!("main/sqlite/0003_database_identity.sql")),
    (4, "order of consents", sql!("main/sqlite/0004_order_of_consents.sql")),
];

/// How far a change of the schema is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationEvent<'a> {
    /// One instance changes the schema at a time: another one may have to end first.
    WaitsForLock,
    /// It is this instance's turn.
    LockAcquired,
    /// The SQL of this version begins to run.
    Begins { version: i64, description: &'a str },
    /// It has run, and is committed.
    Done { version: i64, description: &'a str, took: Duration },
}

/// Who is told of it.
pub type MigrationObserver<'a> = &'a (dyn Fn(MigrationEvent<'_>) + Send + Sync);

/// Brings a database up to the last of these versions. The connection is to be closed afterwards: after a failure it still
/// has the lock under which one instance at a time migrates.
pub(super) async fn run<C: Migrate + Send>(
    embedded: &[Embedded],
    connection: &mut C,
    tell: MigrationObserver<'_>,
) -> Result<(), MigrateError> {
    let mut told = ObservedConnection { connection, tell };
    // What `Migrator::run` calls, too; that one takes sqlx's own connections only.
    migrator(embedded).run_direct(None, &mut told, false).await
}

/// A connection that tells what sqlx's migrator does with it. What is done, when and under which lock is left to sqlx.
struct ObservedConnection<'a, C> {
    connection: &'a mut C,
    tell: MigrationObserver<'a>,
}

impl<C: Migrate + Send> Migrate for ObservedConnection<'_, C> {
    fn create_schema_if_not_exists<'e>(&'e mut self, schema_name: &'e str) -> BoxFuture<'e, Result<(), MigrateError>> {
        self.connection.create_schema_if_not_exists(schema_name)
    }

    fn ensure_migrations_table<'e>(&'e mut self, table_name: &'e str) -> BoxFuture<'e, Result<(), MigrateError>> {
        self.connection.ensure_migrations_table(table_name)
    }

    fn dirty_version<'e>(&'e mut self, table_name: &'e str) -> BoxFuture<'e, Result<Option<i64>, MigrateError>> {
        self.connection.dirty_version(table_name)
    }

    fn list_applied_migrations<'e>(
        &'e mut self,
        table_name: &'e str,
    ) -> BoxFuture<'e, Result<Vec<AppliedMigration>, MigrateError>> {
        self.connection.list_applied_migrations(table_name)
    }

    fn lock(&mut self) -> BoxFuture<'_, Result<(), MigrateError>> {
        Box::pin(async move {
            (self.tell)(MigrationEvent::WaitsForLock);
            self.connection.lock().await?;
            (self.tell)(MigrationEvent::LockAcquired);
            Ok(())
        })
    }

    fn unlock(&mut self) -> BoxFuture<'_, Result<(), MigrateError>> {
        self.connection.unlock()
    }

    fn apply<'e>(
        &'e mut self,
        table_name: &'e str,
        migration: &'e Migration,
    ) -> BoxFuture<'e, Result<Duration, MigrateError>> {
        Box::pin(async move {
            let (version, description) = (migration.version, &*migration.description);
            (self.tell)(MigrationEvent::Begins { version, description });
            let took = self.connection.apply(table_name, migration).await?;
            (self.tell)(MigrationEvent::Done { version, description, took });
            Ok(took)
        })
    }

    fn revert<'e>(
        &'e mut self,
        table_name: &'e str,
        migration: &'e Migration,
    ) -> BoxFuture<'e, Result<Duration, MigrateError>> {
        self.connection.revert(table_name, migration)
    }

    fn skip<'e>(
        &'e mut self,
        table_name: &'e str,
        migration: &'e Migration,
    ) -> BoxFuture<'e, Result<(), MigrateError>> {
        self.connection.skip(table_name, migration)
    }
}

fn migrator(embedded: &[Embedded]) -> Migrator {
    let migration = |&(version, description, sql): &Embedded| {
        Migration::new(version, Cow::Borrowed(description), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(embedded.iter().map(migration).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migration_files_are_each_listed_once() {
        let lists = [
            ("analytics/postgres", ANALYTICS_POSTGRES),
            ("analytics/sqlite", ANALYTICS_SQLITE),
            ("main/postgres", MAIN_POSTGRES),
            ("main/sqlite", MAIN_SQLITE),
        ];
        for (folder, list) in lists {
            let path = format!("{}/../../migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
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
