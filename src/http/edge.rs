//! What every request passes first and last: its id, CORS, its one count, its log line.
//!
//! One layer for all of it: each layer around a service costs a boxed future a request. Invariant: a request is counted
//! exactly once, also when its client goes away before the answer.

use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use super::connection::Connection;
use super::request_id::{self, RequestId};
use super::{AppState, cors, passage, routes};
use crate::domain::{Outcome, Route};

/// Counts the request when it ends, whichever way.
struct Account {
    app: web::Data<AppState>,
    route: Route,
    began: Instant,
    open: bool,
}

impl Account {
    fn close(&mut self, outcome: Outcome, status: u16) -> Duration {
        self.open = false;
        let took = self.began.elapsed();
        self.app.telemetry.request_finished(self.route, outcome, status, took);
        took
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.open {
            if std::thread::panicking() {
                self.close(Outcome::Failed, 500);
            } else {
                // 499: the client closed the connection (a status of nginx's, never sent).
                self.close(Outcome::Abandoned, 499);
            }
        }
    }
}

/// The layer around all routes.
///
/// # Errors
/// Never: what fails inside is an answer too.
pub async fn edge(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(app) = request.app_data::<web::Data<AppState>>().cloned() else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    // Until this function ends: the answer is made then.
    let _serving = Connection::serve(&request);
    let mut account =
        Account { app, route: routes::route_of(request.match_info().as_str()), began: Instant::now(), open: true };
    let id = RequestId::of(&request);
    passage::begin(&request, id.clone());
    let origin = cors::Origin::of(&request, &account.app.network.cors_origins);
    let mut response = if cors::is_preflight(&request) {
        let permission = cors::preflight(&request);
        request.into_response(permission).map_into_boxed_body()
    } else {
        match next.call(request).await {
            Ok(response) => response.map_into_boxed_body(),
            // Routing itself never fails; an error here is a defect, and says nothing of itself.
            Err(error) => return Err(error),
        }
    };
    let status = response.status().as_u16();
    let outcome = passage::outcome(response.request());
    let outcome = outcome.unwrap_or(if status < 400 { Outcome::Served } else { Outcome::Failed });
    response.headers_mut().insert(request_id::HEADER, id.to_header());
    origin.decorate(response.headers_mut());
    let took = account.close(outcome, status);
    tracing::debug!(
        request_id = %id,
        method = %response.request().method(),
        route = account.route.label(),
        status,
        outcome = outcome.label(),
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    Ok(response)
}
