//! Sign-in codes by mail: actors that send them, so that no request waits for a mail server.
//!
//! - `smtp`: what a mail looks like, and one attempt to hand it over.
//! - here: the handle, and the supervised actors that try again, within bounds.
//!
//! Invariants: at most [`QUEUE`] mails wait, the next one is refused; a mail is abandoned after [`ATTEMPTS`] attempts,
//! or when its code is no longer valid; an address that is none reaches neither a mail server nor a log. No address is
//! logged, with one exception: without a mail server, which is for development only, a line tells the code to whom it
//! belongs. What waits when the process ends is lost: the person asks for another code.

mod error;
mod smtp;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, ArbiterHandle, AsyncContext, Context, Handler, Supervised, WrapFuture,
};
use lettre::Address;
use tokio::time::Instant;

use crate::actor::{Envelope, Mailbox, RestartBudget, Watchdog};
use crate::config::MailSettings;
use crate::telemetry::{Telemetry, name};
use smtp::{Failure, SmtpMailer};

pub use error::MailError;

/// How many mails may wait.
pub const QUEUE: usize = 256;
/// How many are sent at once: one that a slow server holds does not hold up the others.
const WORKERS: usize = 8;
/// How often a mail is tried.
pub const ATTEMPTS: usize = 3;

/// No more mail can wait; this one is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the outbox takes no more mail")]
pub struct OutboxFull;

/// How long things may take.
#[derive(Clone, Copy)]
struct Timing {
    /// One attempt, from the connection to the server's word.
    attempt: Duration,
    /// Before the second attempt and before the third.
    pauses: [Duration; ATTEMPTS - 1],
}

/// How much is taken on.
#[derive(Clone, Copy)]
struct Bounds {
    workers: usize,
    /// For each of them.
    queue: usize,
}

const TIMING: Timing =
    Timing { attempt: Duration::from_secs(10), pauses: [Duration::from_secs(1), Duration::from_secs(5)] };

/// Whether mail could be sent with these settings. Nothing is sent and nobody is called.
///
/// # Errors
/// When the URL or the sender cannot be used.
pub fn check(settings: &MailSettings) -> Result<(), MailError> {
    SmtpMailer::new(settings).map(drop)
}

/// Takes codes to be sent. Clones share the queue.
#[derive(Clone)]
pub struct Outbox {
    workers: Arc<[Mailbox<MailWorker>]>,
    telemetry: Arc<Telemetry>,
}

impl Outbox {
    /// Starts the actor in `arbiter`. Without settings it writes codes to the log.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn start(
        settings: Option<&MailSettings>,
        watchdog: &Watchdog,
        restart_budget: &RestartBudget,
        telemetry: Arc<Telemetry>,
        arbiter: &ArbiterHandle,
    ) -> Result<Self, MailError> {
        if settings.is_none() {
            tracing::warn!("no smtp_url is set: sign-in codes are written to the log, which is for development");
        }
        let transport = settings.map_or(Ok(Transport::Log), Transport::smtp)?;
        let bounds = Bounds { workers: WORKERS, queue: QUEUE / WORKERS };
        Ok(Self::start_with(transport, TIMING, bounds, watchdog, restart_budget, telemetry, arbiter))
    }

    fn start_with(
        transport: Transport,
        timing: Timing,
        bounds: Bounds,
        watchdog: &Watchdog,
        restart_budget: &RestartBudget,
        telemetry: Arc<Telemetry>,
        arbiter: &ArbiterHandle,
    ) -> Self {
        let sender = Arc::new(MailSender {
            transport,
            timing,
            telemetry: Arc::clone(&telemetry),
            restart_budget: restart_budget.clone(),
        });
        let worker = |_| {
            let sender = Arc::clone(&sender);
            watchdog.supervise(arbiter, restart_budget.clone(), bounds.queue, move || MailWorker {
                sender: Arc::clone(&sender),
            })
        };
        Self { workers: (0..bounds.workers).map(worker).collect(), telemetry }
    }

    /// Whether another mail can wait. A code is not to be made for a mail that cannot be sent: it would take the place
    /// of one that is on its transport.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.workers.iter().any(|worker| worker.depth() < worker.capacity())
    }

    /// Has a code sent to an address. Never waits; what becomes of the mail is counted and logged.
    ///
    /// # Errors
    /// When no more mail can wait.
    pub fn send_code(&self, address: &str, code: &str, valid_minutes: u32) -> Result<(), OutboxFull> {
        let expires = Instant::now() + Duration::from_secs(u64::from(valid_minutes) * 60);
        let mail = CodeMail { address: address.to_owned(), code: code.to_owned(), valid_minutes, expires };
        let mut workers: Vec<_> = self.workers.iter().collect();
        workers.sort_by_key(|worker| worker.depth());
        // One that has just died is idle too.
        let taken = workers.iter().any(|worker| worker.push(mail.clone()).is_ok());
        if !taken {
            count(&self.telemetry, "refused");
            return Err(OutboxFull);
        }
        Ok(())
    }

    /// How many mails wait, the one that is being sent among them, and how many may.
    #[must_use]
    pub fn depth_and_capacity(&self) -> (usize, usize) {
        self.workers
            .iter()
            .fold((0, 0), |(depth, capacity), worker| (depth + worker.depth(), capacity + worker.capacity()))
    }
}

