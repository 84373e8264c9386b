//! The segment garbage collector: deletes the segments that the database has applied, when they were kept for long enough.
//!
//! Away from the commit thread and from every event loop: it writes and syncs a control file, and unlinking 64 MiB takes
//! milliseconds. What it may delete, and when, is said in `kept`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::layout::other_bytes;
use super::shared::Shared;
use super::waiting::WaitingLetters;
use super::{ballast, kept};

/// Deletes what one journal's database has.
#[derive(Clone)]
pub struct SegmentCollector(Arc<Shared>, Arc<Mutex<WaitingLetters>>);

impl SegmentCollector {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared, Arc::default())
    }

    /// Which of a process's journals this is, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Deletes every segment whose records are all applied and were kept for long enough, never the newest. Blocks.
    ///
    /// # Errors
    /// When a file cannot be written or removed; what is left is found by the next call.
    pub fn collect(&self) -> std::io::Result<()> {
        let Shared { path, index, .. } = &*self.0;
        ballast::hold(path);
        // Letters may have been added, or taken away by hand.
        index.other_bytes.store(other_bytes(path), Ordering::Relaxed);
        // The last figure stays while they cannot be read; whoever adds one is told why.
        if let Ok(waiting) = self.1.lock().unwrap_or_else(PoisonError::into_inner).look(path) {
            index.waiting_letters.store(waiting, Ordering::Relaxed);
        }
        if kept::delete_due(&self.0)? {
            // What is kept gives way to records.
            self.0.full.store(false, Ordering::Release);
        }
        Ok(())
    }
}
