//! Cross-origin rules (WHATWG Fetch, "HTTP-CORS protocol").
//!
//! Beacons always carry credentials, so the routes that take beacons reflect the origin and allow credentials; no cookie
//! is ever read there. Everything else is open without credentials. The header stands on every answer, errors included:
//! a script that cannot read the error cannot act on it.

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

use crate::config::Origins;

const CREDENTIAL_PREFIXES: [&str; 3] = ["/api/v1/analytics/", "/api/v1/consent/", "/track/"];
const EXPOSED: &str = "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy";
const METHODS: &str = "GET, POST, PATCH, OPTIONS";
const DAY_SECONDS: &str = "86400";

/// What the request's origin may see.
pub struct Origin {
    allowed: Option<HeaderValue>,
    credentials: bool,
}

impl Origin {
    /// Judges the `Origin` header of a request to this path.
    #[must_use]
    pub fn of(path: &str, headers: &HeaderMap, origins: &Origins) -> Self {
        let credentials = CREDENTIAL_PREFIXES.iter().any(|prefix| path.starts_with(prefix));
        let origin = headers.get(header::ORIGIN);
        let allowed = match (origin, origins) {
            (None, _) => None,
            // The wildcard is no answer to a request with credentials.
            (Some(origin), Origins::Any) if credentials => Some(origin.clone()),
            (Some(_), Origins::Any) => Some(HeaderValue::from_static("*")),
            (Some(origin), Origins::Only(list)) => {
                list.iter().any(|listed| listed.matches(origin.as_bytes())).then(|| origin.clone())
            }
        };
        Self { allowed, credentials }
    }

    /// Puts the headers on an answer.
    pub fn decorate(&mut self, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(allowed) = self.allowed.take() else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// The lines of an answer to a request whose origin nobody read. Where any is allowed, so is this one, without credentials.
#[must_use]
pub fn lines_for_unknown_origin(origins: &Origins) -> String {
    match origins {
        Origins::Any => {
            format!("vary: Origin\r\naccess-control-allow-origin: *\r\naccess-control-expose-headers: {EXPOSED}\r\n")
        }
        Origins::Only(_) => "vary: Origin\r\n".to_owned(),
    }
}

/// The whole answer when a browser only asks for permission, which is good for a day. Whatever headers are asked for are
/// allowed: Weir ignores those it does not know.
#[must_use]
pub fn preflight(head: &RequestHead) -> Option<HttpResponse> {
    let is_preflight = head.method == Method::OPTIONS
        && head.headers.contains_key(header::ORIGIN)
        && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    is_preflight.then(|| {
        let mut response = HttpResponse::NoContent()
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, DAY_SECONDS))
            .finish();
        if let Some(asked) = head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        response
    })
}
