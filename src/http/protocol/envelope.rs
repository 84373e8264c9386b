//! Both envelopes. Everything under `/api/v1` is wrapped; `/track`, `/auth`, `/internal` and the rest answer bare objects.

use std::fmt;

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use weir_domain::Outcome;

use super::api_error::{ApiError, ErrorSpec};
use crate::contract::Detail;

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
pub enum ApiEnvelope {
    /// Under `/api/v1`.
    Wrapped,
    /// Anywhere else.
    Bare,
}

impl ApiEnvelope {
    /// That of a path as it is routed.
    #[must_use]
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
    pub fn error(self, request_id: &impl fmt::Display, error: ApiError) -> (HttpResponse, Outcome) {
        let ErrorSpec { status, i18n_key, outcome, .. } = error.spec();
        let (header, close) = (error.header(), error.closes_connection());
        let body = match self {
            Self::Wrapped => encode(&WrappedError { success: false, error: ErrorBody::new(request_id, error) }),
            Self::Bare => encode(&BareError { message: i18n_key, details: error.details() }),
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

impl ErrorBody {
    /// What an error says of the request with this id.
    pub fn new(request_id: &impl fmt::Display, error: ApiError) -> Self {
        let ErrorSpec { code, i18n_key, message: general, .. } = error.spec();
        let details = error.details();
        let correlation_id = request_id.to_string();
        // A single finding says more than its kind.
        let message = details.first().filter(|detail| detail.field.is_none()).map(|detail| detail.message.clone());
        let message = message.unwrap_or_else(|| general.to_owned());
        Self { code, message, i18n_key, i18n_vars: Map::new(), details, correlation_id }
    }
}

/// A JSON answer in no envelope.
pub fn plain<T: Serialize>(status: StatusCode, data: &T) -> HttpResponse {
    json(status, encode(data))
}

/// A JSON answer.
#[must_use]
pub fn json(status: StatusCode, body: Vec<u8>) -> HttpResponse {
    HttpResponse::build(status).insert_header((CONTENT_TYPE, JSON)).body(body)
}

fn encode<T: Serialize>(data: &T) -> Vec<u8> {
    serde_json::to_vec(data).expect("answers are plain structs with string keys")
}
