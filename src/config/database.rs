//! The two databases' URLs.

use std::fmt;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::Values;

/// A database, by the scheme of its URL.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// `sqlite://FILE`
    Sqlite(String),
    /// `postgres://…`, which may hold a password.
    Postgres(SecretString),
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.describe())
    }
}

impl DatabaseUrl {
    /// For people: where it is, without user and password.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Sqlite(url) => url.clone(),
            Self::Postgres(url) => match url::Url::parse(url.expose_secret()) {
                Ok(url) => {
                    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                    format!("postgres://{}{port}{}", url.host_str().unwrap_or_default(), url.path())
                }
                Err(_) => "postgres://".to_owned(),
            },
        }
    }
}

/// Where the two databases are.
#[derive(Clone, Debug)]
pub struct Databases {
    pub analytics: DatabaseUrl,
    pub main: DatabaseUrl,
}

impl Databases {
    pub(super) fn take(values: &mut Values, data_dir: &Path) -> Self {
        let databases = Self { analytics: take(values, "analytics", data_dir), main: take(values, "main", data_dir) };
        let same = match (&databases.analytics, &databases.main) {
            (DatabaseUrl::Sqlite(one), DatabaseUrl::Sqlite(other)) => one == other,
            (DatabaseUrl::Postgres(one), DatabaseUrl::Postgres(other)) => one.expose_secret() == other.expose_secret(),
            _ => false,
        };
        if same {
            values.problem(
                "analytics_database_url and main_database_url name the same database; they must be two".to_owned(),
            );
        }
        databases
    }
}

fn take(values: &mut Values, database: &str, data_dir: &Path) -> DatabaseUrl {
    let name = format!("{database}_database_url");
    let default = || DatabaseUrl::Sqlite(format!("sqlite://{}", data_dir.join(format!("{database}.db")).display()));
    let Some(given) = values.secret(&name) else { return default() };
    let url = given.expose_secret();
    if url.starts_with("sqlite://") {
        return DatabaseUrl::Sqlite(url.to_owned());
    }
    let is_postgres = ["postgres", "postgresql"].contains(&url.split("://").next().unwrap_or_default());
    if is_postgres && url::Url::parse(url).is_ok() {
        return DatabaseUrl::Postgres(given);
    }
    values.problem(format!("{name} is not a sqlite:// or postgres:// URL"));
    default()
}
