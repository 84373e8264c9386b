//! Sessions: `POST /api/v1/analytics/session` begins a visit, `identify` says whose it is, `heartbeat` that it goes on.
//!
//! Every way in which a visit is not stored, short of a bad request, is answered with `id: null` (contract, section 2):
//! clients must not care why.

use std::time::Instant;

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::AppState;
use super::answer::{Wrapped, WrappedError};
use super::body;
use super::endpoint::{Call, serve};
use super::fields::{self, json_fields};
use super::openapi::bodies::SessionRequest;
use super::promise::Keeping;
use super::refusal::Refusal;
use super::rules::{Rules, TEXT_MAX, URL_MAX};
use crate::domain::{
    AnalyticsEvent, HeartbeatRecord, IdentifyRecord, KeyedAnswer, Outcome, Route, SessionRecord, UnixMillis, parse_uuid,
};
use crate::enrich::user_agent::UserAgentFacts;
use crate::enrich::{Admitted, Discarded, Moment, SessionVisit};
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
        let begun = match begin(call, &body)? {
            Enriched::Now(begun) => begun,
            Enriched::Later(parsing) => parsing.await,
        };
        Ok(match begun {
            Ok((answer, keeping)) => call.answer_when_durable_or_null(keeping, &Created::from(answer)),
            Err(discarded) => call.answer(discarded.into(), Created::default()),
        })
    })
    .await
}

/// A plain function: a visit and its record have no place in the future of every request.
fn begin<'a>(call: &'a Call<'_>, body: &'a [u8]) -> Result<Enriched<'a, (KeyedAnswer, Keeping)>, Refusal> {
    let mut fields = SessionBody::default();
    let visit = call.app.parsed(|| read_visit(body, &mut fields))?;
    let when = Moment { now: call.app.clock.now(), age_ms: 0 };
    Ok(enrich(call, &visit, body, when, |app, record| (record.answer(), app.keep_session(record))))
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
        Ok(call.answer_when_durable(call.app.keep_analytics(event), &Done::OK))
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
        Ok(call.answer_when_durable(call.app.keep_analytics(event), &Done::OK))
    })
    .await
}

/// Reads a session that is an item of a batch, and adds what the server knows of it.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_and_enrich<'a>(
    call: &'a Call<'_>,
    body: &'a [u8],
    when: Moment,
) -> Result<Enriched<'a, SessionRecord>, Refusal> {
    let mut fields = SessionBody::default();
    let visit = read_visit(body, &mut fields)?;
    Ok(enrich(call, &visit, body, when, |_, record| record.own()))
}

/// What became of a visit: of its record, or why there is none.
#[allow(clippy::large_enum_variant)] // nearly every one is the large one: a box would be one more allocation
pub enum Enriched<'a, T> {
    Now(Result<T, Discarded>),
    /// Its user agent has to be parsed first, by somebody else.
    Later(LocalBoxFuture<'a, Result<T, Discarded>>),
}

/// What is done with a record, which lives no longer than that.
type Use<T> = fn(&AppState, &SessionRecord<&str>) -> T;

/// Adds what the server knows of a visit. `body` is what it was read from.
fn enrich<'a, T: 'a>(
    call: &'a Call<'_>,
    visit: &SessionVisit<'_>,
    body: &'a [u8],
    when: Moment,
    use_of: Use<T>,
) -> Enriched<'a, T> {
    let enriching = Enriching { call, when, began: Instant::now(), use_of };
    let admitted = call.app.enricher.admit(visit, call.user_agent().as_deref(), when.now);
    Enriched::Now(match admitted {
        Ok(Admitted { bio_page_id, agent: Some(agent) }) => Ok(enriching.record(visit, bio_page_id, &agent)),
        Ok(Admitted { bio_page_id, agent: None }) => {
            return Enriched::Later(Box::pin(enriching.parse_first(body, bio_page_id)));
        }
        Err(discarded) => {
            if discarded == Discarded::BadToken {
                tracing::debug!(request_id = %call.request_id(), "rejected as spam");
            }
            enriching.end_of_stage();
            Err(discarded)
        }
    })
}

