//! Both envelopes. Everything under `/api/v1` is wrapped; `/track`, `/auth`, `/internal` and the rest answer bare objects.

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;

use super::refusal::{Detail, Refusal, Wording};
use super::request_id::RequestId;
use crate::domain::Outcome;

#[derive(Serialize)]
struct Wrapped<T> {
    success: bool,
    data: T,
}

#[derive(Serialize)]
struct WrappedError<'a> {
    success: bool,
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    i18n_key: &'a str,
    i18n_vars: serde_json::Map<String, serde_json::Value>,
    details: &'a [Detail],
    correlation_id: &'a str,
}

#[derive(Serialize)]
struct BareError<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "<[Detail]>::is_empty")]
    details: &'a [Detail],
}

/// A 200 with data, counted under `outcome`.
pub fn ok<T: Serialize>(request: &HttpRequest, outcome: Outcome, data: T) -> HttpResponse {
    if is_wrapped(request.match_info().as_str()) {
        json(StatusCode::OK, outcome, &Wrapped { success: true, data })
    } else {
        json(StatusCode::OK, outcome, &data)
    }
}

/// The answer to a request that is not served.
pub fn refuse(request: &HttpRequest, refusal: Refusal) -> HttpResponse {
    let Wording { status, code, i18n_key, message, outcome } = refusal.wording();
    let (header, close) = (refusal.header(), refusal.closes_connection());
    let details = refusal.details();
    let mut response = if is_wrapped(request.match_info().as_str()) {
        let extensions = request.extensions();
        let correlation_id = extensions.get::<RequestId>().map_or("", |id| id.0.as_str());
        let i18n_vars = serde_json::Map::new();
        // A single finding says more than its kind.
        let message = details.first().filter(|detail| detail.field.is_none()).map_or(message, |detail| &detail.message);
        let error = ErrorBody { code, message, i18n_key, i18n_vars, details: &details, correlation_id };
        json(status, outcome, &WrappedError { success: false, error })
    } else {
        json(status, outcome, &BareError { message: i18n_key, details: &details })
    };
    if let Some((name, value)) = header
        && let Ok(value) = HeaderValue::from_str(&value)
    {
        response.headers_mut().insert(name, value);
    }
    if close {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response
}

/// Any JSON answer with its outcome.
pub fn json<T: Serialize>(status: StatusCode, outcome: Outcome, body: &T) -> HttpResponse {
    let body = serde_json::to_vec(body).expect("answers are plain structs with string keys");
    let mut response = HttpResponse::build(status).insert_header((CONTENT_TYPE, "application/json")).body(body);
    response.extensions_mut().insert(outcome);
    response
}

/// By the path as it is routed (`match_info`), in which `%61` and `a` are one.
fn is_wrapped(path: &str) -> bool {
    path.starts_with("/api/v1/") || path == "/api/v1"
}
