//! What is known of one request: made when its head has come, with its handler while that works, back for its answer.
//!
//! It is the request's own and not its connection's, so nothing of one request is left for the next. Invariant: a request
//! is counted exactly once, also when its client goes away before the answer.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix_http::{HttpMessage as _, Request};
use actix_web::HttpResponse;
use actix_web::http::{ConnectionType, Method};
use actix_web::web::Data;
use uuid::Uuid;
use weir_domain::{Outcome, Route};
use weir_http_guard::Refusal;

use super::cors::{self, Origin};
use super::rate_limit::RateLimit;
use super::request_id::{self, RequestId};
use crate::config::Origins;
use crate::http::protocol::client::Client;
use crate::http::protocol::envelope::ApiEnvelope;
use crate::http::state::AppState;
use crate::telemetry::Telemetry;

/// How often it is said that a throttled peer looks like a proxy.
const WARN_EVERY_MS: u64 = 600_000;

/// One request's.
pub struct RequestContext {
    app: Rc<Data<AppState>>,
    /// Its correlation id.
    pub id: RequestId,
    /// The shape of its answer.
    pub envelope: ApiEnvelope,
    /// Who sent it; nobody where no handler asks.
    pub client: Client,
    /// How it stands with its route's limit.
    pub rate_limit: RateLimit,
    route: Route,
    method: Method,
    origin: Origin,
    began: Instant,
    is_open: bool,
    /// The client offers another protocol, after which actix-http ends the connection: the answer has to say so.
    closes: bool,
}

impl RequestContext {
    /// Begins a request to this routed path.
    pub fn begin(app: &Rc<Data<AppState>>, request: &Request, path: &str, route: Route) -> Self {
        let began = Instant::now();
        let headers = request.headers();
        Self {
            id: RequestId::of(headers),
            envelope: ApiEnvelope::at(path),
            client: Client::default(),
            rate_limit: RateLimit::none(route),
            route,
            method: request.method().clone(),
            origin: Origin::of(path, headers, &app.network.cors_origins),
            began,
            is_open: true,
            closes: request.head().upgrade(),
            app: Rc::clone(app),
        }
    }

    /// Finds out who sent the request, and counts it for the throttle.
    pub fn identify_client(&mut self, request: &Request) {
        let app = &self.app;
        let (proxies, is_warned) = (&app.network.proxies, &app.warned_about_proxy);
        self.client = Client::of(request.peer_addr(), request.headers(), proxies, is_warned);
        self.rate_limit = RateLimit::check(app, self.route, self.client.ip);
        if self.rate_limit.is_over() && self.client.is_untrusted_proxy(request.headers(), proxies) {
            self.warn_of_untrusted_proxy();
        }
    }

    /// All who come through one proxy share its window, and whoever runs the two may not know why they are refused.
    fn warn_of_untrusted_proxy(&self) {
        let now = self.app.clock.now().0;
        let last = self.app.warned_about_untrusted_at.load(Ordering::Relaxed);
        let is_due = now.abs_diff(last) >= WARN_EVERY_MS;
        if is_due
            && self
                .app
                .warned_about_untrusted_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            tracing::warn!(
                route = self.route.label(),
                "throttled a peer that sends forwarding headers and is not in trusted_proxies; if this is a proxy of yours, \
                 all its visitors share one throttle: add its address to trusted_proxies"
            );
        }
    }

    /// What handlers can reach.
    #[must_use]
    pub fn app(&self) -> &AppState {
        &self.app
    }

    /// The answer with what stands on all of them, counted and logged.
    pub fn finish(&mut self, mut response: HttpResponse, outcome: Outcome) -> HttpResponse {
        if self.closes {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        let headers = response.headers_mut();
        self.rate_limit.decorate(headers);
        headers.insert(request_id::HEADER, self.id.to_header());
        self.origin.decorate(headers);
        let status = response.status().as_u16();
        let took = self.count(outcome, status);
        tracing::debug!(
            request_id = %self.id,
            method = %self.method,
            route = self.route.label(),
            status,
            outcome = outcome.label(),
            took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "request"
        );
        response
    }

    fn count(&mut self, outcome: Outcome, status: u16) -> Duration {
        self.is_open = false;
        let took = self.began.elapsed();
        self.app.telemetry.request_finished(self.route, outcome, status, took);
        took
    }
}

/// Counts and logs a request that ended before it had a route: its head is none, too long or too slow. Nothing of it is known,
/// its origin neither. Returns the lines that belong into its answer.
pub fn refused_before_routing(telemetry: &Telemetry, origins: &Origins, refusal: Refusal) -> String {
    let request_id = Uuid::new_v4();
    let outcome = match refusal {
        Refusal::Malformed | Refusal::TooLong => Outcome::Invalid,
        Refusal::TooSlow => Outcome::Incomplete,
    };
    let (route, status) = (Route::Other, refusal.status());
    telemetry.request_finished(route, outcome, status, Duration::ZERO);
    tracing::debug!(
        %request_id,
        route = route.label(),
        status,
        outcome = outcome.label(),
        reason = ?refusal,
        "request ended before it had a route"
    );
    format!("{}: {request_id}\r\n{}", request_id::NAME, cors::lines_for_unknown_origin(origins))
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        if self.is_open {
            if std::thread::panicking() {
                self.count(Outcome::Failed, 500);
            } else {
                // 499: the client closed the connection (a status of nginx's, never sent).
                self.count(Outcome::Abandoned, 499);
            }
        }
    }
}
