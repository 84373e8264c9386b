//! Both envelopes. Everything under `/api/v1` is wrapped; `/track`, `/auth`, `/internal` and the rest answer bare objects.

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::passage::Passage;
use super::refusal::{Detail, Refusal, Wording};
use super::request_id::RequestId;
use crate::domain::Outcome;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What every answer under `/api/v1` is wrapped in.
#[derive(Serialize, ToSchema)]
pub struct Wrapped<T> {
    success: bool,
    data: T,
}

/// A refusal under `/api/v1`.
#[derive(Serialize, ToSchema)]
pub struct WrappedError {
    success: bool,
    error: ErrorBody,
}

/// An error as it stands in the envelope and in a batch's results.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    code: &'static str,
    message: String,
    i18n_key: &'static str,
    #[schema(value_type = Object)]
    i18n_vars: Map<String, Value>,
    details: Vec<Detail>,
    correlation_id: String,
}

/// A refusal anywhere else.
#[derive(Serialize, ToSchema)]
pub struct BareError {
    message: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

/// What answers are put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// Under `/api/v1`.
    Wrapped,
    /// Anywhere else.
    Bare,
}

impl Envelope {
    /// That of a request.
    pub fn of(request: &HttpRequest) -> Self {
        Self::at(request.match_info().as_str())
    }

    /// By the path as it is routed (`match_info`), in which `%61` and `a` are one.
    pub fn at(path: &str) -> Self {
        if path.starts_with("/api/v1/") || path == "/api/v1" { Self::Wrapped } else { Self::Bare }
    }

    /// The body of a 200.
    pub fn fill<T: Serialize>(self, data: &T) -> Vec<u8> {
        match self {
            Self::Wrapped => encode(&Wrapped { success: true, data }),
            Self::Bare => encode(data),
        }
    }

    /// The answer to a request that is not served, and under what it is counted.
    pub fn refuse(self, id: &RequestId, refusal: Refusal) -> (HttpResponse, Outcome) {
        let Wording { status, i18n_key, outcome, .. } = refusal.wording();
        let (header, close) = (refusal.header(), refusal.closes_connection());
        let body = match self {
            Self::Wrapped => encode(&WrappedError { success: false, error: error_body(id, refusal) }),
            Self::Bare => encode(&BareError { message: i18n_key, details: refusal.details() }),
        };
        let mut response = json(status, body);
        if let Some((name, value)) = header
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            response.headers_mut().insert(name, value);
        }
        if close {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        (response, outcome)
    }
}

/// A 200 with data, counted under `outcome`.
pub fn ok<T: Serialize>(request: &HttpRequest, outcome: Outcome, data: &T) -> HttpResponse {
    Passage::of(request).note(outcome);
    json(StatusCode::OK, Envelope::of(request).fill(data))
}

/// The answer to a request that is not served.
pub fn refuse(request: &HttpRequest, refusal: Refusal) -> HttpResponse {
    let passage = Passage::of(request);
    let (response, outcome) = Envelope::of(request).refuse(&passage.id(), refusal);
    passage.note(outcome);
    response
}

/// What a refusal says under `/api/v1`.
pub fn error_body(id: &RequestId, refusal: Refusal) -> ErrorBody {
    let Wording { code, i18n_key, message: wording, .. } = refusal.wording();
    let details = refusal.details();
    let correlation_id = id.to_string();
    // A single finding says more than its kind.
    let message = details.first().filter(|detail| detail.field.is_none()).map(|detail| detail.message.clone());
    let message = message.unwrap_or_else(|| wording.to_owned());
    ErrorBody { code, message, i18n_key, i18n_vars: Map::new(), details, correlation_id }
}

/// A JSON answer of any status in no envelope, counted under `outcome`.
pub fn plain<T: Serialize>(request: &HttpRequest, status: StatusCode, outcome: Outcome, data: &T) -> HttpResponse {
    Passage::of(request).note(outcome);
    json(status, encode(data))
}

/// A JSON answer.
pub fn json(status: StatusCode, body: Vec<u8>) -> HttpResponse {
    HttpResponse::build(status).insert_header((CONTENT_TYPE, JSON)).body(body)
}

fn encode<T: Serialize>(data: &T) -> Vec<u8> {
    serde_json::to_vec(data).expect("answers are plain structs with string keys")
}
