//! The two databases' URLs.

use std::fmt;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::Values;
use weir_store::each_host;

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
            Self::Postgres(url) => {
                let servers: Option<Vec<_>> =
                    each_host(url.expose_secret()).iter().map(|url| url::Url::parse(url).ok()).collect();
                let servers = servers.unwrap_or_default();
                let host = |url: &url::Url| {
                    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                    format!("{}{port}", url.host_str().unwrap_or_default())
                };
                let hosts: Vec<_> = servers.iter().map(host).collect();
                format!("postgres://{}{}", hosts.join(","), servers.first().map_or("", url::Url::path))
            }
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
    if is_postgres && each_host(url).iter().all(|url| url::Url::parse(url).is_ok()) {
        return DatabaseUrl::Postgres(given);
    }
    values.problem(format!("{name} is not a sqlite:// or postgres:// URL"));
    default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_url_is_described_with_all_hosts_and_without_password() {
        let describe = |url: &str| DatabaseUrl::Postgres(url.to_owned().into()).describe();
        assert_eq!(describe("postgres://u:secret@a/weir?sslmode=disable"), "postgres://a/weir");
        assert_eq!(describe("postgres://u:secret@a:1,b/weir"), "postgres://a:1,b/weir");
        assert_eq!(describe("postgres://["), "postgres://");
    }
}
