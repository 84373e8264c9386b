//! Finds the endpoint of a request in the table of `endpoints`.

use actix_web::http::Method;
use weir_domain::Route;

use super::endpoint::Endpoint;
use super::endpoints::ENDPOINTS;

/// What is below this path is counted with its page, also when it is not there.
const DOCS: (&str, Route) = ("/docs/", Route::Documentation);

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
    use crate::http::endpoint::Bearer::{self, Optional, Required};
    use crate::http::endpoint::Body;
    use crate::http::endpoints::DOCUMENT;

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
