//! The route table.

use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource};

use super::refusal::Refusal;
use super::{answer, body, consent, health, observe, session};
use crate::domain::Route;

const SESSION: &str = "/api/v1/analytics/session";
const CONSENT: &str = "/api/v1/consent/cookies";
const LIVE: &str = "/health/live";
const READY: &str = "/health/ready";
const METRICS: &str = "/metrics";

/// Everything but the metrics.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(resource(SESSION, "POST").route(web::post().to(session::create)))
        .service(resource(CONSENT, "POST").route(web::post().to(consent::save)))
        .service(resource(LIVE, "GET, HEAD").route(web::get().to(health::live)).route(web::head().to(health::live)))
        .service(resource(READY, "GET, HEAD").route(web::get().to(health::ready)).route(web::head().to(health::ready)))
        .configure(unknown_routes);
}

/// What is answered to everything else.
pub fn unknown_routes(config: &mut ServiceConfig) {
    config.default_service(web::to(not_found));
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
        CONSENT => Route::Consent,
        LIVE | READY => Route::Health,
        METRICS => Route::Metrics,
        _ => Route::Other,
    }
}

fn resource(path: &'static str, allow: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move |request: HttpRequest, payload: Payload| async move {
        body::drain(payload).await;
        answer::refuse(&request, Refusal::MethodNotAllowed { allow })
    }))
}

async fn not_found(request: HttpRequest, payload: Payload) -> HttpResponse {
    body::drain(payload).await;
    answer::refuse(&request, Refusal::NotFound)
}
