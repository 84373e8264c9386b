#!/usr/bin/env bash
# sqlx's PostgreSQL options parse a URL of any scheme.
#
# `PgConnectOptions::from_str("mysql://127.0.0.1:3306/app")` is Ok: host, port and database are taken from the URL and its
# scheme is not looked at. Only `sqlx::Any` chooses a driver by the scheme. A program that opens a pool lazily with the
# PostgreSQL driver learns of a URL that was meant for another server when it connects, as a timeout or a protocol error,
# and not as a configuration error at the start.
#
# sqlx 0.9.0, Rust 1.95, 2026-11-30. Output seen:
#
#   mysql: Ok host=127.0.0.1 port=3306 database=Some("app")
#   nothing-known: Ok host=127.0.0.1 port=3306 database=Some("app")
#
# Exits 0 when it is still so, 1 when the scheme is refused.
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
sqlx = { version = "=0.9.0", default-features = false, features = ["postgres"] }
TOML
cat >src/main.rs <<'RUST'
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

fn main() {
    let mut refused = false;
    for scheme in ["mysql", "nothing-known"] {
        match PgConnectOptions::from_str(&format!("{scheme}://127.0.0.1:3306/app")) {
            Ok(options) => println!(
                "{scheme}: Ok host={} port={} database={:?}",
                options.get_host(), options.get_port(), options.get_database()
            ),
            Err(error) => {
                refused = true;
                println!("{scheme}: {error}");
            }
        }
    }
    std::process::exit(i32::from(refused));
}
RUST
cargo run --quiet
