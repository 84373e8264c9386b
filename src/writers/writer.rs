//! The supervised actor that runs an applier.
//!
//! It has an arbiter of its own: reading a backlog back from disk and encoding thousands of rows must not delay anyone
//! else. It takes no messages: the journal tells it that there is more, and everybody else reads its state.

use std::sync::Arc;

use actix::ActorFutureExt;
use actix::{Actor, ActorContext, AsyncContext, Context, Supervised, WrapFuture};

use weir_apply::{Applier, ApplierParts, ApplierState, ApplyObserver};
use weir_domain::Clock;
use weir_journal::Journal;
use weir_store::Sink;

use crate::actor::RestartBudget;

/// One database's writer.
pub struct Writer<S: Sink> {
    pub sink: Arc<S>,
    pub journal: Journal,
    pub state: Arc<ApplierState>,
    pub observer: Arc<dyn ApplyObserver>,
    pub clock: Arc<Clock>,
    pub restart_budget: RestartBudget,
}

impl<S: Sink> Actor for Writer<S> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // A restart begins where the database says it stands; what the old applier held is forgotten with it.
        let mut applier = Applier::new(ApplierParts {
            database: self.journal.name(),
            sink: Arc::clone(&self.sink),
            log: Box::new(self.journal.reader()),
            offsets: Arc::new(self.journal.offsets()),
            dead_letters: Arc::new(self.journal.dead_letters()),
            state: Arc::clone(&self.state),
            observer: Arc::clone(&self.observer),
            clock: Arc::clone(&self.clock),
        });
        let restart_budget = self.restart_budget.clone();
        let run = async move {
            loop {
                match restart_budget.guard_async(applier.step()).await {
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
