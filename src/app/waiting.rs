//! What a start or a stop waits for, told once a second until it is there.

use std::future::Future;
use std::time::Duration;

use crate::telemetry::progress::watched;

const TELL_EVERY: Duration = Duration::from_secs(1);

/// Waits for the work, and says so; `left` says what there is still to do.
pub(super) async fn waiting<T>(what: &str, left: impl Fn() -> String, work: impl Future<Output = T>) -> T {
    watched(TELL_EVERY, work, |taken| {
        tracing::info!(what, left = left(), seconds = taken.as_secs(), "still waiting");
    })
    .await
}
