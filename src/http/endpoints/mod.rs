//! The endpoints: a file for each subject (what a body says, what becomes of it, what is answered), and the table with one
//! row for each. Routing, labels and the `OpenAPI` document are read from the table.
//!
//! A handler takes a `Call` and returns a [`Reply`]. A new endpoint is a file here, its row below, and its name and limit
//! in [`Route`].

pub mod auth;
pub mod batch;
pub mod consent;
pub mod health;
pub mod internal;
pub mod metrics;
pub mod openapi;
pub mod pageview;
pub mod session;
pub mod track;
pub mod users;
pub mod visitors;

use std::sync::LazyLock;

use weir_domain::Route;

use super::call::{Call, serve};
use super::endpoint::Bearer::{Optional, Required};
use super::endpoint::Verb::{Get, Patch, Post};
use super::endpoint::{Body, Endpoint};
use super::protocol::api_error::ApiError;
use super::protocol::body::{BATCH_MAX_BYTES, MAX_BYTES};
use super::protocol::reply::Reply;

const JSON: Body = Body::Json { max_bytes: MAX_BYTES };
const OPTIONAL_JSON: Body = Body::OptionalJson { max_bytes: MAX_BYTES };
const BATCH_JSON: Body = Body::Json { max_bytes: BATCH_MAX_BYTES };

/// A handler with its part of the document.
macro_rules! described {
    ($module:ident::$handler:ident) => {
        (|incoming| serve(incoming, $module::$handler), {
            #[derive(utoipa::OpenApi)]
            #[openapi(paths($module::$handler))]
            struct Described;
            Some(<Described as utoipa::OpenApi>::openapi)
        })
    };
}

/// A handler that the document passes over.
macro_rules! undescribed {
    ($handler:expr) => {
        (|incoming| serve(incoming, $handler), None)
    };
}

/// Every endpoint. Rows of one path stand together.
#[rustfmt::skip] // a table: one line a row
pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint::new(Post, "/api/v1/analytics/session", Route::Session, described!(session::create)).body(JSON).never_unavailable(),
    Endpoint::new(Patch, "/api/v1/analytics/session/{id}/identify", Route::Identify, described!(session::identify)).bearer(Required),
    Endpoint::new(Patch, "/api/v1/analytics/session/{id}/heartbeat", Route::Heartbeat, described!(session::heartbeat)),
    Endpoint::new(Post, "/api/v1/analytics/pageview", Route::Pageview, described!(pageview::view)).body(JSON).never_unavailable(),
    Endpoint::new(Patch, "/api/v1/analytics/pageview/{id}/leave", Route::Leave, described!(pageview::leave)).body(JSON),
    Endpoint::new(Post, "/api/v1/analytics/pageview/{id}/leave", Route::Leave, described!(pageview::leave_by_beacon)).body(JSON),
    Endpoint::new(Post, "/api/v1/analytics/batch", Route::Batch, described!(batch::batch)).body(BATCH_JSON).never_unavailable(),
    Endpoint::new(Post, "/api/v1/analytics/track", Route::Track, described!(track::track)).body(JSON).bearer(Required),
    Endpoint::new(Get, "/api/v1/users/attribution", Route::Attribution, described!(users::attribution)).bearer(Required),
    Endpoint::new(Get, "/api/v1/users/consent", Route::ConsentHistory, described!(users::consents)).bearer(Required),
    Endpoint::new(Post, "/api/v1/consent/cookies", Route::Consent, described!(consent::save)).body(JSON).bearer(Optional),
    Endpoint::new(Get, "/api/v1/consent/cookies/status", Route::ConsentStatus, described!(consent::status)).bearer(Optional),
    Endpoint::new(Get, "/api/v1/consent/cookies/policy", Route::ConsentPolicy, described!(consent::policy)).never_unavailable(),
    Endpoint::new(Post, "/track/init", Route::TrackInit, described!(visitors::init)).body(OPTIONAL_JSON),
    Endpoint::new(Post, "/auth/request-code", Route::AuthCode, described!(auth::request_code)).body(JSON),
    Endpoint::new(Post, "/auth/verify", Route::AuthVerify, described!(auth::verify)).body(JSON),
    Endpoint::new(Post, "/auth/external/verify", Route::AuthExternal, described!(auth::external)).body(JSON),
    Endpoint::new(Post, "/internal/v1/users", Route::InternalUsers, described!(internal::create_user)).body(JSON),
    Endpoint::new(Get, "/health/live", Route::Health, described!(health::live)).unguarded().never_unavailable(),
    Endpoint::new(Get, "/health/ready", Route::Health, described!(health::ready)).unguarded().never_unavailable(),
    Endpoint::new(Get, "/metrics", Route::Metrics, described!(metrics::metrics)).unguarded().never_unavailable(),
    Endpoint::new(Get, "/openapi.json", Route::Documentation, undescribed!(openapi_json)).unguarded(),
    Endpoint::new(Get, "/docs", Route::Documentation, undescribed!(openapi::page)).unguarded(),
    Endpoint::new(Get, "/docs/{file}", Route::Documentation, undescribed!(openapi::file)).unguarded(),
];

pub(super) static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document(ENDPOINTS));

/// `GET /openapi.json`: the table, described.
async fn openapi_json(_: &mut Call<'_>) -> Result<Reply, ApiError> {
    Ok(openapi::json(&DOCUMENT))
}
