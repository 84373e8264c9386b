//! `/health/live` and `/health/ready`: read from shared state, never by asking an actor.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use weir_apply::ApplierPhase;
use weir_domain::Outcome;
use weir_journal::JournalState;

use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::plain;
use crate::http::protocol::reply::Reply;
use crate::http::state::AppState;

#[derive(Serialize, ToSchema)]
pub struct Live {
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct Ready {
    status: &'static str,
    #[schema(value_type = BTreeMap<String, String>)]
    components: BTreeMap<&'static str, &'static str>,
    /// Why a component is blocked or halted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    reasons: BTreeMap<&'static str, String>,
}

/// Whether the process runs
#[utoipa::path(
    get, path = "/health/live", operation_id = "live", tag = "operations",
    responses((status = 200, body = Live, description = "It does"))
)]
pub async fn live(_: &mut Call<'_>) -> Result<Reply, ApiError> {
    let response = plain(StatusCode::OK, &Live { status: "live" });
    Ok(Reply::Now { outcome: Outcome::Served, response })
}

/// Whether records are taken
///
/// 200 while at least one journal accepts records, `degraded` when anything is wrong beside that; else 503.
#[utoipa::path(
    get, path = "/health/ready", operation_id = "ready", tag = "operations",
    responses(
        (status = 200, body = Ready, description = "They are"),
        (status = 503, body = Ready, description = "They are not: at the start, at the end, or with both journals full")
    )
)]
pub async fn ready(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let Readiness { status, status_code, components } = readiness(call.app);
    let databases = [("analytics_database", &call.app.analytics), ("main_database", &call.app.main)];
    let reasons = databases.map(|(name, database)| (name, database.applier.reason()));
    let reasons = reasons.into_iter().filter(|(_, reason)| !reason.is_empty()).collect();
    let outcome = if status_code == StatusCode::OK { Outcome::Served } else { Outcome::Unavailable };
    Ok(Reply::Now { outcome, response: plain(status_code, &Ready { status, components, reasons }) })
}

/// What `/health/ready` says now.
pub(super) struct Readiness {
    pub status: &'static str,
    pub status_code: StatusCode,
    pub components: BTreeMap<&'static str, &'static str>,
}

pub(super) fn readiness(app: &AppState) -> Readiness {
    let mut components = BTreeMap::new();
    let journals = [app.analytics.journal.snapshot().state, app.main.journal.snapshot().state];
    components.insert("analytics_journal", journals[0].label());
    components.insert("main_journal", journals[1].label());
    let writers = [app.analytics.applier.phase(), app.main.applier.phase()];
    components.insert("analytics_database", writers[0].label());
    components.insert("main_database", writers[1].label());
    components.insert("geoip", if app.enricher.geo.is_loaded() { "ok" } else { "absent" });
    // Named and no more: records are kept and applied whatever the clock says.
    let clocks = [&app.analytics.clock_watch, &app.main.clock_watch];
    let is_off = clocks.iter().any(|clock| clock.is_skewed() || clock.is_retention_refused());
    components.insert("clock", if is_off { "skewed" } else { "ok" });
    let actors = app.health_state.failed();
    components.insert("actors", actors.unwrap_or("ok"));
    let serving = app.started.load(Ordering::Acquire) && !app.draining.load(Ordering::Acquire) && actors.is_none();
    let takes_records = journals.contains(&JournalState::Open);
    let all_well = journals.iter().all(|state| *state == JournalState::Open)
        && writers.iter().all(|phase| *phase == ApplierPhase::Up);
    let (status, status_code) = match (serving && takes_records, all_well) {
        (true, true) => ("ready", StatusCode::OK),
        (true, false) => ("degraded", StatusCode::OK),
        (false, _) if app.draining.load(Ordering::Acquire) => ("draining", StatusCode::SERVICE_UNAVAILABLE),
        (false, _) => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
    };
    Readiness { status, status_code, components }
}
