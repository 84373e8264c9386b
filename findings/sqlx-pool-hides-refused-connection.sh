#!/usr/bin/env bash
# sqlx's pool reports a server that refuses connections as a pool timeout, after all of the timeout.
#
# A connection of one's own (`PgConnection::connect`) to a port where nothing listens fails at once with the system's
# "connection refused". A pool treats that one error as passing: it tries again until `acquire_timeout` (30 s by default) and
# then returns `PoolTimedOut`, whose text blames the pool and does not name the cause. A wrong password or an unknown host
# is returned at once by both. So a log line made of the pool's error sends its reader to the pool's size.
#
# sqlx 0.9.0, tokio 1.54.1, Rust 1.95, 2026-12-01. Output seen:
#
#   alone: Io(ConnectionRefused) at once
#   pool:  PoolTimedOut after its 2 s
#
# Exits 0 when it is still so, 1 when the pool says what happened.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf -- "$directory"' EXIT
cd -- "$directory"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
sqlx = { version = "=0.9.0", default-features = false, features = ["postgres", "runtime-tokio"] }
tokio = { version = "=1.54.1", features = ["macros", "rt"] }
TOML
cat >src/main.rs <<'RUST'
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgPoolOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://nobody@127.0.0.1:{port}/nothing");
    let began = Instant::now();
    let alone = match PgConnection::connect(&url).await {
        Err(sqlx::Error::Io(error)) => error.kind(),
        other => panic!("alone: {other:?}"),
    };
    let at_once = began.elapsed() < Duration::from_secs(1);
    println!("alone: Io({alone:?}) {}", if at_once { "at once" } else { "late" });
    let began = Instant::now();
    let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(2)).connect_lazy(&url).unwrap();
    let error = pool.acquire().await.unwrap_err();
    let whole = began.elapsed() >= Duration::from_millis(1900);
    println!("pool:  {error:?} {}", if whole { "after its 2 s" } else { "early" });
    let as_found = alone == std::io::ErrorKind::ConnectionRefused
        && at_once
        && whole
        && matches!(error, sqlx::Error::PoolTimedOut);
    std::process::exit(i32::from(!as_found));
}
RUST
cargo run --quiet
