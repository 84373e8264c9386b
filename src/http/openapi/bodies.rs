//! What requests carry, as the description tells it. Only the schemas of these types are used: a body is read by
//! `fields` and checked by `rules`, which can name every violation at once. The tests hold both against each other.

#![allow(dead_code)] // never made: their schemas are their purpose

use serde::Serialize;
use utoipa::ToSchema;

/// A visit begins.
#[derive(Serialize, ToSchema)]
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

/// A page is opened.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageviewRequest {
    /// What is no UUID stores nothing.
    #[schema(max_length = 1024)]
    session_id: String,
    #[schema(min_length = 1, max_length = 8192)]
    url: String,
    /// Taken from `url` when it is missing.
    #[schema(max_length = 8192)]
    path: Option<String>,
    #[schema(max_length = 1024)]
    title: Option<String>,
    #[schema(max_length = 8192)]
    referrer: Option<String>,
}

/// A page is left.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaveRequest {
    /// Seconds; what is outside 0 to 3600 is clamped.
    duration: f64,
    /// Percent; what is outside 0 to 100 is clamped.
    scroll_depth: Option<f64>,
}

/// What happened while a client was offline, in its order.
#[derive(Serialize, ToSchema)]
pub struct BatchRequest {
    /// Each item is judged by itself: one that breaks a rule gets its own error, and the others go on.
    #[schema(value_type = Vec<BatchItem>, min_items = 1, max_items = 100)]
    items: Vec<BatchItem>,
}

/// One event of a batch. What it breaks is told in its result.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchItem {
    /// `session`, `pageview`, `leave` or `heartbeat`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Makes the item idempotent for 24 hours; 1 to 64 characters. The same key of another client is the same key: use a
    /// random one.
    key: Option<String>,
    /// How long ago it happened by the client's own clock: 0 to 86400000.
    age_ms: Option<f64>,
    /// The session of a heartbeat, the view of a leave.
    id: Option<String>,
    /// The index of an earlier session item, instead of its id.
    session_ref: Option<f64>,
    /// The index of an earlier pageview item, instead of its id.
    view_ref: Option<f64>,
    /// The body of the item's own route.
    body: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What an item of a batch is answered with; which of these, its type tells.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemData {
    #[schema(format = "uuid")]
    id: Option<String>,
    #[schema(format = "date-time", nullable = false)]
    created_at: Option<String>,
    #[schema(nullable = false)]
    ok: Option<bool>,
}

/// A step through the funnel.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrackRequest {
    #[schema(min_length = 1, max_length = 255)]
    event: String,
    #[schema(max_length = 1024)]
    session_id: Option<String>,
    /// As many bytes as the setting `analytics.max_event_data_bytes` allows.
    properties: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A cookie choice. Essential cookies are no choice.
#[derive(Serialize, ToSchema)]
pub struct ConsentRequest {
    /// Also allows that the address is kept with this choice.
    analytics: bool,
    marketing: bool,
    functional: bool,
}

/// A visitor comes, for the first time or again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InitRequest {
    /// The token of an earlier visit.
    #[schema(max_length = 1024)]
    token: Option<String>,
    /// Instead of the header.
    #[schema(max_length = 1024)]
    user_agent: Option<String>,
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
    #[schema(max_length = 8192)]
    referrer: Option<String>,
    #[schema(max_length = 8192)]
    landing_url: Option<String>,
    /// A user's hash id or referral code.
    #[schema(max_length = 1024)]
    invited_by: Option<String>,
}

/// Who wants a code.
#[derive(Serialize, ToSchema)]
pub struct CodeRequest {
    #[schema(format = "email", max_length = 254, example = "ada@example.org")]
    email: String,
}

/// Who has a code.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyRequest {
    #[schema(format = "email", max_length = 254, example = "ada@example.org")]
    email: String,
    #[schema(min_length = 1, max_length = 64, example = "123456")]
    code: String,
    /// The visitor that a new user was until now.
    #[schema(max_length = 1024)]
    visitor_token: Option<String>,
}

/// Who comes from another service.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRequest {
    /// One of the configured names.
    #[schema(min_length = 1, max_length = 1024)]
    provider: String,
    /// An OpenID Connect id token.
    #[schema(min_length = 1, max_length = 16384)]
    id_token: String,
    /// The visitor that a new user was until now.
    #[schema(max_length = 1024)]
    visitor_token: Option<String>,
}

/// A user of another account service.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserRequest {
    #[schema(min_length = 1, max_length = 255)]
    id: String,
    #[schema(format = "email", max_length = 254, example = "ada@example.org")]
    email: Option<String>,
    /// The new user's own; made when it is missing.
    #[schema(min_length = 1, max_length = 1024)]
    referral_code: Option<String>,
    /// The visitor that the user was until now.
    #[schema(max_length = 1024)]
    visitor_token: Option<String>,
    #[schema(max_length = 1024)]
    acquired_via_creator_id: Option<String>,
    /// Now when it is missing.
    #[schema(format = "date-time", example = "2026-04-30T10:00:00.000Z")]
    created_at: Option<String>,
}
