//! Visitors of `/track/init`: who is known, who is new (contract, section 4).
//!
//! Invariants: requests with one fingerprint at the same instant get one token, and one of them is told that it is new;
//! a token in an answer is a record on disk, or was given by the client itself; while the main database is away nothing
//! waits for it. What is kept of a fingerprint is keyed, unless the operator wants it plain.
//! Bounds: `KNOWN_TOKENS` tokens and `FINGERPRINTS` fingerprints in memory. A token that was pushed out is looked up;
//! when the table of fingerprints is full, visitors are made without it, and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;

use crate::idempotency::{Landed, SingleFlight, SingleFlightError};
use crate::telemetry::{Telemetry, name};
use weir_apply::{ApplierPhase, ApplierState};
use weir_domain::{
    Attributes, ClientIp, Clock, FINGERPRINT_LIFETIME_MS, Fingerprint, GeoLocation, HmacKey, JournalRecord, MainRecord,
    UnixMillis, VisitorFillRecord, VisitorRecord, VisitorToken,
};
use weir_journal::{AppendError, Appender, Journal, JournalOffsets, Position};
use weir_store::{AsOf, StoreError, VisitorTable};

/// How many tokens are known without a look-up.
const KNOWN_TOKENS: u64 = 1_000_000;
/// How many tokens a start reads.
const WARM_TOKENS: i64 = 100_000;
/// The most fingerprints that are kept: 3,300 new visitors a second.
const FINGERPRINTS: usize = 1_000_000;
/// How many visitors who became users are remembered, and for how long: longer than a fingerprint leads to one.
const LINKED_TOKENS: u64 = 1_000_000;
const LINKED_FOR: Duration = Duration::from_mins(10);
/// How long a look-up of a token may take before it counts as an outage: the first visitors of an outage wait so long.
const LOOK_UP: Duration = Duration::from_millis(500);
/// How long nothing is looked up after one that failed.
const AWAY_MS: u64 = 2_000;

/// A request of a visitor.
#[derive(Debug, Default)]
pub struct Visit {
    /// The token that it brings, when that is well-formed.
    pub token: Option<VisitorToken>,
    pub client: Option<ClientIp>,
    pub user_agent: Option<String>,
    pub attributes: Attributes,
    pub referrer: Option<String>,
    pub landing_url: Option<String>,
}

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initiated {
    pub token: VisitorToken,
    pub is_new: bool,
}

/// The visitors that this process knows.
pub struct Visitors {
    known: Cache<VisitorToken, ()>,
    recent: SingleFlight<Fingerprint, VisitorToken>,
    /// Those of the last minutes who are users': a fingerprint leads to nobody else's account.
    linked: Cache<VisitorToken, ()>,
    key: Option<HmacKey>,
    table: Arc<dyn VisitorTable>,
    appender: Appender,
    offsets: JournalOffsets,
    applier: Arc<ApplierState>,
    away_until_ms: AtomicU64,
    warm: AtomicBool,
    journal_read_behind: AtomicU64,
    clock: Arc<Clock>,
    telemetry: Arc<Telemetry>,
}

impl Visitors {
    /// An empty memory. An empty `fingerprint_key` keeps fingerprints in their plain form.
    #[must_use]
    pub fn new(
        fingerprint_key: &str,
        table: Arc<dyn VisitorTable>,
        journal: &Journal,
        applier: Arc<ApplierState>,
        clock: Arc<Clock>,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let key = (!fingerprint_key.is_empty()).then(|| HmacKey::new(fingerprint_key.as_bytes()));
        Self {
            known: Cache::new(KNOWN_TOKENS),
            recent: SingleFlight::new(FINGERPRINTS, FINGERPRINT_LIFETIME_MS),
            linked: Cache::builder().max_capacity(LINKED_TOKENS).time_to_live(LINKED_FOR).build(),
            key,
            table,
            appender: journal.appender(),
            offsets: journal.offsets(),
            applier,
            away_until_ms: AtomicU64::new(0),
            warm: AtomicBool::new(false),
            journal_read_behind: AtomicU64::new(0),
            clock,
            telemetry,
        }
    }