fn count(telemetry: &Telemetry, result: &'static str) {
    telemetry.count(name::MAILS, &[("result", result)], 1);
}

#[derive(Clone)]
struct CodeMail {
    address: String,
    code: String,
    valid_minutes: u32,
    expires: Instant,
}

enum Transport {
    Smtp(Box<SmtpMailer>),
    Log,
    /// Has a bug that the code `panic` meets.
    #[cfg(test)]
    Fragile,
}

impl Transport {
    fn smtp(settings: &MailSettings) -> Result<Self, MailError> {
        SmtpMailer::new(settings).map(|smtp| Self::Smtp(Box::new(smtp)))
    }
}

/// What outlives a restart of the actor.
struct MailSender {
    transport: Transport,
    timing: Timing,
    telemetry: Arc<Telemetry>,
    restart_budget: RestartBudget,
}

impl MailSender {
    /// Sends one mail, or gives it up. The answer is the result to be counted.
    async fn deliver(&self, mail: &CodeMail) -> &'static str {
        let Some(address) = address(&mail.address) else {
            tracing::warn!("mail not sent: the address is none");
            return "failed";
        };
        match &self.transport {
            Transport::Smtp(smtp) => self.hand_over(smtp, address, mail).await,
            Transport::Log => {
                tracing::info!("sign-in code for {address} is {}", mail.code);
                "sent"
            }
            #[cfg(test)]
            Transport::Fragile => {
                assert_ne!(mail.code, "panic");
                "sent"
            }
        }
    }

    async fn hand_over(&self, smtp: &SmtpMailer, address: Address, mail: &CodeMail) -> &'static str {
        let Ok(message) = smtp.write(address, &mail.code, mail.valid_minutes) else {
            tracing::error!("mail not sent: it cannot be written");
            return "failed";
        };
        let mut pauses = self.timing.pauses.iter();
        for attempt in 1.. {
            if Instant::now() >= mail.expires {
                tracing::warn!(attempt, "mail not sent: its code has expired");
                return "expired";
            }
            let sent = tokio::time::timeout(self.timing.attempt, smtp.send(&message)).await;
            let Failure { reason, status, lasting } = match sent.unwrap_or(Err(Failure::TIMEOUT)) {
                Ok(()) => return "sent",
                Err(failure) => failure,
            };
            let Some(pause) = pauses.next().filter(|_| !lasting) else {
                tracing::error!(attempt, reason, status, "mail not sent, abandoned");
                break;
            };
            tracing::warn!(attempt, reason, status, "mail not sent yet, trying again");
            tokio::time::sleep(*pause).await;
        }
        "failed"
    }
}

/// Whether a mail can be sent to this address: one that nobody can reach is to be refused before a code is made for it.
#[must_use]
pub fn can_reach(address: &str) -> bool {
    self::address(address).is_some()
}

/// An address that can stand in a mail's head and in a log line without being anything else.
fn address(text: &str) -> Option<Address> {
    let is_plain = !text.contains(|character: char| character.is_control() || character.is_whitespace());
    text.parse().ok().filter(|_| is_plain)
}

/// The actor that sends.
struct MailWorker {
    sender: Arc<MailSender>,
}

impl Actor for MailWorker {
    type Context = Context<Self>;
}

impl Supervised for MailWorker {}

impl Handler<Envelope<CodeMail>> for MailWorker {
    type Result = ();

    fn handle(&mut self, delivery: Envelope<CodeMail>, context: &mut Self::Context) {
        let sender = Arc::clone(&self.sender);
        let work = async move {
            // All of it: the message alone would leave its place in the mailbox behind, free for the next one.
            let delivery = delivery;
            let result = sender.restart_budget.guard_async(sender.deliver(&delivery.message)).await;
            count(&sender.telemetry, result.unwrap_or("failed"));
            result.is_some()
        };
        // Until this is done, the mailbox rests.
        context.wait(work.into_actor(self).map(|well, _, context| {
            if !well {
                context.stop();
            }
        }));
    }
}
