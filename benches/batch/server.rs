//! The PostgreSQL server that the environment names, its two doors, and the CPU time that it uses.

use std::fs;

use sqlx::{Connection, PgConnection};
use url::Url;
use weir_testkit::databases::fresh_postgres;

/// The kernel's clock ticks a second, as /proc counts them.
const TICKS: f64 = 100.0;

/// One way to reach the server.
pub struct Door {
    pub name: &'static str,
    url: Url,
}

/// The doors of the server in `TEST_POSTGRES_URL`: TCP, and the Unix socket when the server is on this machine.
pub async fn doors() -> Vec<Door> {
    let Ok(url) = std::env::var("TEST_POSTGRES_URL") else { return Vec::new() };
    let tcp = Url::parse(&url).expect("TEST_POSTGRES_URL is a URL");
    let mut connection = PgConnection::connect(&url).await.expect("TEST_POSTGRES_URL names a server that is up");
    let directories: String = sqlx::query_scalar("SHOW unix_socket_directories")
        .fetch_one(&mut connection)
        .await
        .expect("the server answers");
    let mut doors = vec![Door { name: "tcp", url: tcp.clone() }];
    let directory = directories.split(',').map(str::trim).find(|directory| fs::exists(directory).unwrap_or(false));
    if let Some(directory) = directory {
        let mut url = tcp;
        url.query_pairs_mut().append_pair("host", directory);
        doors.push(Door { name: "unix", url });
    }
    doors
}

impl Door {
    /// Makes an empty database. Those of a run are left to `scripts/with-postgres`, which removes the whole cluster.
    pub async fn database(&self) -> String {
        fresh_postgres(self.url.as_str()).await
    }

    /// The server's first process, when it is on this machine.
    pub async fn postmaster(&self) -> Option<u32> {
        let mut connection = PgConnection::connect(self.url.as_str()).await.expect("the server is up");
        let backend: i32 =
            sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.expect("the server answers");
        let stat = Stat::of(&backend.to_string())?;
        (stat.name == "postgres").then_some(stat.parent)
    }
}

/// The CPU seconds of all of the server's processes so far.
pub fn server_cpu(postmaster: u32) -> f64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = processes.filter_map(|process| Stat::of(&process.file_name().into_string().ok()?));
    let children: f64 = children.filter(|stat| stat.parent == postmaster).map(|stat| stat.own).sum();
    let first = Stat::of(&postmaster.to_string());
    (children + first.map_or(0.0, |stat| stat.own + stat.reaped)) / TICKS
}

/// The CPU seconds of this process so far.
pub fn own_cpu() -> f64 {
    Stat::of("self").map_or(0.0, |stat| stat.own) / TICKS
}

/// What /proc tells of a process; times in ticks.
struct Stat {
    name: String,
    parent: u32,
    own: f64,
    reaped: f64,
}

impl Stat {
    fn of(process: &str) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name stands in parentheses and may hold some itself.
        let (head, tail) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = tail.split(' ').collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some(Self {
            name: head.split_once('(')?.1.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            own: ticks(11)? + ticks(12)?,
            reaped: ticks(13)? + ticks(14)?,
        })
    }
}
