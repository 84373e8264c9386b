//! A row of the route table: what is known of an endpoint before its handler is called.

use actix_http::Request;
use actix_web::http::Method;
use futures_util::future::LocalBoxFuture;
use utoipa::openapi::OpenApi;
use weir_domain::Route;

use super::middleware::{Handled, RequestContext};
use super::protocol::path::PathPattern;

/// One method of one path.
#[derive(Clone, Copy)]
pub struct Endpoint {
    pub method: Verb,
    pub path: PathPattern,
    /// The name under which it is counted, throttled and logged.
    pub route: Route,
    pub bearer: Bearer,
    pub body: Body,
    /// Whether it asks its route's throttle and reads what is left of a body. What operators and browsers ask for does not.
    pub is_guarded: bool,
    /// Whether it can be answered with 503.
    pub can_be_unavailable: bool,
    pub handler: Handler,
    /// Its part of the `OpenAPI` document, where it is described.
    pub openapi: Option<fn() -> OpenApi>,
}

/// The methods that endpoints have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// And HEAD.
    Get,
    Post,
    Patch,
}

/// Whether the caller is to be signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    Ignored,
    /// A caller may be signed in.
    Optional,
    /// A caller who is not signed in gets a 401.
    Required,
}

/// What is expected of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Whatever comes is read and forgotten.
    None,
    /// JSON of so many bytes at most, before and after decompression.
    Json { max_bytes: usize },
    /// The same, where all fields are optional: an empty body is an empty object.
    OptionalJson { max_bytes: usize },
}

/// Serves a request. The future owns it.
pub type Handler = fn(Incoming) -> LocalBoxFuture<'static, Handled>;

/// A request on its way to its handler.
pub struct Incoming {
    pub context: RequestContext,
    pub request: Request,
    pub endpoint: &'static Endpoint,
}

impl Endpoint {
    /// An endpoint that is throttled, ignores bearers and bodies, and may be unavailable.
    pub const fn new(
        method: Verb,
        path: &'static str,
        route: Route,
        (handler, openapi): (Handler, Option<fn() -> OpenApi>),
    ) -> Self {
        let (bearer, body) = (Bearer::Ignored, Body::None);
        let path = PathPattern::new(path);
        Self { method, path, route, bearer, body, is_guarded: true, can_be_unavailable: true, handler, openapi }
    }

    /// It is asked for by operators and browsers: it is not throttled, and leaves bodies alone.
    pub const fn unguarded(self) -> Self {
        Self { is_guarded: false, ..self }
    }

    /// It says in its own way that something is not stored, or has nothing to store.
    pub const fn never_unavailable(self) -> Self {
        Self { can_be_unavailable: false, ..self }
    }

    /// It takes a body.
    pub const fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }

    /// It wants to know the caller.
    pub const fn bearer(self, bearer: Bearer) -> Self {
        Self { bearer, ..self }
    }
}

impl Verb {
    /// Whether a request with this method is meant.
    #[must_use]
    pub fn allows(self, method: &Method) -> bool {
        match self {
            Self::Get => method == Method::GET || method == Method::HEAD,
            Self::Post => method == Method::POST,
            Self::Patch => method == Method::PATCH,
        }
    }

    /// As it stands in `Allow`.
    #[must_use]
    pub fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::Patch => "PATCH",
        }
    }
}

impl Body {
    /// The most bytes that are read of it.
    #[must_use]
    pub fn max_bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::Json { max_bytes } | Self::OptionalJson { max_bytes } => max_bytes,
        }
    }
}
