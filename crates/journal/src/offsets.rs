//! How far a journal's database is: what may be deleted, what a read waits for, and who moved the offset.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use uuid::Uuid;
use weir_log::{AcceptedDatabase, BoxFuture, Offsets};

use super::shared::Shared;
use super::{JournalId, Position, control_files};

/// The offset of one journal's database; clones share it.
#[derive(Clone)]
pub struct JournalOffsets(Arc<Shared>);

impl JournalOffsets {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Which of a process's journals this is, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The journal's identity.
    #[must_use]
    pub fn journal(&self) -> JournalId {
        self.0.id
    }

    /// A reader found the database further back than [`Self::applied`]: the applier is to look.
    pub fn doubt(&self) {
        self.0.doubted.notify_one();
    }

    /// The last durable position.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.0.durable()
    }

    /// The last position that the database has applied, as far as this process knows.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.0.applied()
    }

    /// Completes when the database has applied everything up to `position`.
    pub async fn wait_applied(&self, position: Position) {
        loop {
            let moved = self.0.applied_moved.notified();
            if self.applied() >= position {
                return;
            }
            moved.await;
        }
    }

    /// Writes down, durably, how far the database is, so that the next start can tell what is behind while it is away. Blocks.
    ///
    /// # Errors
    /// When the directory cannot be written; the next start then tells of more behind than there is.
    pub fn remember_applied(&self) -> std::io::Result<()> {
        if !self.0.applied_known.load(Ordering::Acquire) {
            return Ok(());
        }
        let applied = self.applied();
        control_files::write_applied(&self.0.path, applied)?;
        self.0.applied_noted.store(applied.0, Ordering::Release);
        Ok(())
    }
}

impl Offsets for JournalOffsets {
    fn commit(&self, position: Position) {
        self.0.applied.store(position.0, Ordering::Release);
        self.0.applied_known.store(true, Ordering::Release);
        // Halfway through a batch, or with more behind it, the oldest record that waits is as old as the applier said.
        let since = &self.0.unapplied_since_ms;
        if position >= self.durable() {
            since.store(0, Ordering::Relaxed);
        } else if since.load(Ordering::Relaxed) == 0 {
            // The applier has not read it yet, and may not be able to.
            since.store(self.0.index.begun_after(position).unwrap_or(0), Ordering::Relaxed);
        }
        self.0.applied_moved.notify_waiters();
    }

    fn reached(&self) -> Position {
        self.applied().max(Position(self.0.applied_noted.load(Ordering::Acquire)))
    }

    fn rewind(&self, position: Position) {
        // Whoever deletes now has taken what lay behind for applied; whoever deletes later has not.
        let _deleting = self.0.deleting.lock().unwrap_or_else(PoisonError::into_inner);
        self.commit(position);
        self.0.applied_noted.store(position.0, Ordering::Release);
        if let Err(error) = control_files::write_applied(&self.0.path, position) {
            tracing::warn!(journal = self.name(), %error, "the applied position could not be written to its control file");
        }
    }

    fn doubted(&self) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.doubted.notified().await })
    }

    fn set_oldest_unapplied(&self, appended_at_ms: u64) {
        self.0.unapplied_since_ms.store(appended_at_ms, Ordering::Relaxed);
    }

    fn remember_applier(&self, applier: Uuid) -> std::io::Result<()> {
        control_files::remember_applier(&self.0.path, &applier.to_string())
    }

    fn knows_applier(&self, applier: &str) -> bool {
        applier.is_empty() || control_files::knows_applier(&self.0.path, applier)
    }

    fn databases(&self) -> std::io::Result<Vec<String>> {
        control_files::databases(&self.0.path)
    }

    fn remember_database(&self, id: &str) -> std::io::Result<()> {
        control_files::remember_database(&self.0.path, id)
    }

    fn accepted_database(&self) -> std::io::Result<Option<AcceptedDatabase>> {
        control_files::accepted_database(&self.0.path)
    }

    fn location(&self) -> PathBuf {
        self.0.path.clone()
    }
}
