//! What handlers can reach: shared handles, all of them cheap to call from a request's own task.

use std::sync::Arc;

use secrecy::SecretString;

use super::Connections;
use crate::actor::Vitals;
use crate::auth::{AccessTokens, SignInDesk};
use crate::config::Network;
use crate::domain::{Clock, IdSource};
use crate::enrich::Enricher;
use crate::idempotency::BatchKeys;
use crate::journal::Journal;
use crate::limit::Limiter;
use crate::read::{Freshness, MainReads};
use crate::settings::Settings;
use crate::telemetry::Telemetry;
use crate::visitors::Visitors;
use crate::write::WriterState;

/// One database as health and metrics see it.
pub struct DatabaseState {
    pub journal: Journal,
    pub writer: Arc<WriterState>,
}

/// One per process, shared by all workers.
pub struct AppState {
    pub network: Network,
    /// How many there are, on the listener that takes requests.
    pub connections: Connections,
    pub limiter: Limiter,
    pub enricher: Enricher,
    pub access_tokens: Arc<AccessTokens>,
    pub sign_in: SignInDesk,
    pub internal_key: SecretString,
    pub visitors: Arc<Visitors>,
    pub batch_keys: Arc<BatchKeys>,
    /// What users read of the main database, and what makes it fresh.
    pub reads: Arc<dyn MainReads>,
    pub freshness: Freshness,
    pub settings: Settings,
    pub analytics: DatabaseState,
    pub main: DatabaseState,
    pub ids: Arc<IdSource>,
    pub clock: Arc<Clock>,
    pub telemetry: Arc<Telemetry>,
    pub vitals: Arc<Vitals>,
    /// Set at the end, never unset: the process is on its way out.
    pub draining: std::sync::atomic::AtomicBool,
    /// Set once everything runs.
    pub started: std::sync::atomic::AtomicBool,
    /// Whether the warning about a missing forwarding header was given.
    pub warned_about_proxy: std::sync::atomic::AtomicBool,
}
