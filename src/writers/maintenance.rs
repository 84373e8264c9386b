//! The supervised actor that looks after one database's tables: partitions ahead of time, retention behind.
//!
//! The writer makes what is missing by itself, so a stuck maintenance costs latency, never a record.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};

use weir_apply::{ApplierPhase, ApplierState};
use weir_domain::Clock;
use weir_store::{Maintained, Sink, within};

use crate::actor::RestartBudget;

/// How long it may take: a partition is detached when the last reader of it is done.
const MOST: Duration = Duration::from_mins(10);
/// How often it is tried while the database is away.
const RETRY: Duration = Duration::from_secs(5);

/// One database's maintenance.
pub struct Maintenance<S: Sink> {
    pub sink: Arc<S>,
    pub state: Arc<ApplierState>,
    pub clock: Arc<Clock>,
    pub retention_days: u32,
    pub restart_budget: RestartBudget,
}

impl<S: Sink> Actor for Maintenance<S> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let (sink, state, clock) = (Arc::clone(&self.sink), Arc::clone(&self.state), Arc::clone(&self.clock));
        let (restart_budget, retention_days) = (self.restart_budget.clone(), self.retention_days);
        let run = async move {
            loop {
                // The writer migrates; before that there is nothing to look after. A writer that cannot apply may be waiting
                // for what is mended here.
                let pause = if matches!(state.phase(), ApplierPhase::Up | ApplierPhase::Away) {
                    match restart_budget.guard_async(within(MOST, sink.maintain(clock.now(), retention_days))).await {
                        Some(Ok(done)) => {
                            if done != Maintained::default() {
                                tracing::info!(
                                    database = sink.describe(),
                                    partitions_made = done.partitions_made,
                                    partitions_dropped = done.partitions_dropped,
                                    rows_deleted = done.rows_deleted,
                                    "maintenance done"
                                );
                            }
                            sink.maintenance_interval()
                        }
                        Some(Err(error)) => {
                            tracing::warn!(database = sink.describe(), %error, "maintenance failed, tried again at its next turn");
                            RETRY
                        }
                        None => return,
                    }
                } else {
                    RETRY
                };
                tokio::time::sleep(pause).await;
            }
        };
        context.spawn(run.into_actor(self).map(|(), _, context| context.stop()));
    }
}

impl<S: Sink> Supervised for Maintenance<S> {}
