//! The supervised actor that runs a pump.
//!
//! It has an arbiter of its own: reading a backlog back from disk and encoding thousands of rows must not delay anyone
//! else. It takes no messages: the journal tells it that there is more, and everybody else reads its state.

use std::sync::Arc;

use actix::ActorFutureExt;
use actix::{Actor, ActorContext, AsyncContext, Context, Supervised, WrapFuture};

use super::{Pump, WriterState};
use crate::actor::Lifeline;
use crate::domain::Clock;
use crate::journal::Journal;
use crate::store::Sink;
use crate::telemetry::Telemetry;

/// One database's writer.
pub struct Writer<S: Sink> {
    pub sink: Arc<S>,
    pub journal: Journal,
    pub state: Arc<WriterState>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Arc<Clock>,
    pub lifeline: Lifeline,
}

impl<S: Sink> Actor for Writer<S> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // A restart begins where the database says it stands; what the old pump held is forgotten with it.
        let mut pump = Pump::new(
            Arc::clone(&self.sink),
            self.journal.clone(),
            Arc::clone(&self.state),
            Arc::clone(&self.telemetry),
            Arc::clone(&self.clock),
        );
        let lifeline = self.lifeline.clone();
        let run = async move {
            loop {
                match lifeline.guard_async(pump.step()).await {
                    Some(true) => {}
                    Some(false) => return true,
                    None => return false,
                }
            }
        };
        context.spawn(run.into_actor(self).map(|finished, _, context| {
            if !finished {
                context.stop();
            }
        }));
    }
}

impl<S: Sink> Supervised for Writer<S> {}
