//! Every error that a client can get, and what it says: the one place where errors become answers.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use weir_domain::Outcome;
use weir_journal::AppendError;

use crate::auth::SignInError;
use crate::contract::{BodyError, Detail};
use crate::read::Unavailable;

/// How long a client should wait before it tries an unavailable service again.
const RETRY_AFTER_SECONDS: u64 = 2;

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    Validation(Vec<Detail>),
    MalformedJson {
        line: usize,
        column: usize,
    },
    MalformedEncoding,
    UnsupportedMediaType,
    TooLarge,
    BodyTimeout,
    BodyAborted,
    Throttled {
        retry_after_seconds: u64,
    },
    Unavailable,
    /// No bearer, or a bad one.
    Unauthorized,
    /// No key of a trusted service, or a wrong one.
    KeyRefused,
    /// A sign-in code that is not the address's live one, for whatever reason.
    CodeRefused,
    /// An id token that its provider did not make, or not for us, or not for now.
    IdTokenRefused,
    /// A funnel event with more data than the setting allows.
    EventDataTooLarge,
    UserNotFound,
    /// Another user has this address.
    EmailTaken,
    /// Another user has this referral code.
    ReferralCodeTaken,
    NotFound,
    MethodNotAllowed {
        /// The methods that the route has.
        allow: String,
    },
}

/// What every error of a kind says, and under which outcome it is counted.
#[derive(Clone, Copy)]
pub struct ErrorSpec {
    pub status: StatusCode,
    pub code: &'static str,
    pub i18n_key: &'static str,
    pub message: &'static str,
    pub outcome: Outcome,
}

impl ApiError {
    /// What errors of this kind say.
    #[must_use]
    #[rustfmt::skip] // a table: one line a row
    pub fn spec(&self) -> ErrorSpec {
        use StatusCode as S;
        let row = |status, code, i18n_key, message, outcome| ErrorSpec { status, code, i18n_key, message, outcome };
        match self {
            Self::Validation(_) => row(S::BAD_REQUEST, "VALIDATION_ERROR", "error.validation", "Validation failed", Outcome::Invalid),
            Self::MalformedJson { .. } => row(S::BAD_REQUEST, "MALFORMED_JSON", "error.json.malformed", "Malformed JSON", Outcome::Invalid),
            Self::MalformedEncoding => row(S::BAD_REQUEST, "MALFORMED_ENCODING", "error.encoding.malformed", "The body does not decode as its Content-Encoding says", Outcome::Invalid),
            Self::UnsupportedMediaType => row(S::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", "error.media_type.unsupported", "Send JSON in UTF-8 as application/json or text/plain, plain or as gzip, br or zstd", Outcome::Invalid),
            Self::TooLarge => row(S::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", "error.payload.too_large", "The body is too large", Outcome::Invalid),
            Self::BodyTimeout => row(S::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "error.request.timeout", "The body took too long to arrive", Outcome::Incomplete),
            Self::BodyAborted => row(S::BAD_REQUEST, "BODY_INCOMPLETE", "error.body.incomplete", "The body did not arrive whole", Outcome::Incomplete),
            Self::Throttled { .. } => row(S::TOO_MANY_REQUESTS, "THROTTLE_LIMIT_EXCEEDED", "error.throttle.limit_exceeded", "Too many requests", Outcome::Throttled),
            Self::Unavailable => row(S::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", "error.service.unavailable", "This cannot be done at the moment; try again", Outcome::Unavailable),
            Self::Unauthorized => row(S::UNAUTHORIZED, "AUTH_UNAUTHORIZED", "auth.unauthorized", "Sign in first", Outcome::Unauthorized),
            Self::KeyRefused => row(S::UNAUTHORIZED, "AUTH_UNAUTHORIZED", "auth.unauthorized", "This takes the key of a trusted service", Outcome::Unauthorized),
            Self::CodeRefused => row(S::UNAUTHORIZED, "AUTH_CODE_INVALID", "auth.code.invalid", "This code is not valid", Outcome::Unauthorized),
            Self::IdTokenRefused => row(S::UNAUTHORIZED, "AUTH_ID_TOKEN_INVALID", "auth.id_token.invalid", "This id token is not valid", Outcome::Unauthorized),
            Self::EventDataTooLarge => row(S::BAD_REQUEST, "ANALYTICS_EVENT_INVALID_DATA", "analytics.event.invalid_data", "The event's properties are too large", Outcome::Invalid),
            Self::UserNotFound => row(S::NOT_FOUND, "USER_NOT_FOUND", "error.user.not_found", "There is no such user", Outcome::NotFound),
            Self::EmailTaken => row(S::CONFLICT, "USER_EMAIL_TAKEN", "error.user.email_taken", "Another user has this address", Outcome::Invalid),
            Self::ReferralCodeTaken => row(S::CONFLICT, "USER_REFERRAL_CODE_TAKEN", "error.user.referral_code_taken", "Another user has this referral code", Outcome::Invalid),
            Self::NotFound => row(S::NOT_FOUND, "NOT_FOUND", "error.route.not_found", "There is no such route", Outcome::NotFound),
            Self::MethodNotAllowed { .. } => row(S::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "error.method.not_allowed", "This route does not have that method", Outcome::MethodNotAllowed),
        }
    }

    /// A header that belongs to this answer.
    #[must_use]
    pub fn header(&self) -> Option<(HeaderName, String)> {
        match self {
            Self::Throttled { retry_after_seconds } => Some((RETRY_AFTER, retry_after_seconds.to_string())),
            Self::Unavailable => Some((RETRY_AFTER, RETRY_AFTER_SECONDS.to_string())),
            Self::Unauthorized => Some((WWW_AUTHENTICATE, "Bearer".to_owned())),
            Self::MethodNotAllowed { allow } => Some((ALLOW, allow.clone())),
            _ => None,
        }
    }

    /// Whether part of the request was left unread, so that its connection cannot be used again.
    #[must_use]
    pub fn closes_connection(&self) -> bool {
        matches!(self, Self::TooLarge | Self::BodyTimeout | Self::BodyAborted)
    }

    /// What is wrong in particular.
    #[must_use]
    pub fn details(self) -> Vec<Detail> {
        match self {
            Self::Validation(details) => details,
            Self::MalformedJson { line, column } => {
                vec![Detail { field: None, message: format!("Malformed JSON at line {line} column {column}") }]
            }
            _ => Vec::new(),
        }
    }
}

/// What could not be made durable was not acknowledged.
impl From<AppendError> for ApiError {
    fn from(_: AppendError) -> Self {
        Self::Unavailable
    }
}

impl From<Unavailable> for ApiError {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::MalformedJson { line, column } => Self::MalformedJson { line, column },
            BodyError::Validation(details) => Self::Validation(details),
        }
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Refused => Self::CodeRefused,
            SignInError::Unavailable => Self::Unavailable,
        }
    }
}
