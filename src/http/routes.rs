//! The route table: one row an endpoint. Routing, labels and the `OpenAPI` document are read from it.
//!
//! A new endpoint is a file in `endpoints`, its row here, and its label in [`Route`].

use std::sync::LazyLock;

use actix_web::http::Method;
use weir_domain::Route;

use super::call::{Call, serve};
use super::endpoint::Bearer::{Optional, Required};
use super::endpoint::Verb::{Get, Patch, Post};
use super::endpoint::{Body, Endpoint};
use super::endpoints::{
    auth, batch, consent, health, internal, metrics, openapi, pageview, session, track, users, visitors,
};
use super::protocol::api_error::ApiError;
use super::protocol::body::{BATCH_MAX_BYTES, MAX_BYTES};
use super::protocol::reply::Reply;

const JSON: Body = Body::Json { max_bytes: MAX_BYTES };
const OPTIONAL_JSON: Body = Body::OptionalJson { max_bytes: MAX_BYTES };
const BATCH_JSON: Body = Body::Json { max_bytes: BATCH_MAX_BYTES };

/// A handler with its part of the document.
macro_rules! described {
    ($module:ident::$handler:ident) => {
        (|incoming| serve(incoming, $module::$handler), {
            #[derive(utoipa::OpenApi)]
            #[openapi(paths($module::$handler))]
            struct Described;
            Some(<Described as utoipa::OpenApi>::openapi)
        })
    };
}

/// A handler that the document passes over.
macro_rules! undescribed {
    ($handler:expr) => {
        (|incoming| serve(incoming, $handler), None)
    };
}

/// Every endpoint. Rows of one path stand together.
#[rustfmt::skip] // a table: one line a row
pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint::new(Post, "/api/v1/analytics/session", Route::Session, described!(session::create)).body(JSON).never_unavailable(),
    Endpoint::new(Patch, "/api/v1/analytics/session/{id}/identify", Route::Identify, described!(session::identify)).bearer(Required),
    Endpoint::new(Patch, "/api/v1/analytics/session/{id}/heartbeat", Route::Heartbeat, described!(session::heartbeat)),
    Endpoint::new(Post, "/api/v1/analytics/pageview", Route::Pageview, described!(pageview::view)).body(JSON).never_unavailable(),
    Endpoint::new(Patch, "/api/v1/analytics/pageview/{id}/leave", Route::Leave, described!(pageview::leave)).body(JSON),
    Endpoint::new(Post, "/api/v1/analytics/pageview/{id}/leave", Route::Leave, described!(pageview::leave_by_beacon)).body(JSON),
    Endpoint::new(Post, "/api/v1/analytics/batch", Route::Batch, described!(batch::batch)).body(BATCH_JSON).never_unavailable(),
    Endpoint::new(Post, "/api/v1/analytics/track", Route::Track, described!(track::track)).body(JSON).bearer(Required),
    Endpoint::new(Get, "/api/v1/users/attribution", Route::Attribution, described!(users::attribution)).bearer(Required),
    Endpoint::new(Get, "/api/v1/users/consent", Route::ConsentHistory, described!(users::consents)).bearer(Required),
    Endpoint::new(Post, "/api/v1/consent/cookies", Route::Consent, described!(consent::save)).body(JSON).bearer(Optional),
    Endpoint::new(Get, "/api/v1/consent/cookies/status", Route::ConsentStatus, described!(consent::status)).bearer(Optional),
    Endpoint::new(Get, "/api/v1/consent/cookies/policy", Route::ConsentPolicy, described!(consent::policy)).never_unavailable(),
    Endpoint::new(Post, "/track/init", Route::TrackInit, described!(visitors::init)).body(OPTIONAL_JSON),
    Endpoint::new(Post, "/auth/request-code", Route::AuthCode, described!(auth::request_code)).body(JSON),
    Endpoint::new(Post, "/auth/verify", Route::AuthVerify, described!(auth::verify)).body(JSON),
    Endpoint::new(Post, "/auth/external/verify", Route::AuthExternal, described!(auth::external)).body(JSON),
    Endpoint::new(Post, "/internal/v1/users", Route::InternalUsers, described!(internal::create_user)).body(JSON),
    Endpoint::new(Get, "/health/live", Route::Health, described!(health::live)).unguarded().never_unavailable(),
    Endpoint::new(Get, "/health/ready", Route::Health, described!(health::ready)).unguarded().never_unavailable(),
    Endpoint::new(Get, "/metrics", Route::Metrics, described!(metrics::metrics)).unguarded().never_unavailable(),
    Endpoint::new(Get, "/openapi.json", Route::Documentation, undescribed!(openapi_json)).unguarded(),
    Endpoint::new(Get, "/docs", Route::Documentation, undescribed!(openapi::page)).unguarded(),
    Endpoint::new(Get, "/docs/{file}", Route::Documentation, undescribed!(openapi::file)).unguarded(),
];

/// What is below this path is counted with its page, also when it is not there.
const DOCS: (&str, Route) = ("/docs/", Route::Documentation);

static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document(ENDPOINTS));

/// `GET /openapi.json`: the table, described.
async fn openapi_json(_: &mut Call<'_>) -> Result<Reply, ApiError> {
    Ok(openapi::json(&DOCUMENT))
}

/// Which of the table a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Everything,
    /// Where the metrics have a listener of their own.
    AllButMetrics,
    MetricsOnly,
}

