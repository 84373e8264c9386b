//! Every way to say no, and what it says: the one place where errors become answers.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderName, RETRY_AFTER};
use serde::Serialize;

use crate::domain::Outcome;

/// How long a client should wait before it tries an unavailable service again.
const RETRY_AFTER_SECONDS: u64 = 2;

/// One violated rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
    pub message: String,
}

/// A request that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Validation(Vec<Detail>),
    MalformedJson { line: usize, column: usize },
    MalformedEncoding,
    UnsupportedMediaType,
    TooLarge,
    BodyTimeout,
    BodyAborted,
    Throttled { retry_after_seconds: u64 },
    Unavailable,
    NotFound,
    MethodNotAllowed { allow: &'static str },
}

/// What an answer says of a refusal.
pub struct Wording {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub i18n_key: &'static str,
    pub details: Vec<Detail>,
    pub headers: Vec<(HeaderName, String)>,
    pub outcome: Outcome,
    /// The connection cannot be used again: part of the request was left unread.
    pub close: bool,
}

impl Refusal {
    /// The answer's parts, for either envelope.
    #[must_use]
    pub fn wording(self) -> Wording {
        let plain = |status, code, i18n_key, message: &str, outcome| Wording {
            status,
            code,
            message: message.to_owned(),
            i18n_key,
            details: Vec::new(),
            headers: Vec::new(),
            outcome,
            close: false,
        };
        match self {
            Self::Validation(details) => Wording {
                details,
                ..plain(
                    StatusCode::BAD_REQUEST,
                    "VALIDATION_ERROR",
                    "error.validation",
                    "Validation failed",
                    Outcome::Invalid,
                )
            },
            Self::MalformedJson { line, column } => {
                let message = format!("Malformed JSON at line {line} column {column}");
                Wording {
                    details: vec![Detail { field: None, message: message.clone() }],
                    ..plain(
                        StatusCode::BAD_REQUEST,
                        "MALFORMED_JSON",
                        "error.json.malformed",
                        &message,
                        Outcome::Invalid,
                    )
                }
            }
            Self::MalformedEncoding => plain(
                StatusCode::BAD_REQUEST,
                "MALFORMED_ENCODING",
                "error.encoding.malformed",
                "The body does not decode as its Content-Encoding says",
                Outcome::Invalid,
            ),
            Self::UnsupportedMediaType => plain(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "error.media_type.unsupported",
                "Send JSON in UTF-8 as application/json or text/plain, plain or as gzip, br or zstd",
                Outcome::Invalid,
            ),
            Self::TooLarge => Wording {
                close: true,
                ..plain(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "PAYLOAD_TOO_LARGE",
                    "error.payload.too_large",
                    "The body is too large",
                    Outcome::Invalid,
                )
            },
            Self::BodyTimeout => Wording {
                close: true,
                ..plain(
                    StatusCode::REQUEST_TIMEOUT,
                    "REQUEST_TIMEOUT",
                    "error.request.timeout",
                    "The body took too long to arrive",
                    Outcome::Incomplete,
                )
            },
            Self::BodyAborted => Wording {
                close: true,
                ..plain(
                    StatusCode::BAD_REQUEST,
                    "BODY_INCOMPLETE",
                    "error.body.incomplete",
                    "The body did not arrive whole",
                    Outcome::Incomplete,
                )
            },
            Self::Throttled { retry_after_seconds } => Wording {
                headers: vec![(RETRY_AFTER, retry_after_seconds.to_string())],
                ..plain(
                    StatusCode::TOO_MANY_REQUESTS,
                    "THROTTLE_LIMIT_EXCEEDED",
                    "error.throttle.limit_exceeded",
                    "Too many requests",
                    Outcome::Throttled,
                )
            },
            Self::Unavailable => Wording {
                headers: vec![(RETRY_AFTER, RETRY_AFTER_SECONDS.to_string())],
                ..plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "SERVICE_UNAVAILABLE",
                    "error.service.unavailable",
                    "This could not be stored; try again",
                    Outcome::Unavailable,
                )
            },
            Self::NotFound => plain(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "error.route.not_found",
                "There is no such route",
                Outcome::NotFound,
            ),
            Self::MethodNotAllowed { allow } => Wording {
                headers: vec![(ALLOW, allow.to_owned())],
                ..plain(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "METHOD_NOT_ALLOWED",
                    "error.method.not_allowed",
                    "This route does not have that method",
                    Outcome::MethodNotAllowed,
                )
            },
        }
    }
}
