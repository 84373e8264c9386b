//! How long a client may take for what the server waits for.

use std::time::Duration;

/// The deadlines of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a client may take to send a request's head. A head that began behind another request has the time of a
    /// silence instead.
    pub head: Duration,
    /// How long a connection may be silent between two requests.
    pub keep_alive: Duration,
    /// How long a client may take to make room for more of its answers.
    pub write: Duration,
    /// How long a client may take to hang up when it was told that the connection ends.
    pub disconnect: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            keep_alive: Duration::from_secs(75),
            write: Duration::from_secs(30),
            disconnect: Duration::from_secs(1),
        }
    }
}
