//! Sessions: `POST /api/v1/analytics/session` begins a visit, `identify` says whose it is, `heartbeat` that it goes on.
//!
//! Every way in which a visit is not stored, short of a bad request, is answered with `id: null` (contract, section 2):
//! clients must not care why.

use std::time::Instant;

use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;
use weir_domain::{
    AnalyticsEvent, AnalyticsRecord, HeartbeatRecord, IdentifyRecord, JournalRecord, KeyedAnswer, Outcome,
    SessionRecord, UnixMillis, parse_uuid,
};

use crate::enrich::user_agent::UserAgentFacts;
use crate::enrich::{Admitted, Discarded, Moment, SessionVisit};
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::{Wrapped, WrappedError};
use crate::http::protocol::fields::{self, json_fields};
use crate::http::protocol::reply::{PendingCommit, Reply};
use crate::http::protocol::rules::{Rules, TEXT_MAX, URL_MAX};
use crate::http::state::AppState;
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

/// A visit begins.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
#[serde(rename_all = "camelCase")]
pub struct SessionRequest {
    /// The client's own anonymous id. Only its hash is stored.
    #[schema(min_length = 1, max_length = 1024)]
    visitor_id: String,
    #[schema(min_length = 1, max_length = 8192)]
    landing_page: String,
    /// Anything but `granted`, or nothing, stores nothing.
    #[schema(max_length = 50)]
    consent_analytics: Option<String>,
    /// A UUID; takes a `trackingToken` too.
    #[schema(max_length = 1024)]
    bio_page_id: Option<String>,
    /// What is no UUID is dropped.
    #[schema(max_length = 1024)]
    creator_id: Option<String>,
    #[schema(max_length = 8192)]
    referrer: Option<String>,
    #[schema(max_length = 1024)]
    utm_source: Option<String>,
    #[schema(max_length = 1024)]
    utm_medium: Option<String>,
    #[schema(max_length = 1024)]
    utm_campaign: Option<String>,
    #[schema(max_length = 1024)]
    utm_term: Option<String>,
    #[schema(max_length = 1024)]
    utm_content: Option<String>,
    #[schema(max_length = 1024)]
    language: Option<String>,
    /// Used when the user agent tells none; so are `browser`, `os` and `osVersion`.
    #[schema(max_length = 1024)]
    device: Option<String>,
    #[schema(max_length = 1024)]
    browser: Option<String>,
    #[schema(max_length = 1024)]
    os: Option<String>,
    #[schema(max_length = 20)]
    os_version: Option<String>,
    #[schema(max_length = 20)]
    connection_type: Option<String>,
    /// Used when the address tells none.
    #[schema(max_length = 50)]
    timezone: Option<String>,
    #[schema(minimum = 0, maximum = 7680)]
    screen_width: Option<u32>,
    #[schema(minimum = 0, maximum = 7680)]
    screen_height: Option<u32>,
    /// The first 32 hex characters of HMAC-SHA256 over the page and its five minutes.
    #[schema(max_length = 1024)]
    tracking_token: Option<String>,
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
fn begin<'a>(call: &'a Call<'_>, body: &'a [u8]) -> Result<Enriched<'a, (KeyedAnswer, PendingCommit)>, ApiError> {
    let mut fields = SessionBody::default();
    let visit = call.parsed(|| read_visit(body, &mut fields))?;
    let when = Moment { now: call.app.clock.now(), age_ms: 0 };
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

/// Reads a session that is an item of a batch, and adds what the server knows of it.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_and_enrich<'a>(
    call: &'a Call<'_>,
    body: &'a [u8],
    when: Moment,
) -> Result<Enriched<'a, SessionRecord>, ApiError> {
    let mut fields = SessionBody::default();
    let visit = read_visit(body, &mut fields)?;
    Ok(enrich(call, &visit, body, when, |_, record| record.to_owned_texts()))
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
        let Call { app, client, .. } = self.call;
        let place = app.enricher.place(client.ip, client.proxy_place(self.call.headers()));
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
) -> Result<SessionVisit<'a>, ApiError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::protocol::fields::assert_described;

    #[test]
    fn document_of_the_body_has_the_fields_that_are_read() {
        assert_described::<SessionRequest>(SessionBody::FIELDS);
    }
}
