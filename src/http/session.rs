//! `POST /api/v1/analytics/session`: a visit begins.
//!
//! Every way in which a visit is not stored, short of a bad request, is answered with `id: null` (contract, section 2):
//! clients must not care why.

use std::time::Instant;

use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;

use super::admission::Admission;
use super::client::{self, Client};
use super::fields::{self, json_fields};
use super::refusal::Refusal;
use super::request_id::RequestId;
use super::rules::{Rules, TEXT_MAX, URL_MAX};
use super::{AppState, answer, body};
use crate::domain::{AnalyticsRecord, JournalRecord, Outcome, Route};
use crate::enrich::{Discarded, SessionVisit};
use crate::telemetry::Stage;

const SCREEN_MAX: u16 = 7680;

json_fields! {
    /// The body, in the contract's order.
    struct SessionBody {
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

/// The handler.
pub async fn create(request: HttpRequest, payload: Payload, app: Data<AppState>) -> HttpResponse {
    let client = Client::of(&request, &app);
    let admission = Admission::ask(&app, Route::Session, &client);
    let mut response = match admission.refusal() {
        Some(refusal) => {
            body::drain(payload).await;
            answer::refuse(&request, refusal)
        }
        None => match body::read(&request, payload).await.and_then(|body| visit(&request, &app, &client, &body)) {
            Ok(visit) => store(&request, &app, visit).await,
            Err(refusal) => answer::refuse(&request, refusal),
        },
    };
    admission.decorate(&mut response);
    response
}

fn visit(request: &HttpRequest, app: &AppState, client: &Client, body: &Bytes) -> Result<SessionVisit, Refusal> {
    let began = Instant::now();
    let visit = SessionVisit {
        user_agent: client::user_agent(request.headers()),
        client: client.ip,
        proxy_place: client.proxy_place(request.headers()),
        ..read_visit(body)?
    };
    app.telemetry.stage(Stage::Parse, began.elapsed());
    Ok(visit)
}

/// What a session's body says, checked rule by rule.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_visit(body: &[u8]) -> Result<SessionVisit, Refusal> {
    let body: SessionBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let visit = SessionVisit {
        visitor_id: rules.required_text("visitorId", body.visitor_id, TEXT_MAX),
        landing_page: rules.required_text("landingPage", body.landing_page, URL_MAX),
        consent_analytics: rules.optional_text("consentAnalytics", body.consent_analytics, 50),
        bio_page_id: rules.optional_text("bioPageId", body.bio_page_id, TEXT_MAX),
        creator_id: rules.optional_text("creatorId", body.creator_id, TEXT_MAX),
        referrer: rules.optional_text("referrer", body.referrer, URL_MAX),
        utm_source: rules.optional_text("utmSource", body.utm_source, TEXT_MAX),
        utm_medium: rules.optional_text("utmMedium", body.utm_medium, TEXT_MAX),
        utm_campaign: rules.optional_text("utmCampaign", body.utm_campaign, TEXT_MAX),
        utm_term: rules.optional_text("utmTerm", body.utm_term, TEXT_MAX),
        utm_content: rules.optional_text("utmContent", body.utm_content, TEXT_MAX),
        language: rules.optional_text("language", body.language, TEXT_MAX),
        device: rules.optional_text("device", body.device, TEXT_MAX),
        browser: rules.optional_text("browser", body.browser, TEXT_MAX),
        os: rules.optional_text("os", body.os, TEXT_MAX),
        os_version: rules.optional_text("osVersion", body.os_version, 20),
        connection_type: rules.optional_text("connectionType", body.connection_type, 20),
        timezone: rules.optional_text("timezone", body.timezone, 50),
        screen_width: rules.optional_integer("screenWidth", &body.screen_width, 0, SCREEN_MAX),
        screen_height: rules.optional_integer("screenHeight", &body.screen_height, 0, SCREEN_MAX),
        tracking_token: rules.optional_text("trackingToken", body.tracking_token, TEXT_MAX),
        ..SessionVisit::default()
    };
    rules.finish()?;
    Ok(visit)
}

async fn store(request: &HttpRequest, app: &AppState, visit: SessionVisit) -> HttpResponse {
    let began = Instant::now();
    let enriched = app.enricher.session(visit).await;
    app.telemetry.stage(Stage::Enrich, began.elapsed());
    let record = match enriched {
        Ok(record) => record,
        Err(discarded) => {
            if discarded == Discarded::BadToken {
                let extensions = request.extensions();
                let request_id = extensions.get::<RequestId>().map(|id| id.0.as_str());
                tracing::debug!(request_id, "rejected as spam");
            }
            return not_stored(request, discarded.into());
        }
    };
    let created = Created { id: Some(record.id.to_string()), created_at: Some(record.started_at.to_rfc3339()) };
    let began = Instant::now();
    let durable = match app.analytics.journal.append(AnalyticsRecord::Session(Box::new(record)).encode()) {
        Ok(ack) => ack.await,
        Err(error) => Err(error),
    };
    app.telemetry.stage(Stage::Journal, began.elapsed());
    match durable {
        Ok(()) => answer::ok(request, Outcome::Accepted, created),
        Err(_) => not_stored(request, Outcome::Unavailable),
    }
}

fn not_stored(request: &HttpRequest, outcome: Outcome) -> HttpResponse {
    answer::ok(request, outcome, Created { id: None, created_at: None })
}
