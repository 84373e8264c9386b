//! Panics caught, restarts counted, and a budget for them.
//!
//! Invariant: a part that fails more often than [`BUDGET`] times in [`WINDOW`] ends the process: a crash loop inside a
//! process that claims to be well helps nobody.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Context};
use futures_util::FutureExt;
use tokio::sync::watch;

use crate::telemetry::Telemetry;
use weir_fail_points as fail_points;

/// How many restarts of one part are borne within [`WINDOW`].
pub const BUDGET: usize = 5;
/// The time in which restarts are counted together.
pub const WINDOW: Duration = Duration::from_mins(1);

/// The process's health as a whole: which part, if any, has failed for good.
pub struct Health {
    telemetry: Arc<Telemetry>,
    failed: watch::Sender<Option<&'static str>>,
}

impl Health {
    #[must_use]
    pub fn new(telemetry: Arc<Telemetry>) -> Arc<Self> {
        Arc::new(Self { telemetry, failed: watch::Sender::new(None) })
    }

    /// The restart budget of the part of this name.
    #[must_use]
    pub fn restart_budget(self: &Arc<Self>, name: &'static str) -> RestartBudget {
        RestartBudget { name, health_state: Arc::clone(self), recent: Arc::default() }
    }

    /// The part whose budget is spent.
    #[must_use]
    pub fn failed(&self) -> Option<&'static str> {
        *self.failed.borrow()
    }

    /// Completes when a part has failed for good.
    pub async fn wait_failed(&self) -> &'static str {
        let mut changes = self.failed.subscribe();
        match changes.wait_for(Option::is_some).await {
            Ok(name) => name.unwrap_or_default(),
            // The sender lives as long as `self`.
            Err(_) => std::future::pending().await,
        }
    }
}

/// One part's connection to [`Health`]; clones share the budget.
#[derive(Clone)]
pub struct RestartBudget {
    name: &'static str,
    health_state: Arc<Health>,
    recent: Arc<Mutex<VecDeque<Instant>>>,
}

impl RestartBudget {
    /// The part's name in logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the core of a handler. After a panic the actor is stopped, so that its supervisor starts it afresh with the
    /// same mailbox, and the answer is `None`.
    pub fn guard<A, T>(&self, context: &mut Context<A>, work: impl FnOnce() -> T) -> Option<T>
    where
        A: Actor<Context = Context<A>>,
    {
        let core = || {
            fail_points::actor(self.name);
            work()
        };
        let done = catch_unwind(AssertUnwindSafe(core)).ok();
        if done.is_none() {
            self.restarted("panic");
            context.stop();
        }
        done
    }

    /// Like [`RestartBudget::guard`] for a future; the caller stops its context on `None`. A part whose budget is spent rests
    /// here until the process ends: begun again at once, it would do nothing but panic meanwhile.
    pub async fn guard_async<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let core = async {
            fail_points::actor(self.name);
            work.await
        };
        let done = AssertUnwindSafe(core).catch_unwind().await.ok();
        if done.is_none() && !self.restarted("panic") {
            std::future::pending::<()>().await;
        }
        done
    }

    /// Counts a restart. False, and the process is to end, when the budget is spent.
    pub fn restarted(&self, cause: &'static str) -> bool {
        self.health_state.telemetry.actor_restarted(self.name, cause);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        recent.retain(|at| now.duration_since(*at) < WINDOW);
        recent.push_back(now);
        let within = recent.len() <= BUDGET;
        if within {
            tracing::error!(actor = self.name, cause, restarts = recent.len(), "actor restarted");
        } else if self.health_state.failed.send_if_modified(|failed| failed.replace(self.name).is_none()) {
            tracing::error!(actor = self.name, cause, "actor failed too often, giving up");
        }
        within
    }
}
