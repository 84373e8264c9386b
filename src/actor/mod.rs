//! actix made safe, once.
//!
//! What actix 0.13 does not do by itself, and this folder does:
//! - Its `Supervisor` restarts an actor only after `ctx.stop()`; a panic closes the mailbox for good. So the core of
//!   every handler runs under [`RestartBudget::guard`], which catches, counts and stops.
//! - No mailbox of it is bounded: `send` and `do_send` ignore the capacity and `try_send` grants a slot to every clone of
//!   an address. So a [`Mailbox`] owns the only address and counts what is in it.
//! - Nothing notices when a supervisor itself is gone. So the [`Watchdog`] makes the actor anew, within a budget; when
//!   that is spent, the process says so, stops, and leaves the rest to whoever restarts it.

mod mailbox;
mod restart_budget;
mod watchdog;

pub use mailbox::{Envelope, Mailbox, PushError};
pub use restart_budget::{Health, RestartBudget};
pub use watchdog::Watchdog;
