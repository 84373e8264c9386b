//! The supervised loop that has applied segments deleted.
//!
//! Each pass runs on a blocking thread: it syncs a control file and unlinks segments, which takes as long as the disk likes.
//! On an event loop it would hold up whatever else is there: a stalled journal disk must not stall sign-in mail.
//!
//! Invariants: a collector has one pass at a time; a pass that hangs leaves the loop waiting, and nothing else.

use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};
use weir_journal::SegmentCollector;

use crate::actor::RestartBudget;

/// How often applied segments are looked for.
const EVERY: Duration = Duration::from_millis(500);

/// The actor around one journal's collector.
pub(super) struct Collector {
    pub segments: SegmentCollector,
    pub restart_budget: RestartBudget,
}

impl Actor for Collector {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let (segments, restart_budget) = (self.segments.clone(), self.restart_budget.clone());
        let run = async move {
            while restart_budget.guard_async(collect(segments.clone())).await.is_some() {
                tokio::time::sleep(EVERY).await;
            }
        };
        context.spawn(run.into_actor(self).map(|(), _, context| context.stop()));
    }
}

impl Supervised for Collector {}

/// One pass, off the event loop. A panic in it is this loop's own.
async fn collect(segments: SegmentCollector) {
    let journal = segments.name();
    match tokio::task::spawn_blocking(move || segments.collect()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(journal, %error, "applied journal segments could not be deleted"),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => tracing::debug!(journal, %error, "segment collection was cancelled"),
        },
    }
}
