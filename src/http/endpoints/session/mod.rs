//! Sessions: `POST /api/v1/analytics/session` begins a visit, `identify` says whose it is, `heartbeat` that it goes on.
//!
//! Every way in which a visit is not stored, short of a bad request, is answered with `id: null` (contract, section 2):
//! clients must not care why.

mod enrichment;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;
use weir_domain::{
    AnalyticsEvent, AnalyticsRecord, CachedResponse, HeartbeatRecord, IdentifyRecord, JournalRecord, Outcome,
    UnixMillis, parse_uuid,
};

use self::enrichment::enrich;
use crate::enrich::{EventTime, SessionFields, SessionRequest, SessionVisit};
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::{Wrapped, WrappedError};
use crate::http::protocol::reply::{PendingCommit, Reply};

pub use enrichment::{Enriched, read_and_enrich};

/// A session's answer.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// Null when nothing was stored.
    #[schema(value_type = Option<String>, required = true, format = "uuid")]
    id: Option<Uuid>,
    #[schema(format = "date-time", nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

impl From<CachedResponse> for Created {
    fn from(answer: CachedResponse) -> Self {
        Self { id: answer.id, created_at: answer.created_at.map(UnixMillis::to_rfc3339) }
    }
}

/// An answer that says only that it is done.
#[derive(Serialize, ToSchema)]
pub struct Done {
    ok: bool,
}

impl Done {
    pub const OK: Self = Self { ok: true };
}

/// Begin a session
///
/// Bots, visits without consent and bio pages without their token store nothing and are answered with a null id.
#[utoipa::path(
    post, path = "/api/v1/analytics/session", operation_id = "createSession", tag = "analytics",
    request_body = SessionRequest, responses((status = 200, body = Wrapped<Created>, description = "Durable, or null"))
)]
pub async fn create(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let body = call.body().await?;
    let begun = match begin(call, &body)? {
        Enriched::Now(begun) => begun,
        Enriched::Later(parsing) => parsing.await,
    };
    Ok(match begun {
        Ok((answer, commit)) => call.reply_after_or_default(commit, &Created::from(answer)),
        Err(discarded) => call.reply(discarded.into(), &Created::default()),
    })
}

/// A plain function: a visit and its record have no place in the future of every request.
fn begin<'a>(call: &'a Call<'_>, body: &'a [u8]) -> Result<Enriched<'a, (CachedResponse, PendingCommit)>, ApiError> {
    let mut fields = SessionFields::default();
    let visit = call.parsed(|cut| Ok(SessionVisit::read(body, &mut fields, cut)?))?;
    let when = EventTime { now: call.app.clock.now(), age_ms: 0 };
    Ok(enrich(call, &visit, body, when, |app, record| (record.answer(), app.analytics.append(record.encode()))))
}

/// Say whose session it is
///
/// Any id will do, known or not; the last user counts.
#[utoipa::path(
    patch, path = "/api/v1/analytics/session/{id}/identify", operation_id = "identifySession", tag = "analytics",
    params(("id" = String, Path, description = "A session's id")), security(("bearer" = [])),
    responses(
        (status = 200, body = Wrapped<Done>, description = "Durable"),
        (status = 401, body = WrappedError, description = "No bearer, or a bad one")
    )
)]
pub async fn identify(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let user_id = call.user()?.0;
    let Some(session_id) = parse_uuid(&call.path_part()) else {
        return Ok(call.reply(Outcome::Served, &Done::OK));
    };
    let event = AnalyticsEvent::Identify(IdentifyRecord { session_id, user_id });
    let commit = call.app.analytics.append(<AnalyticsRecord>::from(event).encode());
    Ok(call.reply_after(commit, &Done::OK))
}

/// Say that a session goes on
///
/// Adds 30 seconds to its duration. An unknown id changes nothing.
#[utoipa::path(
    patch, path = "/api/v1/analytics/session/{id}/heartbeat", operation_id = "heartbeat", tag = "analytics",
    params(("id" = String, Path, description = "A session's id")),
    responses((status = 200, body = Wrapped<Done>, description = "Durable"))
)]
pub async fn heartbeat(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let Some(session_id) = parse_uuid(&call.path_part()) else {
        return Ok(call.reply(Outcome::Served, &Done::OK));
    };
    let event = AnalyticsEvent::Heartbeat(HeartbeatRecord { session_id, at: call.app.clock.now() });
    let commit = call.app.analytics.append(<AnalyticsRecord>::from(event).encode());
    Ok(call.reply_after(commit, &Done::OK))
}
