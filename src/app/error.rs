//! Why Weir does not start, or did not end well.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

use weir_http_guard::TooFewFiles;
use weir_journal::OpenError;
use weir_log::ReadError;
use weir_store::StoreError;

use crate::auth::{IdTokensError, JwtError};
use crate::config::SecretsError;
use crate::enrich::user_agent::UserAgentError;
use crate::mail::MailError;

/// Why Weir does not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    FdLimit(#[from] TooFewFiles),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error(transparent)]
    Jwt(#[from] JwtError),
    #[error("user-agent rules: {0}")]
    UserAgent(#[from] UserAgentError),
    #[error(transparent)]
    Journal(#[from] OpenError),
    #[error(transparent)]
    IdTokens(#[from] IdTokensError),
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error("read back {0}")]
    ReadBack(#[from] ReadError),
    #[error("{database}: {source}")]
    Database { database: String, source: StoreError },
    #[error("listen on {address}: {source}{}", listen_cure(source.kind()))]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("make data_dir {}: {source}{}", path.display(), data_dir_cure(source.kind()))]
    DataDir { path: PathBuf, source: std::io::Error },
    #[error("{action}: {source}")]
    System { action: &'static str, source: std::io::Error },
    #[error("{0} failed too often; see the log")]
    BeyondHelp(&'static str),
}

fn listen_cure(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrInUse => "; stop what listens there, or set another address",
        ErrorKind::AddrNotAvailable => "; it is not an address of this machine",
        ErrorKind::PermissionDenied => "; ports below 1024 need a right that this user lacks",
        _ => "",
    }
}

fn data_dir_cure(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => "; this user may not write there: change the owner, or set another data_dir",
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => "; it names a file, or a place inside of one",
        _ => "",
    }
}
