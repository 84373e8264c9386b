//! `/metrics`: gauges are set from shared state at the moment they are read.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use weir_apply::ApplierPhase;
use weir_domain::{Outcome, approximate};
use weir_journal::JournalState;

use super::health::readiness;
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::reply::Reply;
use crate::http::state::{AppState, DatabaseState};
use crate::telemetry::name;

/// Metrics for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operations",
    responses((status = 200, body = String, content_type = "text/plain", description = "Its text format"))
)]
pub async fn metrics(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    gather(call.app);
    let response = HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(call.app.telemetry.render());
    Ok(Reply::Now { outcome: Outcome::Served, response })
}

fn gather(app: &AppState) {
    let telemetry = &app.telemetry;
    let set = |name, value: usize| telemetry.set_gauge(name, &[], approximate(value as u64));
    set(name::READY, usize::from(readiness(app).status_code == StatusCode::OK));
    set(name::CONNECTIONS, app.connections.open());
    set(name::CONNECTIONS_MAX, app.connections.max());
    set(name::LIMITER_ENTRIES, app.limiter.entries());
    set(name::LIMITER_CAPACITY, app.limiter.capacity());
    set(name::USER_AGENT_CACHE_ENTRIES, usize::try_from(app.enricher.agents.entries()).unwrap_or(usize::MAX));
    set(name::GEOIP_LOADED, usize::from(app.enricher.geo.is_loaded()));
    if let Some(built_at) = app.enricher.geo.built_at_seconds() {
        telemetry.set_gauge(name::GEOIP_BUILD_SECONDS, &[], approximate(built_at));
    }
    let (depth, capacity) = app.enricher.agents.queue();
    let mailboxes = [("user_agent_parser", (depth, capacity)), ("mailer", app.sign_in.outbox())];
    for (actor, (depth, capacity)) in mailboxes {
        telemetry.set_gauge(name::MAILBOX_MESSAGES, &[("actor", actor)], approximate(depth as u64));
        telemetry.set_gauge(name::MAILBOX_CAPACITY, &[("actor", actor)], approximate(capacity as u64));
    }
    let (fingerprints, capacity) = app.visitors.fingerprints();
    set(name::FINGERPRINT_ENTRIES, fingerprints);
    set(name::FINGERPRINT_CAPACITY, capacity);
    set(name::VISITOR_TOKENS, usize::try_from(app.visitors.tokens()).unwrap_or(usize::MAX));
    let (keys, capacity) = app.batch_keys.entries_and_capacity();
    set(name::BATCH_KEY_ENTRIES, keys);
    set(name::BATCH_KEY_CAPACITY, capacity);
    for database in [&app.analytics, &app.main] {
        gather_database(app, database);
    }
}

fn gather_database(app: &AppState, database: &DatabaseState) {
    let status = database.journal.snapshot();
    let journal = database.journal.name();
    let set = |metric, value: u64| app.telemetry.set_gauge(metric, &[("journal", journal)], approximate(value));
    set(name::JOURNAL_QUEUE_RECORDS, status.queued_records as u64);
    set(name::JOURNAL_QUEUE_CAPACITY, status.queue_capacity as u64);
    set(name::JOURNAL_SEGMENTS, status.segments as u64);
    set(name::JOURNAL_DISK_BYTES, status.disk_bytes);
    set(name::JOURNAL_KEPT_BYTES, status.kept_bytes);
    set(name::JOURNAL_DISK_MAX_BYTES, status.max_bytes);
    set(name::JOURNAL_POSITION, status.durable.0);
    set(name::JOURNAL_WRITABLE, u64::from(status.state == JournalState::Open));
    let set = |metric, value: f64| app.telemetry.set_gauge(metric, &[("database", journal)], value);
    set(name::WRITER_LAG_RECORDS, approximate(status.lag_records));
    if let Some(applied) = status.applied {
        set(name::WRITER_POSITION, approximate(applied.0));
    }
    set(name::DEAD_LETTERS_WAITING, approximate(database.journal.waiting_letters()));
    set(name::WRITER_UP, f64::from(u8::from(database.applier.phase() == ApplierPhase::Up)));
    if let Some(skew_ms) = database.clock_watch.skew_ms() {
        let size = approximate(skew_ms.unsigned_abs()) / 1000.0;
        set(name::CLOCK_SKEW_SECONDS, if skew_ms < 0 { -size } else { size });
    }
    if journal == "analytics" {
        let is_refused = usize::from(database.clock_watch.is_retention_refused());
        app.telemetry.set_gauge(name::RETENTION_REFUSED, &[], approximate(is_refused as u64));
    }
    let now_ms = app.clock.now().0.unsigned_abs();
    let age_ms = status.oldest_unapplied_at_ms.map_or(0, |since| now_ms.saturating_sub(since));
    set(name::WRITER_OLDEST_SECONDS, approximate(age_ms) / 1000.0);
}
