//! The throttle as a client sees it: 429, and the `RateLimit` headers (draft-ietf-httpapi-ratelimit-headers-10).

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use weir_domain::{ClientIp, Route};

use crate::http::protocol::api_error::ApiError;
use crate::http::state::AppState;
use crate::limit::RateLimitStatus;
use crate::telemetry::name;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How a request stands with its route's limit.
#[derive(Clone, Copy)]
pub struct RateLimit {
    route: Route,
    status: Option<RateLimitStatus>,
}

impl RateLimit {
    /// That of a request which no limit is asked for.
    #[must_use]
    pub fn none(route: Route) -> Self {
        Self { route, status: None }
    }

    /// Counts the request.
    #[must_use]
    pub fn check(app: &AppState, route: Route, client: Option<ClientIp>) -> Self {
        let status = client.and_then(|ip| app.limiter.check(route, ip.throttle_key()));
        if status.is_some_and(|status| !status.allowed) {
            app.telemetry.count(name::LIMITER_REFUSALS, &[("route", route.label())], 1);
        }
        Self { route, status }
    }

    /// Whether the request is over its limit.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.status.is_some_and(|status| !status.allowed)
    }

    /// The error of a request over its limit.
    #[must_use]
    pub fn error(&self) -> Option<ApiError> {
        let status = self.status.filter(|status| !status.allowed)?;
        Some(ApiError::Throttled { retry_after_seconds: status.reset_seconds })
    }

    /// Tells the client where it stands, on whatever answer it gets.
    pub fn decorate(&self, headers: &mut HeaderMap) {
        let Some(RateLimitStatus { limit, remaining, reset_seconds, .. }) = self.status else { return };
        let route = self.route.label();
        let policy = format!("\"{route}\";q={};w={}", limit.requests, limit.window.as_secs());
        let state = format!("\"{route}\";r={remaining};t={reset_seconds}");
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}
