//! The service that a listener's workers run: every request finds its endpoint here, and leaves by its response future.

use std::rc::Rc;

use actix_http::Request;
use actix_web::web::Data;
use weir_domain::Outcome;

use super::call::refuse;
use super::endpoint::Incoming;
use super::middleware::{RequestContext, ResponseFuture, cors};
use super::protocol::api_error::ApiError;
use super::protocol::path::routed_path;
use super::routes::{self, Found, Listener};
use super::state::AppState;

/// One worker's.
#[derive(Clone)]
pub struct HttpApi {
    /// Each worker's own: a request's handle on it is counted without the other cores.
    app: Rc<Data<AppState>>,
    listener: Listener,
}

impl HttpApi {
    /// What this listener answers.
    #[must_use]
    pub fn new(app: Data<AppState>, listener: Listener) -> Self {
        Self { app: Rc::new(app), listener }
    }

    /// Answers a request.
    #[must_use]
    pub fn on_request(&self, request: Request) -> ResponseFuture {
        let path = routed_path(request.uri());
        let (route, found) = routes::find(self.listener, request.method(), &path);
        let mut context = RequestContext::begin(&self.app, &request, &path, route);
        drop(path);
        if let Some(response) = cors::preflight(request.head()) {
            return ResponseFuture::known(context, Outcome::Preflight, response);
        }
        ResponseFuture::Handling(match found {
            Found::Endpoint(endpoint) => {
                if endpoint.is_guarded {
                    context.identify_client(&request);
                }
                (endpoint.handler)(Incoming { context, request, endpoint })
            }
            Found::OtherMethods(allow) => refuse(context, request, ApiError::MethodNotAllowed { allow }),
            Found::Nothing => refuse(context, request, ApiError::NotFound),
        })
    }
}
