//! Two fresh databases of either engine, and looks into them that give the same shape from both.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection, Row, TypeInfo, ValueRef};

use crate::PATIENCE;

/// The engine of both databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Files in the test's directory.
    Sqlite,
    /// The server that `TEST_POSTGRES_URL` names.
    Postgres,
}

/// Runs a test on both databases: `on_both_databases! { async fn name(backend) { … } }` makes the tests
/// `name::sqlite` and `name::postgres`. The crate that uses it needs tokio, with its macros.
#[macro_export]
macro_rules! on_both_databases {
    ($($(#[$attribute:meta])* async fn $name:ident($backend:ident) $body:block)*) => { $(
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            async fn run($backend: $crate::Backend) $body
            $(#[$attribute])*
            #[tokio::test]
            async fn sqlite() { run($crate::Backend::Sqlite).await }
            $(#[$attribute])*
            #[tokio::test]
            async fn postgres() { run($crate::Backend::Postgres).await }
        }
    )* };
}

/// Which of the two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// Sessions and views.
    Analytics,
    /// Visitors, users, consent and funnel events.
    Main,
}

/// The URLs of two fresh databases.
#[derive(Clone, Debug)]
pub struct Databases {
    /// Of both.
    pub backend: Backend,
    /// What `analytics_database_url` is to be.
    pub analytics_url: String,
    /// What `main_database_url` is to be.
    pub main_url: String,
}

impl Databases {
    /// Two fresh databases, in files of this directory or on the server that `TEST_POSTGRES_URL` names.
    pub async fn fresh(backend: Backend, directory: &Path) -> Self {
        match backend {
            Backend::Sqlite => {
                let url = |name: &str| format!("sqlite://{}", directory.join(name).display());
                Self { backend, analytics_url: url("analytics.db"), main_url: url("main.db") }
            }
            Backend::Postgres => {
                let server = std::env::var("TEST_POSTGRES_URL").expect(
                    "TEST_POSTGRES_URL is not set: run the tests with scripts/test, which brings a PostgreSQL of its own",
                );
                Self::on_server(&server).await
            }
        }
    }

    /// Two fresh databases of a PostgreSQL server.
    pub async fn on_server(server: &str) -> Self {
        let (analytics_url, main_url) = (fresh_postgres(server).await, fresh_postgres(server).await);
        Self { backend: Backend::Postgres, analytics_url, main_url }
    }

    /// The URL of one of them.
    pub fn url(&self, database: Database) -> &str {
        match database {
            Database::Analytics => &self.analytics_url,
            Database::Main => &self.main_url,
        }
    }

    /// The rows of a query, each as a JSON object: the same shape from both engines (UUIDs as text, times as RFC 3339,
    /// booleans as such on PostgreSQL and as 0 and 1 on SQLite).
    pub async fn rows(&self, database: Database, sql: &str) -> Vec<Value> {
        let url = self.url(database);
        match self.backend {
            Backend::Sqlite => {
                let options: sqlx::sqlite::SqliteConnectOptions = url.parse().unwrap();
                let options = options.busy_timeout(PATIENCE);
                let mut connection = options.connect().await.unwrap();
                let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(sqlite_row).collect()
            }
            Backend::Postgres => {
                let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
                let sql = format!("SELECT row_to_json(picked)::text AS row FROM ({sql}) picked");
                let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
                rows.iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect()
            }
        }
    }

    /// The single number that a query yields.
    pub async fn count(&self, database: Database, sql: &str) -> i64 {
        let rows = self.rows(database, sql).await;
        rows[0].as_object().unwrap().values().next().unwrap().as_i64().unwrap()
    }

    /// Runs a statement.
    pub async fn execute(&self, database: Database, sql: &str) {
        self.try_execute(database, sql).await.unwrap();
    }

    /// Runs a statement that the database may refuse.
    pub async fn try_execute(&self, database: Database, sql: &str) -> Result<(), sqlx::Error> {
        let url = self.url(database);
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self.backend {
            Backend::Sqlite => {
                let options: sqlx::sqlite::SqliteConnectOptions = url.parse().unwrap();
                let mut connection = options.busy_timeout(PATIENCE).connect().await.unwrap();
                sql.execute(&mut connection).await?;
            }
            Backend::Postgres => {
                let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
                sql.execute(&mut connection).await?;
            }
        }
        Ok(())
    }

    /// Ends all connections to one of two PostgreSQL databases and refuses new ones, or accepts them again.
    pub async fn allow_connections(&self, database: Database, allowed: bool) {
        let other = match database {
            Database::Analytics => Database::Main,
            Database::Main => Database::Analytics,
        };
        let name = self.url(database).rsplit('/').next().unwrap();
        self.execute(other, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")).await;
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        self.execute(other, &end).await;
    }

    /// Keeps all rows as they are now, for [`Self::go_back`].
    pub async fn keep_copy(&self, database: Database) {
        // All of one moment, also under load.
        let mut sql = match self.backend {
            Backend::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ;".to_owned(),
            Backend::Sqlite => "BEGIN IMMEDIATE;".to_owned(),
        };
        for table in self.tables(database).await {
            let _ = write!(
                sql,
                "DROP TABLE IF EXISTS copy_of_{table}; CREATE TABLE copy_of_{table} AS SELECT * FROM {table};"
            );
        }
        self.execute(database, &format!("{sql} COMMIT;")).await;
    }

    /// Brings all rows back to where they were kept, in one transaction, as a restored copy or a standby that lagged has them.
    pub async fn go_back(&self, database: Database) {
        let mut sql = match self.backend {
            // What guards consents is told that this is no deletion.
            Backend::Postgres => "BEGIN; SET LOCAL session_replication_role = replica;".to_owned(),
            Backend::Sqlite => "PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE;".to_owned(),
        };
        let tables = self.tables(database).await;
        if self.backend == Backend::Sqlite && database == Database::Main {
            sql += "INSERT INTO consent_maintenance (reason) VALUES ('restored');";
        }
        for table in tables.iter().filter(|table| *table != "consent_maintenance") {
            let _ = write!(sql, "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM copy_of_{table};");
        }
        if self.backend == Backend::Sqlite && database == Database::Main {
            sql += "DELETE FROM consent_maintenance;";
        }
        self.execute(database, &format!("{sql} COMMIT;")).await;
    }

    async fn tables(&self, database: Database) -> Vec<String> {
        let sql = match self.backend {
            Backend::Postgres => {
                "SELECT relname::text AS name FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
                 AND relnamespace = 'public'::regnamespace AND relname !~ '^(_sqlx|copy_of_)'"
            }
            Backend::Sqlite => {
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                 AND name NOT LIKE '_sqlx%' AND name NOT LIKE 'copy_of_%'"
            }
        };
        let rows = self.rows(database, sql).await;
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    }

    /// A time that long ago, as a column of this engine is compared with.
    pub fn ago(&self, ago: Duration) -> String {
        let time = chrono::Utc::now() - ago;
        format!("'{}'", time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    }

    /// From now on the database refuses any session whose landing page says `poison`.
    pub async fn refuse_poison(&self) {
        let sql = match self.backend {
            Backend::Postgres => {
                "ALTER TABLE analytics_sessions ADD CONSTRAINT no_poison CHECK (landing_page NOT LIKE '%poison%')"
            }
            Backend::Sqlite => {
                "CREATE TRIGGER no_poison BEFORE INSERT ON analytics_sessions WHEN NEW.landing_page LIKE '%poison%'
                 BEGIN SELECT RAISE(ABORT, 'no poison'); END"
            }
        };
        self.execute(Database::Analytics, sql).await;
    }

    /// From now on the database refuses any second session whose landing page says `poison`.
    pub async fn refuse_second_poison(&self) {
        // A unique index of a partitioned table must hold the key: an operator's stands on a partition.
        let sql = match self.backend {
            Backend::Postgres => {
                "DO $$ DECLARE part regclass; BEGIN
                     FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'analytics_sessions'::regclass LOOP
                         EXECUTE 'CREATE UNIQUE INDEX ON ' || part || ' (landing_page) WHERE landing_page ~ $page$poison$page$';
                     END LOOP;
                 END $$"
            }
            Backend::Sqlite => {
                "CREATE UNIQUE INDEX once ON analytics_sessions (landing_page) WHERE landing_page LIKE '%poison%'"
            }
        };
        self.execute(Database::Analytics, sql).await;
    }
}

fn sqlite_row(row: &sqlx::sqlite::SqliteRow) -> Value {
    let columns = row.columns().iter().map(|column| {
        let index = column.ordinal();
        let raw = row.try_get_raw(index).unwrap();
        // Of a value that is null the type is told by the column.
        let kind = if raw.is_null() { "NULL".to_owned() } else { raw.type_info().name().to_owned() };
        let value = match kind.as_str() {
            "NULL" => Value::Null,
            "INTEGER" => row.get::<i64, _>(index).into(),
            "REAL" => row.get::<f64, _>(index).into(),
            _ => row.get::<String, _>(index).into(),
        };
        (column.name().to_owned(), value)
    });
    Value::Object(columns.collect())
}

/// The URL of a fresh database of a PostgreSQL server, reached as the server is.
pub async fn fresh_postgres(server: &str) -> String {
    let name = format!("weir_{}", uuid::Uuid::new_v4().simple());
    let mut connection = sqlx::PgConnection::connect(server).await.unwrap();
    let create = format!("CREATE DATABASE {name}");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    let mut url = url::Url::parse(server).unwrap();
    url.set_path(&name);
    url.to_string()
}
