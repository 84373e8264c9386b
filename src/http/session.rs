//! Sessions: `POST /api/v1/analytics/session` begins a visit, `identify` says whose it is, `heartbeat` that it goes on.
//!
//! Every way in which a visit is not stored, short of a bad request, is answered with `id: null` (contract, section 2):
//! clients must not care why.

use std::borrow::Cow;

use std::time::Instant;

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Wrapped, WrappedError};
use super::body;
use super::endpoint::{Call, serve};
use super::fields::{self, json_fields};
use super::openapi::bodies::SessionRequest;
use super::refusal::Refusal;
use super::rules::{Rules, TEXT_MAX, URL_MAX};
use crate::domain::{
    AnalyticsEvent, HeartbeatRecord, IdentifyRecord, KeyedAnswer, Outcome, Route, SessionRecord, UnixMillis, parse_uuid,
};
use crate::enrich::{Discarded, SessionVisit};
use crate::telemetry::Stage;

const SCREEN_MAX: u32 = 7680;

json_fields! {
    /// The body, in the contract's order.
    pub struct SessionBody {
        visitor_id = "visitorId",
        landing_page = "landingPage",
        consent_analytics = "consentAnalytics",
        bio_page_id = "bioPageId",
        creator_id = "creatorId",
        referrer = "referrer",
        utm_source = "utmSource",
        utm_medium = "utmMedium",
        utm_campaign = "utmCampaign",
        utm_term = "utmTerm",
        utm_content = "utmContent",
        language = "language",
        device = "device",
        browser = "browser",
        os = "os",
        os_version = "osVersion",
        connection_type = "connectionType",
        timezone = "timezone",
        screen_width = "screenWidth",
        screen_height = "screenHeight",
        tracking_token = "trackingToken",
    }
}

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

impl From<KeyedAnswer> for Created {
    fn from(answer: KeyedAnswer) -> Self {
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
pub async fn create(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::Session, async |call| {
        let body = call.body(body::MAX_BYTES).await?;
        let visit = call.app.parsed(|| read_visit(&body))?;
        let record = match enrich(call, visit, call.app.clock.now(), 0).await {
            Ok(record) => record,
            Err(discarded) => return Ok(call.answer(discarded.into(), Created::default())),
        };
        let event = AnalyticsEvent::Session(Box::new(record));
        let created = Created::from(event.answer());
        Ok(match call.app.keep_analytics(&event.into()).await {
            Ok(()) => call.answer(Outcome::Accepted, created),
            Err(_) => call.answer(Outcome::Unavailable, Created::default()),
        })
    })
    .await
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
pub async fn identify(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::Identify, async |call| {
        let user_id = call.user()?.0;
        let Some(session_id) = parse_uuid(call.path_part("id")) else {
            return Ok(call.answer(Outcome::Served, Done::OK));
        };
        let event = AnalyticsEvent::Identify(IdentifyRecord { session_id, user_id });
        call.app.keep_analytics(&event.into()).await?;
        Ok(call.answer(Outcome::Accepted, Done::OK))
    })
    .await
}

/// Say that a session goes on
///
/// Adds 30 seconds to its duration. An unknown id changes nothing.
#[utoipa::path(
    patch, path = "/api/v1/analytics/session/{id}/heartbeat", operation_id = "heartbeat", tag = "analytics",
    params(("id" = String, Path, description = "A session's id")),
    responses((status = 200, body = Wrapped<Done>, description = "Durable"))
)]
pub async fn heartbeat(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::Heartbeat, async |call| {
        let Some(session_id) = parse_uuid(call.path_part("id")) else {
            return Ok(call.answer(Outcome::Served, Done::OK));
        };
        let event = AnalyticsEvent::Heartbeat(HeartbeatRecord { session_id, at: call.app.clock.now() });
        call.app.keep_analytics(&event.into()).await?;
        Ok(call.answer(Outcome::Accepted, Done::OK))
    })
    .await
}

/// Adds what the server knows of a visit that began `age_ms` before `now`.
///
/// # Errors
/// When the visit is not to be stored, with the reason.
pub async fn enrich(
    call: &Call<'_>,
    visit: SessionVisit<'_>,
    now: UnixMillis,
    age_ms: i64,
) -> Result<SessionRecord, Discarded> {
    let began = Instant::now();
    let visit = SessionVisit {
        user_agent: call.user_agent(),
        client: call.client.ip,
        proxy_place: call.client.proxy_place(call.request.headers()),
        ..visit
    };
    let enriched = call.app.enricher.session(visit, now, age_ms).await;
    call.app.telemetry.stage(Stage::Enrich, began.elapsed());
    if matches!(enriched, Err(Discarded::BadToken)) {
        tracing::debug!(request_id = call.request_id().map(tracing::field::display), "rejected as spam");
    }
    enriched
}

/// What a session's body says, checked rule by rule.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_visit(body: &[u8]) -> Result<SessionVisit<'_>, Refusal> {
    let body: SessionBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let visit = SessionVisit {
        visitor_id: rules.required_text("visitorId", body.visitor_id, TEXT_MAX),
        landing_page: rules.required_text("landingPage", body.landing_page, URL_MAX).into_owned(),
        consent_analytics: rules.optional_text("consentAnalytics", body.consent_analytics, 50),
        bio_page_id: rules.optional_text("bioPageId", body.bio_page_id, TEXT_MAX),
        creator_id: rules.optional_text("creatorId", body.creator_id, TEXT_MAX),
        referrer: rules.optional_text("referrer", body.referrer, URL_MAX).map(Cow::into_owned),
        utm_source: rules.optional_text("utmSource", body.utm_source, TEXT_MAX).map(Cow::into_owned),
        utm_medium: rules.optional_text("utmMedium", body.utm_medium, TEXT_MAX).map(Cow::into_owned),
        utm_campaign: rules.optional_text("utmCampaign", body.utm_campaign, TEXT_MAX).map(Cow::into_owned),
        utm_term: rules.optional_text("utmTerm", body.utm_term, TEXT_MAX).map(Cow::into_owned),
        utm_content: rules.optional_text("utmContent", body.utm_content, TEXT_MAX).map(Cow::into_owned),
        language: rules.optional_text("language", body.language, TEXT_MAX).map(Cow::into_owned),
        device: rules.optional_text("device", body.device, TEXT_MAX).map(Cow::into_owned),
        browser: rules.optional_text("browser", body.browser, TEXT_MAX).map(Cow::into_owned),
        os: rules.optional_text("os", body.os, TEXT_MAX).map(Cow::into_owned),
        os_version: rules.optional_text("osVersion", body.os_version, 20).map(Cow::into_owned),
        connection_type: rules.optional_text("connectionType", body.connection_type, 20).map(Cow::into_owned),
        timezone: rules.optional_text("timezone", body.timezone, 50).map(Cow::into_owned),
        screen_width: screen(&mut rules, "screenWidth", &body.screen_width),
        screen_height: screen(&mut rules, "screenHeight", &body.screen_height),
        tracking_token: rules.optional_text("trackingToken", body.tracking_token, TEXT_MAX),
        ..SessionVisit::default()
    };
    rules.finish()?;
    Ok(visit)
}

fn screen(rules: &mut Rules, name: &'static str, field: &fields::Field<'_>) -> Option<u16> {
    rules.optional_integer(name, field, 0, SCREEN_MAX).and_then(|pixels| u16::try_from(pixels).ok())
}
