//! Reads of a database that see everything that was acknowledged before them (contract, section 1).
//!
//! Invariant: what is answered is never older than the journal's last acknowledged record at the moment of the question.
//! A question waits up to `PATIENCE` for the writer to get there; past that, or when the database does not answer, it
//! is told so.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use weir_domain::{Attribution, StoredConsent};
use weir_journal::{JournalOffsets, Position};
use weir_store::MainReads;
use weir_store::StoreError;

/// How long a read waits for the writer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the database may take for its answer. Its own bounds are shorter; this one also holds when it is silent.
const ANSWER: Duration = Duration::from_secs(3);

/// The database is behind or away: nothing true can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database is behind or away")]
pub struct Unavailable;

/// What makes a read fresh.
#[derive(Clone)]
pub struct ReadBarrier {
    offsets: JournalOffsets,
}

impl ReadBarrier {
    /// Of the database behind this journal.
    #[must_use]
    pub fn new(offsets: JournalOffsets) -> Self {
        Self { offsets }
    }

    /// Runs a query that sees everything acknowledged until now.
    ///
    /// # Errors
    /// When that cannot be had in time.
    pub async fn read<T>(&self, query: impl Future<Output = Result<T, StoreError>>) -> Result<T, Unavailable> {
        self.read_as_of(self.moment(), query).await
    }

    /// Everything acknowledged until now.
    #[must_use]
    pub fn moment(&self) -> Position {
        self.offsets.durable()
    }

    /// Runs a query that sees everything acknowledged until a moment.
    ///
    /// # Errors
    /// When that cannot be had in time.
    pub async fn read_as_of<T>(
        &self,
        moment: Position,
        query: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Unavailable> {
        tokio::time::timeout(PATIENCE, self.offsets.wait_applied(moment)).await.map_err(|_| Unavailable)?;
        self.ask(query).await
    }

    /// Runs a query that depends on nothing in the journal.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ask<T>(&self, query: impl Future<Output = Result<T, StoreError>>) -> Result<T, Unavailable> {
        match tokio::time::timeout(ANSWER, query).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                tracing::warn!(database = self.offsets.name(), %error, "database could not be asked");
                Err(Unavailable)
            }
            Err(_) => {
                tracing::warn!(database = self.offsets.name(), "database does not answer");
                Err(Unavailable)
            }
        }
    }
}

/// What users read of themselves, never older than what was acknowledged.
#[derive(Clone)]
pub struct UserReads {
    tables: Arc<dyn MainReads>,
    barrier: ReadBarrier,
}

impl UserReads {
    /// Of the main database's tables, behind its barrier.
    #[must_use]
    pub fn new(tables: Arc<dyn MainReads>, barrier: ReadBarrier) -> Self {
        Self { tables, barrier }
    }

    /// The version on the user's newest cookie consent.
    ///
    /// # Errors
    /// When the database is behind or away.
    pub async fn consent_version(&self, user_id: &str) -> Result<Option<String>, Unavailable> {
        self.barrier.read(self.tables.consent_version(user_id)).await
    }

    /// The user's consents, the newest first, at most so many.
    ///
    /// # Errors
    /// When the database is behind or away.
    pub async fn consents(&self, user_id: &str, max: i64) -> Result<Vec<StoredConsent>, Unavailable> {
        self.barrier.read(self.tables.consents(user_id, max)).await
    }

    /// The user's attribution; `None` when there is no such user.
    ///
    /// # Errors
    /// When the database is behind or away.
    pub async fn attribution(&self, user_id: &str) -> Result<Option<Attribution>, Unavailable> {
        self.barrier.read(self.tables.attribution(user_id)).await
    }
}
