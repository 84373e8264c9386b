//! What can go wrong with a journal.

use std::io;
use std::path::{Path, PathBuf};

use super::JournalId;

/// Why a record is not durable. It was not stored and will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the journal's queue is full")]
    QueueFull,
    #[error("the journal's disk bound is reached")]
    DiskFull,
    #[error("the journal could not be written")]
    Failed,
    #[error("the journal is closed")]
    Closed,
    #[error("the record is longer than a journal accepts")]
    TooLong,
}

/// Why a journal cannot be used at all. The process refuses to start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("journal {path}: {action}: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("journal {path} is in use by another process")]
    InUse { path: PathBuf },
    #[error("journal {path}: identity.json is unreadable and no segment names the journal: {reason}")]
    NoIdentity { path: PathBuf, reason: String },
    #[error("journal segment {path} belongs to journal {found}, not to {expected}")]
    ForeignSegment { path: PathBuf, found: JournalId, expected: JournalId },
    #[error("journal segment {path}: {reason}")]
    Segment { path: PathBuf, reason: String },
}

impl OpenError {
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}
