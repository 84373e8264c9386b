//! The route table.

use std::convert::Infallible;

use actix_web::dev::{Payload, ServiceRequest, ServiceResponse, fn_service};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, Route as HttpRoute};
use futures_util::FutureExt as _;

use super::refusal::Refusal;
use super::{
    answer, auth, batch, body, consent, health, internal, observe, openapi, pageview, session, track, users, visitors,
};
use crate::domain::Route;

const SESSION: &str = "/api/v1/analytics/session";
const PAGEVIEW: &str = "/api/v1/analytics/pageview";
const BATCH: &str = "/api/v1/analytics/batch";
const TRACK: &str = "/api/v1/analytics/track";
const ATTRIBUTION: &str = "/api/v1/users/attribution";
const CONSENT_HISTORY: &str = "/api/v1/users/consent";
const CONSENT: &str = "/api/v1/consent/cookies";
const CONSENT_STATUS: &str = "/api/v1/consent/cookies/status";
const CONSENT_POLICY: &str = "/api/v1/consent/cookies/policy";
const TRACK_INIT: &str = "/track/init";
const AUTH_CODE: &str = "/auth/request-code";
const AUTH_VERIFY: &str = "/auth/verify";
const AUTH_EXTERNAL: &str = "/auth/external/verify";
const INTERNAL_USERS: &str = "/internal/v1/users";
const LIVE: &str = "/health/live";
const READY: &str = "/health/ready";
const METRICS: &str = "/metrics";
const OPENAPI: &str = "/openapi.json";
const DOCS: &str = "/docs";

/// Everything but the metrics.
#[rustfmt::skip] // a table: one line a row
pub fn routes(config: &mut ServiceConfig) {
    use web::{get, head, patch, post};
    config
        .service(resource(SESSION, "POST").route(by(post(), session::create)))
        .service(resource("/api/v1/analytics/session/{id}/identify", "PATCH").route(by(patch(), session::identify)))
        .service(resource("/api/v1/analytics/session/{id}/heartbeat", "PATCH").route(by(patch(), session::heartbeat)))
        .service(resource(PAGEVIEW, "POST").route(by(post(), pageview::view)))
        .service(resource("/api/v1/analytics/pageview/{id}/leave", "PATCH, POST").route(by(patch(), pageview::leave)).route(by(post(), pageview::leave_by_beacon)))
        .service(resource(BATCH, "POST").route(by(post(), batch::batch)))
        .service(resource(TRACK, "POST").route(by(post(), track::track)))
        .service(resource(ATTRIBUTION, "GET, HEAD").route(by(get(), users::attribution)).route(by(head(), users::attribution)))
        .service(resource(CONSENT_HISTORY, "GET, HEAD").route(by(get(), users::consents)).route(by(head(), users::consents)))
        .service(resource(CONSENT, "POST").route(by(post(), consent::save)))
        .service(resource(CONSENT_STATUS, "GET, HEAD").route(by(get(), consent::status)).route(by(head(), consent::status)))
        .service(resource(CONSENT_POLICY, "GET, HEAD").route(by(get(), consent::policy)).route(by(head(), consent::policy)))
        .service(resource(TRACK_INIT, "POST").route(by(post(), visitors::init)))
        .service(resource(AUTH_CODE, "POST").route(by(post(), auth::request_code)))
        .service(resource(AUTH_VERIFY, "POST").route(by(post(), auth::verify)))
        .service(resource(AUTH_EXTERNAL, "POST").route(by(post(), auth::external)))
        .service(resource(INTERNAL_USERS, "POST").route(by(post(), internal::create_user)))
        .service(resource(LIVE, "GET, HEAD").route(get().to(health::live)).route(head().to(health::live)))
        .service(resource(READY, "GET, HEAD").route(get().to(health::ready)).route(head().to(health::ready)))
        .service(resource(OPENAPI, "GET, HEAD").route(get().to(openapi::description)).route(head().to(openapi::description)))
        .service(resource(DOCS, "GET, HEAD").route(get().to(openapi::page)).route(head().to(openapi::page)))
        .service(resource("/docs/{file}", "GET, HEAD").route(get().to(openapi::file)).route(head().to(openapi::file)))
        .configure(unknown_routes);
}

/// What is answered to everything else.
pub fn unknown_routes(config: &mut ServiceConfig) {
    config.default_service(by(web::route(), not_found));
}

/// The metrics, on whichever listener has them.
pub fn metrics_routes(config: &mut ServiceConfig) {
    config.service(
        resource(METRICS, "GET, HEAD").route(web::get().to(observe::metrics)).route(web::head().to(observe::metrics)),
    );
}

/// The name under which a path is counted and limited.
pub fn route_of(path: &str) -> Route {
    match path {
        SESSION => Route::Session,
        PAGEVIEW => Route::Pageview,
        BATCH => Route::Batch,
        TRACK => Route::Track,
        ATTRIBUTION => Route::Attribution,
        CONSENT_HISTORY => Route::ConsentHistory,
        CONSENT => Route::Consent,
        CONSENT_STATUS => Route::ConsentStatus,
        CONSENT_POLICY => Route::ConsentPolicy,
        TRACK_INIT => Route::TrackInit,
        AUTH_CODE => Route::AuthCode,
        AUTH_VERIFY => Route::AuthVerify,
        AUTH_EXTERNAL => Route::AuthExternal,
        INTERNAL_USERS => Route::InternalUsers,
        LIVE | READY => Route::Health,
        METRICS => Route::Metrics,
        OPENAPI | DOCS => Route::Documentation,
        _ if path.starts_with("/docs/") => Route::Documentation,
        _ => route_of_one(path),
    }
}

/// A path with an id in it.
fn route_of_one(path: &str) -> Route {
    let part =
        |parent: &str| path.strip_prefix(parent)?.strip_prefix('/')?.split_once('/').filter(|(id, _)| !id.is_empty());
    match (part(SESSION), part(PAGEVIEW)) {
        (Some((_, "identify")), _) => Route::Identify,
        (Some((_, "heartbeat")), _) => Route::Heartbeat,
        (_, Some((_, "leave"))) => Route::Leave,
        _ => Route::Other,
    }
}

fn resource(path: &'static str, allow: &'static str) -> Resource {
    web::resource(path).default_service(by(web::route(), move |request: HttpRequest, payload: Payload| async move {
        body::drain(&request, payload).await;
        answer::refuse(&request, Refusal::MethodNotAllowed { allow })
    }))
}

/// A route served by this endpoint. What actix-web's own way would add is taking arguments out of a request one by one.
fn by<F: Future<Output = HttpResponse> + 'static>(
    route: HttpRoute,
    endpoint: impl Fn(HttpRequest, Payload) -> F + Clone + 'static,
) -> HttpRoute {
    route.service(fn_service(move |request: ServiceRequest| {
        let (request, payload) = request.into_parts();
        // Not an `async` block: it would be twice as large, and is moved into a box.
        endpoint(request.clone(), payload).map(|answer| Ok::<_, Infallible>(ServiceResponse::new(request, answer)))
    }))
}

async fn not_found(request: HttpRequest, payload: Payload) -> HttpResponse {
    body::drain(&request, payload).await;
    answer::refuse(&request, Refusal::NotFound)
}
