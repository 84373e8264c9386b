//! The supervised actor that keeps the table of windows small.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Supervised};

use super::Limiter;
use crate::actor::Lifeline;
use crate::telemetry::{Telemetry, name};

/// How often expired windows are forgotten. A sweep of a full table takes about 30 ms, shard by shard.
const EVERY: Duration = Duration::from_secs(5);

/// Sweeps one limiter.
pub struct Sweeper {
    limiter: Limiter,
    telemetry: Arc<Telemetry>,
    lifeline: Lifeline,
}

impl Sweeper {
    #[must_use]
    pub fn new(limiter: Limiter, telemetry: Arc<Telemetry>, lifeline: Lifeline) -> Self {
        Self { limiter, telemetry, lifeline }
    }
}

impl Actor for Sweeper {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(EVERY, |sweeper, context| {
            sweeper.lifeline.clone().guard(context, || {
                sweeper.limiter.sweep();
                let uncounted = sweeper.limiter.take_uncounted();
                if uncounted > 0 {
                    tracing::warn!(uncounted, "throttle table is full, requests passed uncounted");
                    sweeper.telemetry.count(name::LIMITER_UNCOUNTED, &[], uncounted);
                }
            });
        });
    }
}

impl Supervised for Sweeper {}
