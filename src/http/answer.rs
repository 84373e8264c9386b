//! Both envelopes. Everything under `/api/v1` is wrapped; `/track`, `/auth`, `/internal` and the rest answer bare objects.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;

use super::edge::RequestId;
use super::refusal::{Detail, Refusal, Wording};
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
    let wording = refusal.wording();
    let Wording { status, code, message, i18n_key, details, headers, outcome, close } = &wording;
    let mut response = if is_wrapped(request.match_info().as_str()) {
        let extensions = request.extensions();
        let correlation_id = extensions.get::<RequestId>().map_or("", |id| id.0.as_str());
        let error = ErrorBody { code, message, i18n_key, i18n_vars: serde_json::Map::new(), details, correlation_id };
        json(*status, *outcome, &WrappedError { success: false, error })
    } else {
        json(*status, *outcome, &BareError { message: i18n_key, details })
    };
    for (name, value) in headers {
        if let Ok(value) = header::HeaderValue::from_str(value) {
            response.headers_mut().insert(name.clone(), value);
        }
    }
    if *close {
        response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
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
