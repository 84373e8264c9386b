//! Makes an actor anew whose supervisor is gone.
//!
//! Invariant: an actor is away for at most [`EVERY`] plus its own start, or the process ends (see `restart_budget`).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, ArbiterHandle, Context, Supervised, Supervisor};

use super::{Mailbox, RestartBudget};

/// How often every actor is looked at.
const EVERY: Duration = Duration::from_millis(200);

type Check = Box<dyn Fn()>;

/// Looks after all actors of one application. Lives on the system's own arbiter, which runs nothing heavy.
#[derive(Clone, Default)]
pub struct Watchdog {
    checks: Rc<RefCell<Vec<Check>>>,
}

impl Watchdog {
    /// Starts an actor under a supervisor in `arbiter`, and keeps it there.
    pub fn supervise<A, F>(
        &self,
        arbiter: &ArbiterHandle,
        restart_budget: RestartBudget,
        capacity: usize,
        make: F,
    ) -> Mailbox<A>
    where
        A: Actor<Context = Context<A>> + Supervised,
        F: Fn() -> A + Clone + Send + 'static,
    {
        let start = {
            let arbiter = arbiter.clone();
            move || {
                let make = make.clone();
                Supervisor::start_in_arbiter(&arbiter, move |_| make())
            }
        };
        let mailbox = Mailbox::new(start(), capacity);
        let watched = mailbox.clone();
        self.checks.borrow_mut().push(Box::new(move || {
            if !watched.connected() && restart_budget.restarted("died") {
                watched.replace(start());
            }
        }));
        mailbox
    }

    /// Starts looking. Stops when the last handle is dropped.
    pub fn watch(&self) {
        let checks = Rc::downgrade(&self.checks);
        actix::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                let Some(checks) = checks.upgrade() else { return };
                checks.borrow().iter().for_each(|check| check());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix::{Arbiter, Handler};
    use tokio::sync::oneshot;

    use super::super::{Envelope, Health, PushError};
    use super::*;
    use crate::telemetry::Telemetry;

    struct Fragile {
        restart_budget: RestartBudget,
        starts: Arc<AtomicUsize>,
    }

    enum Order {
        Echo(oneshot::Sender<u8>),
        Panic,
        PanicUnguarded,
        Hold(std::sync::mpsc::Receiver<()>),
    }

    impl Actor for Fragile {
        type Context = Context<Self>;
        fn started(&mut self, _: &mut Self::Context) {
            self.starts.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Supervised for Fragile {}

    impl Handler<Envelope<Order>> for Fragile {
        type Result = ();
        fn handle(&mut self, delivery: Envelope<Order>, context: &mut Self::Context) {
            assert!(!matches!(delivery.message, Order::PanicUnguarded), "unguarded");
            self.restart_budget.clone().guard(context, || match delivery.message {
                Order::Echo(reply) => drop(reply.send(7)),
                Order::Hold(release) => drop(release.recv()),
                Order::Panic | Order::PanicUnguarded => panic!("guarded"),
            });
        }
    }

    struct Scene {
        health_state: Arc<Health>,
        mailbox: Mailbox<Fragile>,
        starts: Arc<AtomicUsize>,
        _watchdog: Watchdog,
    }

    fn scene(capacity: usize) -> Scene {
        let health_state = Health::new(Telemetry::new());
        let (restart_budget, starts) = (health_state.restart_budget("sweeper"), Arc::new(AtomicUsize::new(0)));
        let watchdog = Watchdog::default();
        let mailbox = {
            let (restart_budget, starts) = (restart_budget.clone(), Arc::clone(&starts));
            watchdog.supervise(&Arbiter::new().handle(), restart_budget.clone(), capacity, move || Fragile {
                restart_budget: restart_budget.clone(),
                starts: Arc::clone(&starts),
            })
        };
        watchdog.watch();
        Scene { health_state, mailbox, starts, _watchdog: watchdog }
    }

    async fn echo(mailbox: &Mailbox<Fragile>) -> Option<u8> {
        let (reply, answer) = oneshot::channel();
        mailbox.push(Order::Echo(reply)).ok()?;
        answer.await.ok()
    }

    async fn empty(mailbox: &Mailbox<Fragile>) {
        while mailbox.depth() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[actix_web::test]
    async fn actor_panic_in_guard_keeps_mailbox() {
        let scene = scene(8);
        scene.mailbox.push(Order::Panic).unwrap();
        // Queued behind the panic: it must survive the restart.
        assert_eq!(echo(&scene.mailbox).await, Some(7));
        assert_eq!(scene.starts.load(Ordering::SeqCst), 2);
        assert_eq!(scene.health_state.failed(), None);
    }

    #[actix_web::test]
    async fn actor_panic_outside_guard_is_restarted_and_frees_permits() {
        let scene = scene(8);
        scene.mailbox.push(Order::PanicUnguarded).unwrap();
        let mut answer = None;
        for _ in 0..500 {
            answer = echo(&scene.mailbox).await;
            if answer.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(answer, Some(7));
        // Lost messages give their places free too.
        empty(&scene.mailbox).await;
    }

    #[actix_web::test]
    async fn restart_budget_exceeded_reports_failed_actor() {
        let scene = scene(16);
        for _ in 0..=super::super::restart_budget::BUDGET {
            scene.mailbox.push(Order::Panic).unwrap();
        }
        assert_eq!(scene.health_state.wait_failed().await, "sweeper");
    }

    #[actix_web::test]
    async fn mailbox_full_refuses_push() {
        let scene = scene(2);
        let (release, held) = std::sync::mpsc::channel();
        scene.mailbox.push(Order::Hold(held)).unwrap();
        let (reply, answer) = oneshot::channel();
        scene.mailbox.push(Order::Echo(reply)).unwrap();
        let (late, _) = oneshot::channel();
        assert_eq!(scene.mailbox.push(Order::Echo(late)), Err(PushError::Full));
        release.send(()).unwrap();
        assert_eq!(answer.await, Ok(7));
        empty(&scene.mailbox).await;
        assert_eq!(echo(&scene.mailbox).await, Some(7));
    }
}
