//! Views: `POST /api/v1/analytics/pageview` opens a page, `leave` closes it.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;
use weir_domain::{
    AnalyticsEvent, AnalyticsRecord, CachedResponse, JournalRecord, LeaveRecord, Outcome, PageviewRecord, UnixMillis,
    clamp_duration_seconds, clamp_scroll_depth, parse_uuid, url_path,
};

use super::session::Done;
use crate::contract::kinds::{CheckedByEndpoint, CutText, Number, OptionalNumber, Text, TextOrEmpty};
use crate::contract::{Cut, Field, Rules, TEXT_MAX, URL_MAX, fields, request_body};
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::Wrapped;
use crate::http::protocol::reply::Reply;

request_body! {
    /// A page is opened.
    pub struct Opened from OpenedFields as PageviewRequest {
        /// What is no UUID stores nothing.
        session_id: "sessionId" => CheckedByEndpoint<TextOrEmpty<TEXT_MAX>>,
        url: "url" => Text<URL_MAX>,
        /// Taken from `url` when it is missing.
        path: "path" => CutText<URL_MAX>,
        title: "title" => CutText<TEXT_MAX>,
        referrer: "referrer" => CutText<URL_MAX>,
    }
}

request_body! {
    /// A page is left.
    pub struct Left from LeftFields as LeaveRequest {
        /// Seconds; what is outside 0 to 3600 is clamped.
        duration: "duration" => Number,
        /// Percent; what is outside 0 to 100 is clamped.
        scroll_depth: "scrollDepth" => OptionalNumber,
    }
}

/// A view's answer.
#[derive(Default, Serialize, ToSchema)]
pub struct Viewed {
    /// Null when nothing was stored.
    #[schema(required = true, format = "uuid")]
    id: Option<String>,
}

impl From<CachedResponse> for Viewed {
    fn from(answer: CachedResponse) -> Self {
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
pub async fn view(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let body = call.body().await?;
    let view = call.parsed(|cut| read_view(&body, None, cut))?;
    let now = call.app.clock.now();
    let record = match view.into_record(call.is_bot(), call.app.ids.next(now), now) {
        Ok(record) => record,
        Err(outcome) => return Ok(call.reply(outcome, &Viewed::default())),
    };
    let event = AnalyticsEvent::Pageview(Box::new(record));
    let viewed = Viewed::from(event.answer());
    let commit = call.app.analytics.append(<AnalyticsRecord>::from(event).encode());
    Ok(call.reply_after_or_default(commit, &viewed))
}

/// Leave a page
#[utoipa::path(
    patch, path = "/api/v1/analytics/pageview/{id}/leave", operation_id = "leavePage", tag = "analytics",
    params(("id" = String, Path, description = "A view's id")), request_body = LeaveRequest,
    responses((status = 200, body = Wrapped<Done>, description = "Durable"))
)]
pub async fn leave(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let body = call.body().await?;
    let leave = call.parsed(|cut| read_leave(&body, cut))?;
    let Some(view_id) = parse_uuid(&call.path_part()) else { return Ok(call.reply(Outcome::Served, &Done::OK)) };
    let event = AnalyticsEvent::Leave(leave.into_record(view_id));
    let commit = call.app.analytics.append(<AnalyticsRecord>::from(event).encode());
    Ok(call.reply_after(commit, &Done::OK))
}

/// Leave a page, by a beacon, which can only POST
#[utoipa::path(
    post, path = "/api/v1/analytics/pageview/{id}/leave", operation_id = "leavePageByBeacon", tag = "analytics",
    params(("id" = String, Path, description = "A view's id")), request_body = LeaveRequest,
    responses((status = 200, body = Wrapped<Done>, description = "Durable"))
)]
pub async fn leave_by_beacon(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    leave(call).await
}

/// What a view's body says, checked rule by rule. `of_session` is a session that is known otherwise than by the body.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_view(body: &[u8], of_session: Option<Uuid>, cut: &mut Cut) -> Result<View, ApiError> {
    let fields: OpenedFields<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let opened = Opened::check(&fields, &mut rules);
    let session_id = match (of_session, opened.session_id) {
        (Some(session_id), Field::Absent | Field::Null) => Some(session_id),
        (of_session, given) => {
            let given = rules.required_string("sessionId", given, TEXT_MAX);
            of_session.or_else(|| parse_uuid(given))
        }
    };
    rules.finish_in_order(OpenedFields::NAMES, cut)?;
    Ok(View {
        session_id,
        url: opened.url.to_owned(),
        path: opened.path.map(str::to_owned),
        title: opened.title.map(str::to_owned),
        referrer: opened.referrer.map(str::to_owned),
    })
}

/// What a leave's body says, clamped: a tab that was left open for hours still counts.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_leave(body: &[u8], cut: &mut Cut) -> Result<Leave, ApiError> {
    let mut fields = LeftFields::default();
    let Left { duration, scroll_depth } = Left::read(body, &mut fields, cut)?;
    Ok(Leave { duration_seconds: clamp_duration_seconds(duration), scroll_depth: scroll_depth.map(clamp_scroll_depth) })
}

impl View {
    /// The record to store, or why there is none.
    ///
    /// # Errors
    /// With the outcome of a view that is answered with `id: null`.
    pub fn into_record(self, is_bot: bool, id: Uuid, entered_at: UnixMillis) -> Result<PageviewRecord, Outcome> {
        if is_bot {
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
