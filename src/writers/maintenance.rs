//! The supervised actor that looks after one database's tables: partitions ahead of time, retention behind, and every few
//! seconds the effects that wait for a session or a view.
//!
//! The writer makes what is missing by itself, so a stuck maintenance costs latency, never a record.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};

use tokio::time::Instant;
use weir_apply::{ApplierPhase, ApplierState, ApplyObserver};
use weir_domain::Clock;
use weir_store::{Sink, within};

use crate::actor::RestartBudget;
use crate::clock_watch::ClockWatch;

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

/// How often the clock is held against the database's.
const CLOCK_EVERY: Duration = Duration::from_secs(10);
/// How long a database may take to tell the time.
const CLOCK_ANSWER: Duration = Duration::from_secs(5);

/// One database's maintenance.
pub struct Maintenance<S: Sink> {
    pub sink: Arc<S>,
    pub state: Arc<ApplierState>,
    pub clock: Arc<Clock>,
    pub clock_watch: Arc<ClockWatch>,
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
        let run = Run {
            sink: Arc::clone(&self.sink),
            clock: Arc::clone(&self.clock),
            clock_watch: Arc::clone(&self.clock_watch),
            retention_days: self.retention_days,
        };
        let (state, restart_budget) = (Arc::clone(&self.state), self.restart_budget.clone());
        let settling =
            settle(Arc::clone(&self.sink), Arc::clone(&state), Arc::clone(&self.observer), restart_budget.clone());
        let turns = async move {
            let mut next = Instant::now();
            loop {
                let mut pause = RETRY;
                // The writer migrates; before that there is nothing to look after. A writer that cannot apply may be waiting
                // for what is mended here.
                if matches!(state.phase(), ApplierPhase::Up | ApplierPhase::Away) {
                    let Some(()) = restart_budget.guard_async(run.look_at_clock()).await else { return };
                    if Instant::now() >= next {
                        let Some(wait) = restart_budget.guard_async(run.maintain()).await else { return };
                        next = Instant::now() + wait;
                    }
                    pause = next.saturating_duration_since(Instant::now()).min(CLOCK_EVERY);
                }
                tokio::time::sleep(pause).await;
            }
        };
        let run = async move {
            tokio::select! {
                () = turns => {}
                () = settling => {}
            }
        };
        context.spawn(run.into_actor(self).map(|(), _, context| context.stop()));
    }
}

/// What one turn needs.
struct Run<S: Sink> {
    sink: Arc<S>,
    clock: Arc<Clock>,
    clock_watch: Arc<ClockWatch>,
    retention_days: u32,
}

impl<S: Sink> Run<S> {
    /// Holds the clock against the database's. A database that is away says nothing.
    async fn look_at_clock(&self) {
        let Ok(Some(skew_ms)) = within(CLOCK_ANSWER, self.sink.clock_skew_ms(&self.clock)).await else { return };
        if self.clock_watch.set_skew_ms(skew_ms) {
            let (database, skew_seconds) = (self.sink.describe(), skew_ms / 1000);
            if self.clock_watch.is_skewed() {
                tracing::warn!(database, skew_seconds, "the clock disagrees with the database's");
            } else {
                tracing::info!(database, skew_seconds, "the clock agrees with the database's again");
            }
        }
    }

    /// Looks after the tables, and says when it is the next turn.
    async fn maintain(&self) -> Duration {
        let database = self.sink.describe();
        let done = match within(MOST, self.sink.maintain(self.clock.now(), self.retention_days)).await {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!(database, %error, "maintenance failed, tried again at its next turn");
                return RETRY;
            }
        };
        if done.partitions_made + done.partitions_dropped + done.rows_deleted > 0 {
            tracing::info!(
                database,
                partitions_made = done.partitions_made,
                partitions_dropped = done.partitions_dropped,
                rows_deleted = done.rows_deleted,
                "maintenance done"
            );
        }
        let is_new = self.clock_watch.set_retention_refused(done.refused.is_some());
        let Some((now, trusted_at)) = done.refused else { return self.sink.maintenance_interval() };
        if is_new {
            tracing::warn!(
                database,
                clock = now.to_rfc3339(),
                last_believed = trusted_at.to_rfc3339(),
                "retention deletes nothing: the clock is far ahead of its last run; if it is right, run weir retention run --confirm"
            );
        }
        // An operator may confirm it at any time.
        CLOCK_EVERY
    }
}

impl<S: Sink> Supervised for Maintenance<S> {}
