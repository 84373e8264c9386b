//! The throttle as a client sees it: 429, and the `RateLimit` headers (draft-ietf-httpapi-ratelimit-headers-10).

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderName, HeaderValue};

use super::AppState;
use super::refusal::Refusal;
use crate::domain::{ClientIp, Route};
use crate::limit::Standing;
use crate::telemetry::name;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A request's standing with its route's limit.
pub struct Admission {
    route: Route,
    standing: Option<Standing>,
}

impl Admission {
    /// Counts the request.
    pub fn ask(app: &AppState, route: Route, client: Option<ClientIp>) -> Self {
        let standing = client.and_then(|ip| app.limiter.check(route, ip.throttle_key()));
        if standing.is_some_and(|standing| !standing.allowed) {
            app.telemetry.count(name::LIMITER_REFUSALS, &[("route", route.label())], 1);
        }
        Self { route, standing }
    }

    /// The refusal of a request over its limit.
    pub fn refusal(&self) -> Option<Refusal> {
        let standing = self.standing.filter(|standing| !standing.allowed)?;
        Some(Refusal::Throttled { retry_after_seconds: standing.reset_seconds })
    }

    /// Tells the client where it stands, on whatever answer it gets.
    pub fn decorate(&self, response: &mut HttpResponse) {
        let Some(Standing { limit, remaining, reset_seconds, .. }) = self.standing else { return };
        let route = self.route.label();
        let policy = format!("\"{route}\";q={};w={}", limit.requests, limit.window.as_secs());
        let state = format!("\"{route}\";r={remaining};t={reset_seconds}");
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
    }
}
