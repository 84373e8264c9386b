//! Views: `POST /api/v1/analytics/pageview` opens a page, `leave` closes it.

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::Wrapped;
use super::body;
use super::endpoint::serve;
use super::fields::{self, Field, json_fields};
use super::openapi::bodies::{LeaveRequest, PageviewRequest};
use super::refusal::Refusal;
use super::rules::{Rules, TEXT_MAX, URL_MAX};
use super::session::Done;
use crate::domain::{
    AnalyticsEvent, KeyedAnswer, LeaveRecord, Outcome, PageviewRecord, Route, UnixMillis, parse_uuid, url_path,
};
use crate::enrich::bot::is_bot;

const DURATION_MAX_SECONDS: f64 = 3600.0;
const SCROLL_DEPTH_MAX: f64 = 100.0;

json_fields! {
    /// A view's body, in the contract's order.
    pub struct PageviewBody {
        session_id = "sessionId",
        url = "url",
        path = "path",
        title = "title",
        referrer = "referrer",
    }
}

json_fields! {
    /// A leave's body, in the contract's order.
    pub struct LeaveBody { duration = "duration", scroll_depth = "scrollDepth" }
}

/// A view's answer.
#[derive(Default, Serialize, ToSchema)]
pub struct Viewed {
    /// Null when nothing was stored.
    #[schema(required = true, format = "uuid")]
    id: Option<String>,
}

impl From<KeyedAnswer> for Viewed {
    fn from(answer: KeyedAnswer) -> Self {
        Self { id: answer.id.map(|id| id.to_string()) }
    }
}

/// A view as the client tells it.
#[derive(Debug)]
pub struct View {
    /// `None` when what was given is no UUID: then there is nothing to store.
    session_id: Option<Uuid>,
    url: String,
    path: Option<String>,
    title: Option<String>,
    referrer: Option<String>,
}

/// How a page was left.
#[derive(Debug)]
pub struct Leave {
    duration_seconds: f64,
    scroll_depth: Option<f64>,
}

/// Open a page
///
/// Counts in its session, and ends the reading time of the page before it.
#[utoipa::path(
    post, path = "/api/v1/analytics/pageview", operation_id = "createPageview", tag = "analytics",
    request_body = PageviewRequest, responses((status = 200, body = Wrapped<Viewed>, description = "Durable, or null"))
)]
pub async fn view(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::Pageview, async |call| {
        let body = call.body(body::MAX_BYTES).await?;
        let view = call.app.parsed(|| read_view(&body, None))?;
        let now = call.app.clock.now();
        let record = match view.into_record(call.user_agent().as_deref(), call.app.ids.next(now), now) {
            Ok(record) => record,
            Err(outcome) => return Ok(call.answer(outcome, Viewed::default())),
        };
        let event = AnalyticsEvent::Pageview(Box::new(record));
        let viewed = Viewed::from(event.answer());
        Ok(call.answer_when_durable_or_null(call.app.keep_analytics(event), &viewed))
    })
    .await
}

/// Leave a page
#[utoipa::path(
    patch, path = "/api/v1/analytics/pageview/{id}/leave", operation_id = "leavePage", tag = "analytics",
    params(("id" = String, Path, description = "A view's id")), request_body = LeaveRequest,
    responses((status = 200, body = Wrapped<Done>, description = "Durable"))
)]
pub async fn leave(request: HttpRequest, payload: Payload) -> HttpResponse {
    left(request, payload).await
}

/// Leave a page, by a beacon, which can only POST
#[utoipa::path(
    post, path = "/api/v1/analytics/pageview/{id}/leave", operation_id = "leavePageByBeacon", tag = "analytics",
    params(("id" = String, Path, description = "A view's id")), request_body = LeaveRequest,
    responses((status = 200, body = Wrapped<Done>, description = "Durable"))
)]
pub async fn leave_by_beacon(request: HttpRequest, payload: Payload) -> HttpResponse {
    left(request, payload).await
}

async fn left(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::Leave, async |call| {
        let body = call.body(body::MAX_BYTES).await?;
        let leave = call.app.parsed(|| read_leave(&body))?;
        let Some(view_id) = parse_uuid(call.path_part("id")) else { return Ok(call.answer(Outcome::Served, Done::OK)) };
        let keeping = call.app.keep_analytics(AnalyticsEvent::Leave(leave.into_record(view_id)));
        Ok(call.answer_when_durable(keeping, &Done::OK))
    })
    .await
}

/// What a view's body says, checked rule by rule. `of_session` is a session that is known otherwise than by the body.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_view(body: &[u8], of_session: Option<Uuid>) -> Result<View, Refusal> {
    let body: PageviewBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let session_id = match (of_session, &body.session_id) {
        (Some(session_id), Field::Absent | Field::Null) => Some(session_id),
        (of_session, given) => {
            let given = rules.required_string("sessionId", given, TEXT_MAX);
            of_session.or_else(|| parse_uuid(given))
        }
    };
    let view = View {
        session_id,
        url: rules.required_text("url", &body.url, URL_MAX).to_owned(),
        path: rules.optional_text("path", &body.path, URL_MAX).map(str::to_owned),
        title: rules.optional_text("title", &body.title, TEXT_MAX).map(str::to_owned),
        referrer: rules.optional_text("referrer", &body.referrer, URL_MAX).map(str::to_owned),
    };
    rules.finish()?;
    Ok(view)
}

/// What a leave's body says, clamped: a tab that was left open for hours still counts.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_leave(body: &[u8]) -> Result<Leave, Refusal> {
    let body: LeaveBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let duration = rules.required_number("duration", &body.duration);
    let scroll_depth = rules.optional_number("scrollDepth", &body.scroll_depth);
    rules.finish()?;
    Ok(Leave {
        duration_seconds: duration.clamp(0.0, DURATION_MAX_SECONDS),
        scroll_depth: scroll_depth.map(|depth| depth.clamp(0.0, SCROLL_DEPTH_MAX)),
    })
}

impl View {
    /// The record to store, or why there is none.
    ///
    /// # Errors
    /// With the outcome of a view that is answered with `id: null`.
    pub fn into_record(
        self,
        user_agent: Option<&str>,
        id: Uuid,
        entered_at: UnixMillis,
    ) -> Result<PageviewRecord, Outcome> {
        if user_agent.is_some_and(is_bot) {
            return Err(Outcome::Bot);
        }
        let Some(session_id) = self.session_id else { return Err(Outcome::Served) };
        let path = self.path.or_else(|| url_path(&self.url));
        let (url, title, referrer) = (self.url, self.title, self.referrer);
        Ok(PageviewRecord { id, entered_at, session_id, url, path, title, referrer })
    }
}

impl Leave {
    /// The record of this leave of a view.
    #[must_use]
    pub fn into_record(self, view_id: Uuid) -> LeaveRecord {
        LeaveRecord { view_id, duration_seconds: self.duration_seconds, scroll_depth: self.scroll_depth }
    }
}
