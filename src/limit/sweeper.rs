//! The supervised actor that keeps the tables of windows, fingerprints and keys small.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Supervised};

use super::Limiter;
use crate::actor::RestartBudget;
use crate::telemetry::{Telemetry, name};

/// How often expired windows are forgotten. A sweep of a full table takes about 30 ms, shard by shard.
const EVERY: Duration = Duration::from_secs(5);

/// Forgets what is over in one table.
pub type Sweep = Arc<dyn Fn() + Send + Sync>;

/// Sweeps the limiter, and other tables beside it.
pub struct Sweeper {
    limiter: Limiter,
    others: Vec<Sweep>,
    telemetry: Arc<Telemetry>,
    restart_budget: RestartBudget,
}

impl Sweeper {
    #[must_use]
    pub fn new(limiter: Limiter, others: Vec<Sweep>, telemetry: Arc<Telemetry>, restart_budget: RestartBudget) -> Self {
        Self { limiter, others, telemetry, restart_budget }
    }
}

impl Actor for Sweeper {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(EVERY, |sweeper, context| {
            sweeper.restart_budget.clone().guard(context, || {
                sweeper.limiter.sweep();
                sweeper.others.iter().for_each(|sweep| sweep());
                let bypassed = sweeper.limiter.take_bypassed();
                if bypassed > 0 {
                    tracing::warn!(bypassed, "throttle table is full, requests bypassed it");
                    sweeper.telemetry.count(name::LIMITER_BYPASSED, &[], bypassed);
                }
            });
        });
    }
}

impl Supervised for Sweeper {}