/// What a method and a path lead to.
pub enum Found {
    Endpoint(&'static Endpoint),
    /// The path has these methods, and not this one.
    OtherMethods(String),
    Nothing,
}

/// Finds the endpoint of a routed path, and the name under which the request is counted. That is the path's, whichever its
/// method and its listener.
#[must_use]
pub fn find(listener: Listener, method: &Method, path: &str) -> (Route, Found) {
    let of_path = || ENDPOINTS.iter().filter(|endpoint| endpoint.path.matches(path));
    let Some(first) = of_path().next() else {
        let (prefix, route) = DOCS;
        return (if path.starts_with(prefix) { route } else { Route::Other }, Found::Nothing);
    };
    if !listener.serves(first.route) {
        return (first.route, Found::Nothing);
    }
    let found = match of_path().find(|endpoint| endpoint.method.allows(method)) {
        Some(endpoint) => Found::Endpoint(endpoint),
        None => Found::OtherMethods(of_path().map(|endpoint| endpoint.method.allow()).collect::<Vec<_>>().join(", ")),
    };
    (first.route, found)
}

impl Listener {
    fn serves(self, route: Route) -> bool {
        match self {
            Self::Everything => true,
            Self::AllButMetrics => route != Route::Metrics,
            Self::MetricsOnly => route == Route::Metrics,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::http::endpoint::Bearer;

    fn document() -> Value {
        serde_json::from_str(&DOCUMENT).unwrap()
    }

    /// Each described endpoint with its operation.
    fn operations() -> Vec<(&'static Endpoint, Value)> {
        let document = document();
        let described = ENDPOINTS.iter().filter(|endpoint| endpoint.openapi.is_some());
        let operation = |endpoint: &Endpoint| {
            let method = format!("{:?}", endpoint.method).to_lowercase();
            document["paths"][endpoint.path.text][method].clone()
        };
        described.map(|endpoint| (endpoint, operation(endpoint))).collect()
    }

    #[test]
    fn row_and_document_name_the_same_path_method_body_and_caller() {
        for (endpoint, operation) in operations() {
            let path = endpoint.path.text;
            assert!(operation["operationId"].is_string(), "{path} is described under another path or method");
            assert_eq!(endpoint.body != Body::None, operation.get("requestBody").is_some(), "{path}");
            let of_bearer = |security: &Value| security.get("bearer").is_some();
            let security = operation["security"].as_array().cloned().unwrap_or_default();
            let expected = match (security.iter().any(of_bearer), security.len()) {
                (true, 1) => Required,
                (true, _) => Optional,
                (false, _) => Bearer::Ignored,
            };
            assert_eq!(endpoint.bearer, expected, "{path}");
        }
    }

    #[test]
    fn document_has_the_operations_of_the_rows_and_no_others() {
        let operations = operations();
        let ids: BTreeSet<&str> = operations.iter().map(|(_, it)| it["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), operations.len(), "every operation has an id of its own");
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let described: usize = paths.values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(described, operations.len());
    }

    #[test]
    fn label_of_every_row_is_found_by_its_path() {
        for endpoint in ENDPOINTS {
            let path = endpoint.path.text.replace("{id}", "01a1fba7-29af-74da-8a04-14eb46ead50e");
            let (route, found) = find(Listener::Everything, &Method::PUT, &path.replace("{file}", "x"));
            assert_eq!(route, endpoint.route, "{path}");
            assert!(matches!(found, Found::OtherMethods(allow) if allow.contains(endpoint.method.allow())), "{path}");
        }
        let labels: BTreeSet<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.route.label()).collect();
        let all: BTreeSet<&str> = Route::ALL.iter().map(|route| route.label()).collect();
        assert_eq!(all.difference(&labels).collect::<Vec<_>>(), [&"other"], "labels without an endpoint");
    }

    #[test]
    fn method_that_a_path_does_not_have_gets_those_that_it_has() {
        let allowed = |path| match find(Listener::Everything, &Method::DELETE, path) {
            (_, Found::OtherMethods(allow)) => allow,
            _ => panic!("{path} has DELETE, or is not there"),
        };
        assert_eq!(allowed("/api/v1/analytics/session"), "POST");
        assert_eq!(allowed("/api/v1/analytics/pageview/x/leave"), "PATCH, POST");
        assert_eq!(allowed("/health/live"), "GET, HEAD");
    }

    #[test]
    fn path_that_is_not_there_has_the_label_of_no_endpoint() {
        for (path, expected) in [
            ("/", Route::Other),
            ("", Route::Other),
            ("/api/v1/analytics/session/", Route::Other),
            ("/api/v1/analytics/session//identify", Route::Other),
            ("/docs/", Route::Documentation),
            ("/docs/a/b", Route::Documentation),
        ] {
            let (route, found) = find(Listener::Everything, &Method::GET, path);
            assert!(matches!(found, Found::Nothing) && route == expected, "{path}");
        }
    }

    #[test]
    fn metrics_with_a_listener_of_their_own_are_there_alone() {
        let is_there = |listener, path| {
            let (route, found) = find(listener, &Method::GET, path);
            (route.label(), matches!(found, Found::Endpoint(_)))
        };
        assert_eq!(is_there(Listener::AllButMetrics, "/metrics"), ("metrics", false));
        assert_eq!(is_there(Listener::AllButMetrics, "/health/live"), ("health", true));
        assert_eq!(is_there(Listener::MetricsOnly, "/metrics"), ("metrics", true));
        assert_eq!(is_there(Listener::MetricsOnly, "/health/live"), ("health", false));
    }
}
