//! The supervised actor that looks after one database's tables: partitions ahead of time, retention behind, and every few
//! seconds the effects that wait for a session or a view.
//!
//! The writer makes what is missing by itself, so a stuck maintenance costs latency, never a record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};

use weir_apply::{ApplierPhase, ApplierState, ApplyObserver};
use weir_domain::Clock;
use weir_store::{Maintained, Sink, within};

use crate::actor::RestartBudget;

/// How long it may take: a partition is detached when the last reader of it is done.
const MOST: Duration = Duration::from_mins(10);
/// How often it is tried while the database is away.
const RETRY: Duration = Duration::from_secs(5);
/// How often effects that wait are looked after.
const SETTLE_EVERY: Duration = Duration::from_secs(5);
/// How long that may take.
const SETTLE: Duration = Duration::from_mins(1);
/// How often all of them are, and not only those that are new.
const SETTLE_ALL_EVERY: Duration = Duration::from_hours(1);

/// One database's maintenance.
pub struct Maintenance<S: Sink> {
    pub sink: Arc<S>,
    pub state: Arc<ApplierState>,
    pub clock: Arc<Clock>,
    pub retention_days: u32,
    pub observer: Arc<dyn ApplyObserver>,
    pub restart_budget: RestartBudget,
}

/// Looks after the effects that wait, for ever. Ends when it has panicked.
async fn settle<S: Sink>(
    sink: Arc<S>,
    state: Arc<ApplierState>,
    observer: Arc<dyn ApplyObserver>,
    restart_budget: RestartBudget,
) {
    let mut all_at: Option<Instant> = None;
    loop {
        tokio::time::sleep(SETTLE_EVERY).await;
        if !matches!(state.phase(), ApplierPhase::Up) {
            continue;
        }
        let all = all_at.is_none_or(|at| at.elapsed() >= SETTLE_ALL_EVERY);
        match restart_budget.guard_async(within(SETTLE, sink.settle(all))).await {
            Some(Ok(settled)) => {
                if all {
                    all_at = Some(Instant::now());
                }
                if settled.expired + settled.refused > 0 {
                    tracing::warn!(
                        database = sink.describe(),
                        expired = settled.expired,
                        refused = settled.refused,
                        "what followed sessions or views that never came is given up"
                    );
                }
                observer.settled(&settled);
            }
            Some(Err(error)) => {
                tracing::debug!(database = sink.describe(), %error, "effects that wait were not looked after");
            }
            None => return,
        }
    }
}

impl<S: Sink> Actor for Maintenance<S> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let (sink, state, clock) = (Arc::clone(&self.sink), Arc::clone(&self.state), Arc::clone(&self.clock));
        let (restart_budget, retention_days) = (self.restart_budget.clone(), self.retention_days);
        let settling =
            settle(Arc::clone(&sink), Arc::clone(&state), Arc::clone(&self.observer), restart_budget.clone());
        let maintaining = async move {
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
        let run = async move {
            tokio::select! {
                () = maintaining => {}
                () = settling => {}
            }
        };
        context.spawn(run.into_actor(self).map(|(), _, context| context.stop()));
    }
}

impl<S: Sink> Supervised for Maintenance<S> {}
