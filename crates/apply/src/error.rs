//! Why an applier pauses.

use weir_log::ReadError;
use weir_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("dead letters cannot be written: {0}")]
    DeadLetters(std::io::Error),
    #[error("a control file in {path} cannot be read or written: {source}")]
    Applier { path: std::path::PathBuf, source: std::io::Error },
    /// Going on could skip records or apply them twice: an operator must look.
    #[error("{0}")]
    Halted(String),
}
