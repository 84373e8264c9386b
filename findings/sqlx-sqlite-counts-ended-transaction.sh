#!/usr/bin/env bash
# sqlx's SQLite connection counts a transaction as open for ever once SQLite has ended it by itself.
#
# SQLite ends a transaction by itself on a full disk (SQLITE_FULL), on an I/O error, for want of memory, and where a trigger
# says RAISE(ROLLBACK). The ROLLBACK that sqlx sends afterwards fails then ("no transaction is active"), and sqlx lowers its
# count of open transactions only when a ROLLBACK succeeds. From then on `begin_with` on this connection fails with
# InvalidSavePointStatement, and `begin` makes a savepoint where the caller means a transaction. The pool pings a
# connection that comes back; the ping succeeds, and so a pool of one connection never recovers. An `after_release`
# that closes what `is_in_transaction` is the way around: after a ping, as the ROLLBACK may still be in the queue.
#
# sqlx 0.9.0, tokio 1.54.1, Rust 1.95, 2026-12-01. Output seen:
#
#   insert: database or disk is full
#   room again: Err(attempted to call begin_with at non-zero transaction depth)
#   with after_release: Ok(())
#
# Exits 0 when it is still so, 1 when the connection recovers by itself.
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
sqlx = { version = "=0.9.0", default-features = false, features = ["sqlite", "runtime-tokio"] }
tokio = { version = "=1.54.1", features = ["macros", "rt"] }
TOML
cat >src/main.rs <<'RUST'
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::Connection;

async fn fill(pool: &SqlitePool) -> sqlx::Result<()> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    // Twenty megabytes, where there is room for one: it is what a full disk answers.
    sqlx::query("INSERT INTO t VALUES (zeroblob(20000000))").execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Fills the database's bound, and says what a transaction is told when there is room again.
async fn recovers(options: SqlitePoolOptions) -> (String, sqlx::Result<()>) {
    let pool = options.max_connections(1).idle_timeout(None).max_lifetime(None).connect("sqlite::memory:").await.unwrap();
    // A connection that is made anew is an empty database: no table for it, then.
    sqlx::query("CREATE TABLE t (x)").execute(&pool).await.unwrap();
    sqlx::query("PRAGMA max_page_count = 250").execute(&pool).await.unwrap();
    let error = match fill(&pool).await.unwrap_err() {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => panic!("{other}"),
    };
    sqlx::query("PRAGMA max_page_count = 100000").execute(&pool).await.unwrap();
    let begun = async { pool.begin_with("BEGIN IMMEDIATE").await?.rollback().await };
    (error, begun.await)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (error, again) = recovers(SqlitePoolOptions::new()).await;
    println!("insert: {error}");
    match &again {
        Ok(()) => println!("room again: Ok(())"),
        Err(error) => println!("room again: Err({error})"),
    }
    let replaced = SqlitePoolOptions::new().after_release(|connection, _| {
        Box::pin(async move {
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    });
    let (_, mended) = recovers(replaced).await;
    println!("with after_release: {mended:?}");
    let as_found = matches!(again, Err(sqlx::Error::InvalidSavePointStatement)) && mended.is_ok();
    std::process::exit(i32::from(!as_found));
}
RUST
cargo run --quiet
