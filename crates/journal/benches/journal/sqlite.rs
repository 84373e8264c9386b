//! The log that Weir does not have: one packed blob a batch in a SQLite file, as careful as the segments are.
//!
//! WAL with `synchronous = FULL` (a commit is an fsync of the WAL), AUTOINCREMENT (an emptied table would give positions
//! twice), and a crc per record, because SQLite has none for its pages.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::runtime::Runtime;
use weir_journal::{Position, Storage, StorageError};

/// Length and crc.
const FRAME_HEAD_BYTES: usize = 8;

pub struct SqliteStorage {
    runtime: Runtime,
    /// `None` after `close`.
    connection: Option<SqliteConnection>,
    last: Position,
    disk_bytes: u64,
}

impl SqliteStorage {
    pub fn open(directory: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("the system has threads");
        let options = SqliteConnectOptions::new()
            .filename(directory.join("journal.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "0");
        let connection = runtime.block_on(async {
            let mut connection = options.connect().await?;
            sqlx::raw_sql(
                "CREATE TABLE batches (
                     id INTEGER PRIMARY KEY AUTOINCREMENT, last INTEGER NOT NULL, frames BLOB NOT NULL
                 )",
            )
            .execute(&mut connection)
            .await?;
            Ok::<_, sqlx::Error>(connection)
        });
        let connection = Some(connection.expect("the directory is fresh"));
        Self { runtime, connection, last: Position::START, disk_bytes: 0 }
    }
}

impl Storage for SqliteStorage {
    fn last(&self) -> Position {
        self.last
    }

    fn append(&mut self, payloads: &[Vec<u8>]) -> Result<Position, StorageError> {
        let mut frames = Vec::with_capacity(payloads.iter().map(|payload| FRAME_HEAD_BYTES + payload.len()).sum());
        for payload in payloads {
            let length = u32::try_from(payload.len()).expect("a payload is far below 4 GiB");
            frames.extend(length.to_le_bytes());
            frames.extend(crc32fast::hash(payload).to_le_bytes());
            frames.extend(payload);
        }
        let bytes = frames.len() as u64;
        let last = Position(self.last.0 + payloads.len() as u64);
        let connection = self.connection.as_mut().expect("nothing is appended after the end");
        let insert = sqlx::query("INSERT INTO batches (last, frames) VALUES ($1, $2)")
            .bind(i64::try_from(last.0).expect("a benchmark appends fewer"))
            .bind(frames);
        self.runtime
            .block_on(insert.execute(connection))
            .map_err(std::io::Error::other)
            .map_err(StorageError::while_trying("insert batch"))?;
        self.last = last;
        self.disk_bytes += bytes;
        Ok(last)
    }

    fn abandon(&mut self) {}

    fn probe(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn cost(&self, payload_bytes: usize) -> u64 {
        (FRAME_HEAD_BYTES + payload_bytes) as u64
    }

    fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.runtime.block_on(connection.close()).expect("the file is still there");
        }
    }
}
