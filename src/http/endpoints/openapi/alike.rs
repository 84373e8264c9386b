//! What every operation says alike: errors and headers that follow from its row in the route table.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, Object, Ref, RefOr, Required, Response, ResponseBuilder, Type};

use crate::config::throttled;
use crate::http::endpoint::{Body, Endpoint, Verb};
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::ApiEnvelope;

/// Adds the answers that follow from the row: its throttle, its body, its journal or database.
pub fn complete(endpoint: &Endpoint, operation: &mut Operation) {
    let path = endpoint.path.text;
    let limited = throttled(endpoint.route);
    let mut add = |error: ApiError| {
        let status = error.spec().status.as_u16().to_string();
        operation.responses.responses.entry(status).or_insert_with(|| RefOr::T(response_of(path, &error, limited)));
    };
    if endpoint.method != Verb::Get {
        // Also without a body of its own: what nobody asked for is read and forgotten, and may be broken or slow.
        for error in [ApiError::Validation(Vec::new()), ApiError::BodyTimeout] {
            add(error);
        }
    }
    if endpoint.body != Body::None {
        add(ApiError::UnsupportedMediaType);
        add(ApiError::TooLarge);
    }
    if path.contains('{') {
        // An id with a slash in it is another path.
        add(ApiError::NotFound);
    }
    if limited {
        add(ApiError::Throttled { retry_after_seconds: 1 });
    }
    if endpoint.can_be_unavailable {
        add(ApiError::Unavailable);
    }
    if let (Body::OptionalJson { .. }, Some(RefOr::T(body))) = (endpoint.body, &mut operation.request_body) {
        body.required = Some(Required::False);
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            decorate(response, limited);
        }
    }
}

fn response_of(path: &str, error: &ApiError, limited: bool) -> Response {
    let schema = match ApiEnvelope::at(path) {
        ApiEnvelope::Wrapped => "WrappedError",
        ApiEnvelope::Bare => "BareError",
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    let mut response =
        ResponseBuilder::new().description(error.spec().message).content("application/json", content).build();
    if let Some((name, _)) = error.header() {
        response.headers.insert(canonical(name.as_str()), text_header("See RFC 9110."));
    }
    decorate(&mut response, limited);
    response
}

/// Headers that every answer has.
fn decorate(response: &mut Response, limited: bool) {
    let mut add = |name: &str, description: &str| {
        response.headers.entry(name.to_owned()).or_insert_with(|| text_header(description));
    };
    add("X-Request-Id", "The request's own, or a new one.");
    if limited {
        add("RateLimit-Policy", "The route's limit: requests (q) in a window of seconds (w).");
        add("RateLimit", "What is left of it (r), and for how many seconds (t).");
    }
}

fn text_header(description: &str) -> RefOr<utoipa::openapi::Header> {
    let text = Object::with_type(Type::String);
    RefOr::T(HeaderBuilder::new().schema(Some(text)).description(Some(description)).build())
}

/// `retry-after` as people write it.
fn canonical(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let (first, rest) = part.split_at(part.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    parts.collect::<Vec<_>>().join("-")
}
