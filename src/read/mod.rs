//! Reads of a database that see everything that was acknowledged before them (contract, section 1).
//!
//! Invariant: what is answered is never older than the journal's last acknowledged record at the moment of the question.
//! A question waits up to `PATIENCE` for the writer to get there; past that, or when the database does not answer, it
//! is told so. The connection that answers says itself how far its database is, because that may have gone back since.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use weir_domain::{Attribution, StoredConsent};
use weir_journal::{JournalOffsets, Position};
use weir_store::{AsOf, MainReads, StoreError};

/// How long a read waits for the writer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the database may take for its answer. Its own bounds are shorter; this one also holds when it is silent.
const ANSWER: Duration = Duration::from_secs(3);

/// How soon the writer has noticed that the database went back, once it was told.
const NOTICED: Duration = Duration::from_millis(20);

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
    pub async fn read<T, Q>(&self, query: impl Fn(Option<AsOf>) -> Q) -> Result<T, Unavailable>
    where
        Q: Future<Output = Result<T, StoreError>>,
    {
        self.read_as_of(self.moment(), query).await
    }

    /// Everything acknowledged until now.
    #[must_use]
    pub fn moment(&self) -> Position {
        self.offsets.durable()
    }

    /// Runs a query that sees everything acknowledged until a moment. It is asked anew where the database that answers turns out
    /// to stand further back than the writer left it: the writer is told, and brings it up again.
    ///
    /// # Errors
    /// When that cannot be had in time.
    pub async fn read_as_of<T, Q>(&self, moment: Position, query: impl Fn(Option<AsOf>) -> Q) -> Result<T, Unavailable>
    where
        Q: Future<Output = Result<T, StoreError>>,
    {
        let deadline = Instant::now() + PATIENCE;
        let as_of = self.as_of(moment);
        loop {
            timeout_at(deadline, self.offsets.wait_applied(moment)).await.map_err(|_| Unavailable)?;
            let answered = self.answer(async {
                match query(Some(as_of)).await {
                    Err(StoreError::Behind { .. }) => Ok(None),
                    answer => answer.map(Some),
                }
            });
            if let Some(answer) = answered.await? {
                return Ok(answer);
            }
            self.offsets.doubt();
            if Instant::now() + NOTICED > deadline {
                return Err(Unavailable);
            }
            tokio::time::sleep(NOTICED).await;
        }
    }

    /// What a query must see that is to know everything up to a position.
    #[must_use]
    pub fn as_of(&self, position: Position) -> AsOf {
        AsOf { journal: self.offsets.journal(), position }
    }

    /// Runs a query that depends on nothing in the journal.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ask<T>(&self, query: impl Future<Output = Result<T, StoreError>>) -> Result<T, Unavailable> {
        self.answer(query).await
    }

    async fn answer<T>(&self, query: impl Future<Output = Result<T, StoreError>>) -> Result<T, Unavailable> {
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
        self.barrier.read(|as_of| self.tables.consent_version(user_id, as_of)).await
    }

    /// The user's consents, the newest first, at most so many.
    ///
    /// # Errors
    /// When the database is behind or away.
    pub async fn consents(&self, user_id: &str, max: i64) -> Result<Vec<StoredConsent>, Unavailable> {
        self.barrier.read(|as_of| self.tables.consents(user_id, max, as_of)).await
    }

    /// The user's attribution; `None` when there is no such user.
    ///
    /// # Errors
    /// When the database is behind or away.
    pub async fn attribution(&self, user_id: &str) -> Result<Option<Attribution>, Unavailable> {
        self.barrier.read(|as_of| self.tables.attribution(user_id, as_of)).await
    }
}
