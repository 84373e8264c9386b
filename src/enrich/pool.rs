//! User agents, parsed once: a cache for what is known, a pool of actors for what is not.
//!
//! A hit is answered in the request's own task. A miss costs
//! as much as ten whole requests, so it goes to the pool, always to the same actor for the same user agent: a hundred
//! visitors who bring a new browser at once are parsed once.
//!
//! Bounds: the cache holds 16 MiB of text; each actor's mailbox holds [`QUEUE`] parses, about 15 ms of work. When it is
//! full the visit is refused honestly; parsing in the request's task instead would let a flood of random user agents slow
//! everybody down.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use actix::{Actor, Arbiter, Context, Handler, Supervised};
use moka::sync::Cache;
use tokio::sync::oneshot;

use super::user_agent::{UserAgentFacts, UserAgentParser};
use crate::actor::{Envelope, Mailbox, RestartBudget, Watchdog};
use crate::telemetry::Telemetry;

/// How many parses one actor's mailbox holds.
pub const QUEUE: usize = 1024;
const CACHE_BYTES: u64 = 16 << 20;
/// What an entry costs beside its text.
const ENTRY_BYTES: u32 = 256;

/// What a user agent tells; shared with the cache.
pub type Facts = Arc<UserAgentFacts>;
type FactsCache = Cache<Arc<str>, Facts>;

/// The pool is full or its actor has just died.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user-agent pool takes no more work")]
pub struct PoolBusy;

/// Parsed user agents on demand.
pub struct UserAgents {
    cache: FactsCache,
    pool: Vec<Mailbox<Parser>>,
    hasher: RandomState,
    telemetry: Arc<Telemetry>,
}

impl UserAgents {
    /// Starts `actors` parsers, each on an arbiter of its own.
    #[must_use]
    pub fn start(
        rules: UserAgentParser,
        actors: usize,
        watchdog: &Watchdog,
        restart_budget: &RestartBudget,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let rules = Arc::new(rules);
        let cache = Cache::builder()
            .max_capacity(CACHE_BYTES)
            .weigher(|text: &Arc<str>, _: &Facts| {
                u32::try_from(text.len()).unwrap_or(u32::MAX - ENTRY_BYTES) + ENTRY_BYTES
            })
            .build();
        let pool = (0..actors.max(1))
            .map(|_| {
                let (rules, cache, restart_budget) = (Arc::clone(&rules), cache.clone(), restart_budget.clone());
                let arbiter = Arbiter::new().handle();
                watchdog.supervise(&arbiter, restart_budget.clone(), QUEUE, move || Parser {
                    rules: Arc::clone(&rules),
                    cache: cache.clone(),
                    restart_budget: restart_budget.clone(),
                })
            })
            .collect();
        Self { cache, pool, hasher: RandomState::new(), telemetry }
    }

    /// What the user agent tells, if it was parsed before.
    #[must_use]
    pub fn known(&self, user_agent: &str) -> Option<Facts> {
        let facts = self.cache.get(user_agent)?;
        self.telemetry.user_agent_hit();
        Some(facts)
    }

    /// What a user agent tells that was not known a moment ago.
    ///
    /// # Errors
    /// When the pool takes no more work.
    pub async fn parse(&self, user_agent: &str) -> Result<Facts, PoolBusy> {
        let place = usize::try_from(self.hasher.hash_one(user_agent) % self.pool.len() as u64).unwrap_or(0);
        let (reply, answer) = oneshot::channel();
        let asked = self.pool[place].push(Parse { user_agent: user_agent.into(), reply });
        let answer = match asked {
            Ok(()) => answer.await.map_err(|_| PoolBusy),
            Err(_) => Err(PoolBusy),
        };
        match &answer {
            Ok(_) => self.telemetry.user_agent_missed(),
            Err(_) => self.telemetry.user_agent_refused(),
        }
        answer
    }

    /// How many user agents are held parsed.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.cache.entry_count()
    }

    /// How many parses wait, and how many may.
    #[must_use]
    pub fn queue(&self) -> (usize, usize) {
        self.pool
            .iter()
            .fold((0, 0), |(depth, capacity), mailbox| (depth + mailbox.depth(), capacity + mailbox.capacity()))
    }
}

struct Parse {
    user_agent: Arc<str>,
    reply: oneshot::Sender<Facts>,
}

/// The actor that parses.
pub struct Parser {
    rules: Arc<UserAgentParser>,
    cache: FactsCache,
    restart_budget: RestartBudget,
}

impl Actor for Parser {
    type Context = Context<Self>;
}

impl Supervised for Parser {}

impl Handler<Envelope<Parse>> for Parser {
    type Result = ();

    fn handle(&mut self, delivery: Envelope<Parse>, context: &mut Self::Context) {
        let Parse { user_agent, reply } = delivery.message;
        if reply.is_closed() {
            return;
        }
        let facts = self.restart_budget.clone().guard(context, || {
            self.cache.get(&user_agent).unwrap_or_else(|| {
                let facts = Arc::new(self.rules.parse(&user_agent));
                self.cache.insert(user_agent, Arc::clone(&facts));
                facts
            })
        });
        if let Some(facts) = facts {
            let _ = reply.send(facts);
        }
    }
}
