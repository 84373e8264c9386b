//! What handlers can reach: shared handles, all of them cheap to call from a request's own task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};

use secrecy::SecretString;
use weir_apply::ApplierState;
use weir_domain::{Clock, IdSource};
use weir_http_guard::Connections;
use weir_journal::{Appender, LogStatus};

use super::protocol::reply::PendingCommit;
use crate::actor::Health;
use crate::auth::{AccessTokens, SignInService};
use crate::clock_watch::ClockWatch;
use crate::config::Network;
use crate::enrich::Enricher;
use crate::idempotency::BatchKeys;
use crate::limit::Limiter;
use crate::read::UserReads;
use crate::settings::Settings;
use crate::telemetry::Telemetry;
use crate::visitors::Visitors;

/// One database as health and metrics see it.
pub struct DatabaseState {
    pub appender: Appender,
    pub journal: LogStatus,
    pub applier: Arc<ApplierState>,
    pub clock_watch: Arc<ClockWatch>,
}

impl DatabaseState {
    /// Hands an encoded record to the journal.
    pub fn append(&self, record: Vec<u8>) -> PendingCommit {
        PendingCommit::append(&self.appender, record)
    }
}

/// One per process, shared by all workers.
pub struct AppState {
    pub network: Network,
    /// How many there are, on the listener that takes requests.
    pub connections: Connections,
    pub limiter: Limiter,
    pub enricher: Enricher,
    pub access_tokens: Arc<AccessTokens>,
    pub sign_in: SignInService,
    pub internal_key: SecretString,
    pub visitors: Arc<Visitors>,
    pub batch_keys: Arc<BatchKeys>,
    /// What users read of the main database.
    pub reads: UserReads,
    pub settings: Settings,
    pub analytics: DatabaseState,
    pub main: DatabaseState,
    pub ids: Arc<IdSource>,
    pub clock: Arc<Clock>,
    pub telemetry: Arc<Telemetry>,
    pub health_state: Arc<Health>,
    /// Set at the end, never unset: the process is on its way out.
    pub draining: AtomicBool,
    /// Set once everything runs.
    pub started: AtomicBool,
    /// Whether the warning about a missing forwarding header was given.
    pub warned_about_proxy: AtomicBool,
    /// When the last warning about a throttled proxy that is not trusted was given, in milliseconds since 1970.
    pub warned_about_untrusted_at: AtomicI64,
}
