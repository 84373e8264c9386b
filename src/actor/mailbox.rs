//! A mailbox with a bound that holds.
//!
//! Invariant: at most `capacity` messages are queued or being handled; the next push is refused. A message that is lost
//! (its actor died) gives its place free, and whatever reply channel it carried tells its sender by being dropped.
//! Cost: one atomic add and one actix envelope a push, about 0.2 µs, and a wake-up of the other thread when it sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};
use arc_swap::ArcSwap;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    #[error("the mailbox is full")]
    Full,
    #[error("the actor is gone")]
    Closed,
}

/// A message and its place in the mailbox, which is free again when this is dropped.
pub struct Envelope<M> {
    pub message: M,
    _permit: Permit,
}

impl<M> Message for Envelope<M> {
    type Result = ();
}

struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The only way to an actor. Clones share the bound.
pub struct Mailbox<A: Actor> {
    address: Arc<ArcSwap<Addr<A>>>,
    depth: Arc<AtomicUsize>,
    capacity: usize,
}

impl<A: Actor> Clone for Mailbox<A> {
    fn clone(&self) -> Self {
        Self { address: Arc::clone(&self.address), depth: Arc::clone(&self.depth), capacity: self.capacity }
    }
}

impl<A: Actor> Mailbox<A> {
    pub(super) fn new(address: Addr<A>, capacity: usize) -> Self {
        Self { address: Arc::new(ArcSwap::from_pointee(address)), depth: Arc::default(), capacity }
    }

    /// Queues a message unless the mailbox is full.
    ///
    /// # Errors
    /// [`PushError::Full`] at the bound, [`PushError::Closed`] while the actor is gone.
    pub fn push<M>(&self, message: M) -> Result<(), PushError>
    where
        M: Send + 'static,
        A: Handler<Envelope<M>>,
        A::Context: ToEnvelope<A, Envelope<M>>,
    {
        if self.depth.fetch_add(1, Ordering::Relaxed) >= self.capacity {
            self.depth.fetch_sub(1, Ordering::Relaxed);
            return Err(PushError::Full);
        }
        let permit = Permit(Arc::clone(&self.depth));
        let address = self.address.load();
        if !address.connected() {
            return Err(PushError::Closed);
        }
        #[allow(clippy::disallowed_methods)] // the one place: the bound is `depth`, held by `place`
        address.do_send(Envelope { message, _permit: permit });
        Ok(())
    }

    /// How many messages are queued or being handled.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// How many fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn connected(&self) -> bool {
        self.address.load().connected()
    }

    pub(super) fn replace(&self, address: Addr<A>) {
        self.address.store(Arc::new(address));
    }
}
