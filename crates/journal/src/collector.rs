//! The segment garbage collector: deletes the segments that the database has applied.
//!
//! Away from the commit thread and from every event loop: it writes and syncs a control file, and unlinking 64 MiB takes
//! milliseconds. Invariant: the trim point is on disk before the first segment up to it is deleted, so that a database
//! restored from an older copy is noticed, not silently skipped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::layout::other_bytes;
use super::shared::Shared;
use super::{Position, ballast, control_files};

/// Deletes what one journal's database has.
#[derive(Clone)]
pub struct SegmentCollector(Arc<Shared>);

impl SegmentCollector {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Which of a process's journals this is, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Deletes every segment whose records are all applied, never the newest. Blocks.
    ///
    /// # Errors
    /// When a file cannot be written or removed; what is left is found by the next call.
    pub fn collect(&self) -> std::io::Result<()> {
        let Shared { path, index, .. } = &*self.0;
        ballast::hold(path);
        // Letters may have been added, or taken away by hand.
        index.other_bytes.store(other_bytes(path), Ordering::Relaxed);
        let applied = self.0.applied();
        let done = index.with(|segments| segments.windows(2).take_while(|pair| pair[1].previous <= applied).count());
        if done == 0 {
            return Ok(());
        }
        let (paths, through): (Vec<_>, Position) = index.with(|segments| {
            let paths = segments.iter().take(done).map(|segment| segment.path.clone()).collect();
            (paths, segments.get(done).map_or(Position::START, |next| next.previous))
        });
        control_files::write_trim_point(path, through)?;
        self.0.trim_point.store(through.0, Ordering::Release);
        for path in paths {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => index.with(|segments| segments.retain(|segment| segment.path != path)),
            }
        }
        self.0.full.store(false, Ordering::Release);
        Ok(())
    }
}
