//! The servers of one URL: `postgres://user@a,b:5433/db` names two, and the one that accepts writes is used, as libpq's
//! `target_session_attrs=read-write` has it. Each has a port of its own, 5432 where none is named.
//!
//! The driver takes one server only. So the writer's connections are made here: the servers are asked in turn, beginning with
//! the one that is in use, and the first that is there and not read-only is used from then on. The pools follow: what they make
//! next goes there, and what they made before is not used again. With one server nothing is asked that was not asked before.
//!
//! Invariant: after a failure of the writer every server is asked. Cost: one round trip for a new connection, where there are
//! several servers.

use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

use super::super::StoreError;
use super::connect::{connect_to, is_read_only, patient};

/// What a kind of connection sets for itself.
type Settings = fn(PgConnectOptions) -> PgConnectOptions;

/// The servers that a URL names.
pub(super) struct Hosts {
    servers: Vec<PgConnectOptions>,
    /// Which of them is in use.
    current: AtomicUsize,
    pools: Mutex<Vec<(PgPool, Settings)>>,
    /// When another one was taken into use.
    switched: Arc<Mutex<Option<Instant>>>,
}

impl Hosts {
    /// Of a `postgres://` URL.
    ///
    /// # Errors
    /// When it is none. The error does not quote it: it may hold a password.
    pub fn of(url: &str) -> Result<Arc<Self>, StoreError> {
        let parse = |url: &String| {
            PgConnectOptions::from_str(url).map_err(|_| StoreError::Url("it is not a postgres:// URL".to_owned()))
        };
        let servers = each_host(url).iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(Self { servers, current: AtomicUsize::new(0), pools: Mutex::default(), switched: Arc::default() }))
    }

    /// A pool that connects when it is first used, to the server in use.
    pub fn pool(&self, options: PgPoolOptions, settings: Settings) -> PgPool {
        let switched = Arc::clone(&self.switched);
        let options = options.before_acquire(move |_, connection| {
            let switched = *switched.lock().unwrap_or_else(PoisonError::into_inner);
            Box::pin(async move { Ok(switched.is_none_or(|at| connection.age < at.elapsed())) })
        });
        let pool = options.connect_lazy_with(settings(self.in_use()));
        if self.servers.len() > 1 {
            self.pools.lock().unwrap_or_else(PoisonError::into_inner).push((pool.clone(), settings));
        }
        pool
    }

    fn in_use(&self) -> PgConnectOptions {
        self.servers[self.current.load(Ordering::Acquire)].clone()
    }

    /// A connection of one's own, to a server that accepts writes.
    ///
    /// # Errors
    /// When there is none: what the last of them said.
    pub async fn connect(
        &self,
        settings: impl Fn(PgConnectOptions) -> PgConnectOptions,
    ) -> Result<PgConnection, StoreError> {
        if self.servers.len() == 1 {
            return connect_to(&settings(self.in_use())).await;
        }
        let begin = self.current.load(Ordering::Acquire);
        let mut said = StoreError::Unavailable("there is no server".to_owned());
        for number in (begin..self.servers.len()).chain(0..begin) {
            match self.connect_for_writing(number, &settings).await {
                Ok(connection) => {
                    self.switch_to(number);
                    return Ok(connection);
                }
                Err(error) => said = error,
            }
        }
        Err(said)
    }

    /// Takes the server into use that accepts writes, where there are several.
    ///
    /// # Errors
    /// When there is none: what the last of them said.
    pub async fn find(&self) -> Result<(), StoreError> {
        if self.servers.len() > 1 {
            let found = self.connect(patient).await?;
            // It has said what was to be known; whether it ends in order matters to nobody.
            let _ = found.close().await;
        }
        Ok(())
    }

    async fn connect_for_writing(
        &self,
        number: usize,
        settings: &impl Fn(PgConnectOptions) -> PgConnectOptions,
    ) -> Result<PgConnection, StoreError> {
        let mut connection = connect_to(&settings(self.servers[number].clone())).await?;
        if is_read_only(&mut connection).await? {
            let host = self.servers[number].get_host();
            return Err(StoreError::Unavailable(format!("no server accepts writes; {host} is read-only")));
        }
        Ok(connection)
    }

    fn switch_to(&self, number: usize) {
        if self.current.swap(number, Ordering::AcqRel) == number {
            return;
        }
        let server = &self.servers[number];
        tracing::warn!(
            host = server.get_host(),
            port = server.get_port(),
            "another postgres server accepts writes, and is used"
        );
        for (pool, settings) in self.pools.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            pool.set_connect_options(settings(server.clone()));
        }
        *self.switched.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// A URL for each of the servers that this one names, in their order.
#[must_use]
pub fn each_host(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.rfind('@').map_or(("", authority), |at| authority.split_at(at + 1));
    let path = without_session_attributes(path);
    hosts.split(',').map(|host| format!("{scheme}://{user}{host}{path}")).collect()
}

/// `target_session_attrs` says what is done anyway, and the driver does not know it.
fn without_session_attributes(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else { return path.to_owned() };
    let kept: Vec<&str> = query.split('&').filter(|part| !part.starts_with("target_session_attrs=")).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_with_several_hosts_names_each_with_its_port() {
        assert_eq!(each_host("postgres://u:p@a/db"), ["postgres://u:p@a/db"]);
        assert_eq!(each_host("postgres://u@a,b:5433/db"), ["postgres://u@a/db", "postgres://u@b:5433/db"]);
        assert_eq!(
            each_host("postgresql://[::1]:1,[::2]/db?target_session_attrs=read-write&sslmode=disable"),
            ["postgresql://[::1]:1/db?sslmode=disable", "postgresql://[::2]/db?sslmode=disable"]
        );
        assert_eq!(each_host("postgres://a,b?target_session_attrs=primary"), ["postgres://a", "postgres://b"]);
        assert_eq!(each_host("nothing"), ["nothing"]);
        let hosts = Hosts::of("postgres://u@a,b:5433/db").unwrap();
        let servers: Vec<_> = hosts.servers.iter().map(|server| (server.get_host(), server.get_port())).collect();
        assert_eq!(servers, [("a", 5432), ("b", 5433)]);
        assert!(matches!(Hosts::of("postgres://a:1,b:wrong/db"), Err(StoreError::Url(_))));
    }
}