/// A visit on its way to a record.
struct Enriching<'a, 'app, T> {
    call: &'a Call<'app>,
    when: Moment,
    began: Instant,
    use_of: Use<T>,
}

impl<T> Enriching<'_, '_, T> {
    /// A user agent that nobody knows costs as much as ten requests. The visit is read once more after it rather than kept
    /// meanwhile.
    async fn parse_first(self, body: &[u8], bio_page_id: Option<Uuid>) -> Result<T, Discarded> {
        let agent = self.call.app.enricher.parse(self.call.user_agent().as_deref()).await;
        let agent = agent.inspect_err(|_| self.end_of_stage())?;
        let mut fields = SessionBody::default();
        let visit = read_visit(body, &mut fields).expect("it was read from these very bytes before");
        Ok(self.record(&visit, bio_page_id, &agent))
    }

    fn record(&self, visit: &SessionVisit<'_>, bio_page_id: Option<Uuid>, agent: &UserAgentFacts) -> T {
        let Call { app, client, request, .. } = self.call;
        let place = app.enricher.place(client.ip, client.proxy_place(request.headers()));
        app.enricher.record(visit, bio_page_id, agent, &place, self.when, |record| {
            self.end_of_stage();
            (self.use_of)(app, record)
        })
    }

    fn end_of_stage(&self) {
        self.call.app.telemetry.stage(Stage::Enrich, self.began.elapsed());
    }
}

/// What a session's body says, checked rule by rule. `fields` have nothing in them yet.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_visit<'a, 'body>(
    body: &'body [u8],
    fields: &'a mut SessionBody<'body>,
) -> Result<SessionVisit<'a>, Refusal> {
    fields::fill(body, &mut *fields)?;
    let mut rules = Rules::default();
    let visit = SessionVisit {
        visitor_id: rules.required_text("visitorId", &fields.visitor_id, TEXT_MAX),
        landing_page: rules.required_text("landingPage", &fields.landing_page, URL_MAX),
        consent_analytics: rules.optional_text("consentAnalytics", &fields.consent_analytics, 50),
        bio_page_id: rules.optional_text("bioPageId", &fields.bio_page_id, TEXT_MAX),
        creator_id: rules.optional_text("creatorId", &fields.creator_id, TEXT_MAX),
        referrer: rules.optional_text("referrer", &fields.referrer, URL_MAX),
        utm_source: rules.optional_text("utmSource", &fields.utm_source, TEXT_MAX),
        utm_medium: rules.optional_text("utmMedium", &fields.utm_medium, TEXT_MAX),
        utm_campaign: rules.optional_text("utmCampaign", &fields.utm_campaign, TEXT_MAX),
        utm_term: rules.optional_text("utmTerm", &fields.utm_term, TEXT_MAX),
        utm_content: rules.optional_text("utmContent", &fields.utm_content, TEXT_MAX),
        language: rules.optional_text("language", &fields.language, TEXT_MAX),
        device: rules.optional_text("device", &fields.device, TEXT_MAX),
        browser: rules.optional_text("browser", &fields.browser, TEXT_MAX),
        os: rules.optional_text("os", &fields.os, TEXT_MAX),
        os_version: rules.optional_text("osVersion", &fields.os_version, 20),
        connection_type: rules.optional_text("connectionType", &fields.connection_type, 20),
        timezone: rules.optional_text("timezone", &fields.timezone, 50),
        screen_width: screen(&mut rules, "screenWidth", &fields.screen_width),
        screen_height: screen(&mut rules, "screenHeight", &fields.screen_height),
        tracking_token: rules.optional_text("trackingToken", &fields.tracking_token, TEXT_MAX),
    };
    rules.finish()?;
    Ok(visit)
}

fn screen(rules: &mut Rules, name: &'static str, field: &fields::Field<'_>) -> Option<u16> {
    rules.optional_integer(name, field, 0, SCREEN_MAX).and_then(|pixels| u16::try_from(pixels).ok())
}