    /// Finds the visitor or makes a new one, whose place `locate` tells; returns when that is durable.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn init(&self, visit: Visit, locate: impl FnOnce() -> GeoLocation) -> Result<Initiated, AppendError> {
        if let Some(token) = visit.token
            && self.may_be_known(token).await
        {
            self.fill(token, visit.attributes).await?;
            return Ok(Initiated { token, is_new: false });
        }
        let now = self.clock.now();
        let fingerprint = self.fingerprint(&visit);
        let token = VisitorToken::random().map_err(|_| AppendError::Failed)?;
        let place = locate();
        let visitor = VisitorRecord {
            token,
            created_at: now,
            fingerprint,
            user_agent: visit.user_agent,
            attributes: visit.attributes,
            referrer: visit.referrer,
            landing_url: visit.landing_url,
            country: place.country,
            city: place.city,
            state: place.region,
        };
        let record = MainRecord::Visitor(Box::new(visitor));
        if let Some(held) = self.recent.peek(fingerprint)
            && self.linked.contains_key(&held)
        {
            self.recent.forget_value(fingerprint, held);
        }
        let append = || Ok((token, self.appender.append(record.encode())?));
        let held = match self.recent.get_or_make(fingerprint, self.clock.monotonic_ms(), append).await {
            Ok(held) => held,
            Err(SingleFlightError::Append(error)) => return Err(error),
            Err(SingleFlightError::Full) => {
                self.telemetry.count(name::FINGERPRINTS_BYPASSED, &[], 1);
                self.appender.append(record.encode())?.await?;
                Landed { value: token, made: true }
            }
        };
        self.known.insert(held.value, ());
        // Found by fingerprint alone, it may be another person's behind the same address: nothing is filled in.
        Ok(Initiated { token: held.value, is_new: held.made })
    }

    /// Takes in a visitor that the journal or the table holds from an earlier run.
    pub fn remember(&self, token: VisitorToken, fingerprint: Fingerprint, created_at: UnixMillis) {
        self.known.insert(token, ());
        let age_ms = self.clock.now().0 - created_at.0;
        if age_ms < FINGERPRINT_LIFETIME_MS
            && !self.recent.remember(fingerprint, token, self.clock.monotonic_ms(), age_ms)
        {
            self.telemetry.count(name::FINGERPRINTS_BYPASSED, &[], 1);
        }
    }

    /// A visitor became a user's: from now on no fingerprint leads to it.
    pub fn linked(&self, token: VisitorToken) {
        self.linked.insert(token, ());
    }

    /// What lies behind this position was read from the journal: a database that lacks more than that has gone back, and does
    /// not know all visitors of earlier runs until its writer has brought it up again.
    pub fn read_from_journal_behind(&self, position: Position) {
        self.journal_read_behind.store(position.0, Ordering::Release);
    }

    fn as_of(&self, position: Position) -> AsOf {
        AsOf { journal: self.offsets.journal(), position }
    }

    /// Reads what the table knows of the last minutes, and the newest tokens.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn warm(&self) -> Result<(), StoreError> {
        let since = UnixMillis(self.clock.now().0 - FINGERPRINT_LIFETIME_MS);
        let most = i64::try_from(FINGERPRINTS).unwrap_or(i64::MAX);
        let as_of = Some(self.as_of(Position(self.journal_read_behind.load(Ordering::Acquire))));
        for visitor in self.table.recent_visitors(since, most, as_of).await? {
            if visitor.is_linked {
                // The journal, which was read before, does not know it.
                self.linked(visitor.token);
            }
            self.remember(visitor.token, visitor.fingerprint, visitor.created_at);
        }
        for token in self.table.newest_tokens(WARM_TOKENS, as_of).await? {
            self.known.insert(token, ());
        }
        self.warm.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the table was read.
    #[must_use]
    pub fn are_warm(&self) -> bool {
        self.warm.load(Ordering::Acquire)
    }

    /// Forgets fingerprints whose window is over.
    pub fn sweep(&self) {
        self.recent.sweep(self.clock.monotonic_ms());
    }

    /// How many fingerprints are kept, and how many may be.
    #[must_use]
    pub fn fingerprints(&self) -> (usize, usize) {
        (self.recent.entries(), self.recent.capacity())
    }

    /// How many tokens are known without a look-up.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.known.entry_count()
    }

    async fn fill(&self, token: VisitorToken, attributes: Attributes) -> Result<(), AppendError> {
        if attributes.is_empty() {
            return Ok(());
        }
        let fill = VisitorFillRecord { token, at: self.clock.now(), attributes };
        self.appender.append(MainRecord::VisitorFill(Box::new(fill)).encode())?.await
    }

    /// False only when it is certain that nobody has this token: while the database is away, a well-formed token is
    /// taken for what its bearer says.
    async fn may_be_known(&self, token: VisitorToken) -> bool {
        if self.known.contains_key(&token) {
            return true;
        }
        let now_ms = self.clock.monotonic_ms();
        if self.applier.phase() != ApplierPhase::Up || now_ms < self.away_until_ms.load(Ordering::Relaxed) {
            return true;
        }
        let look_up = async {
            let position = self.offsets.durable();
            self.offsets.wait_applied(position).await;
            self.table.visitor_exists(token, Some(self.as_of(position))).await
        };
        let answer = tokio::time::timeout(LOOK_UP, look_up).await;
        if let Ok(Err(StoreError::Behind { .. })) = answer {
            self.offsets.doubt();
        }
        let Ok(Ok(exists)) = answer else {
            self.away_until_ms.store(now_ms + AWAY_MS, Ordering::Relaxed);
            return true;
        };
        if exists {
            self.known.insert(token, ());
        }
        exists
    }

    fn fingerprint(&self, visit: &Visit) -> Fingerprint {
        let user_agent = visit.user_agent.as_deref().unwrap_or_default();
        let plain = visit.client.map_or([0; 32], |client| client.fingerprint(user_agent));
        match &self.key {
            None => Fingerprint(plain),
            // Over the text, so that whoever has the key can check a column against the plain form.
            Some(key) => Fingerprint(key.sign(hex::encode(plain).as_bytes())),
        }
    }
}
