//! What every request passes first and last: its id, CORS, its one count, its log line; and the wait for its record.
//!
//! It stands around the whole application and not in it: the application's answer may be a promise, and whatever served the
//! request is gone before that is waited for. Invariant: a request is counted exactly once, also when its client goes away
//! before the answer.

use std::borrow::Cow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_http::Request;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceResponse, Url};
use actix_web::http::{Method, Uri};
use actix_web::{Error, HttpResponse, web};

use super::connection::{Connection, Serving};
use super::request_id::{self, RequestId};
use super::{AppState, cors, routes};
use crate::domain::{Outcome, Route};
use crate::telemetry::Stage;

/// A request between its head and its answer: what is known of it when it comes, and needed when it is answered.
pub struct Edge {
    app: Rc<web::Data<AppState>>,
    serving: Serving,
    route: Route,
    method: Method,
    origin: cors::Origin,
    began: Instant,
    open: bool,
}

impl Edge {
    /// Lets a request in.
    ///
    /// # Panics
    /// When it came past the listeners, which all have [`super::Wire`].
    #[must_use]
    pub fn enter(app: &Rc<web::Data<AppState>>, request: &Request) -> Self {
        let (began, app) = (Instant::now(), Rc::clone(app));
        let head = request.head();
        let path = routed(&head.uri);
        let origin = cors::Origin::of(&path, &head.headers, &app.network.cors_origins);
        let route = routes::route_of(&path);
        let serving = Connection::serve(request);
        serving.passage().begin(RequestId::of(&head.headers));
        Self { app, serving, route, method: head.method.clone(), origin, began, open: true }
    }

    /// The whole answer when a browser only asks for permission.
    #[must_use]
    pub fn permission(&self, request: &Request) -> Option<HttpResponse> {
        let head = request.head();
        cors::is_preflight(head).then(|| {
            self.serving.passage().note(Outcome::Preflight);
            cors::preflight(&head.headers)
        })
    }

    /// Answers it with what the application has to say.
    pub fn ask<F>(self, application: F) -> Leaving<F> {
        Leaving { edge: self, inside: Inside::Asked(application) }
    }

    /// Answers it without the application.
    pub fn answer<F>(self, response: HttpResponse) -> Leaving<F> {
        Leaving { edge: self, inside: Inside::Known(response) }
    }

    /// Completes when it is known what became of the record that the answer depends on.
    fn poll_promise(&self, context: &mut Context<'_>) -> Poll<HttpResponse> {
        let passage = self.serving.passage();
        let (promise, durable) = ready!(passage.poll_promise(context));
        self.app.telemetry.stage(Stage::Journal, promise.keeping.began.elapsed());
        let (response, outcome) = promise.answer(durable, &passage.id());
        passage.note(outcome);
        Poll::Ready(response)
    }

    /// The answer with what stands on all of them, counted and logged.
    fn close(&mut self, mut response: HttpResponse) -> HttpResponse {
        let passage = self.serving.passage();
        if let Some(admission) = passage.admission() {
            admission.decorate(&mut response);
        }
        let id = passage.id();
        response.headers_mut().insert(request_id::HEADER, id.to_header());
        self.origin.decorate(response.headers_mut());
        let status = response.status().as_u16();
        let outcome = passage.outcome().unwrap_or(if status < 400 { Outcome::Served } else { Outcome::Failed });
        let took = self.count(outcome, status);
        tracing::debug!(
            request_id = %id,
            method = %self.method,
            route = self.route.label(),
            status,
            outcome = outcome.label(),
            took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "request"
        );
        response
    }

    fn count(&mut self, outcome: Outcome, status: u16) -> Duration {
        self.open = false;
        let now = Instant::now();
        let took = now - self.began;
        self.serving.answered(now);
        self.app.telemetry.request_finished(self.route, outcome, status, took);
        took
    }
}

/// A request on its way out. Written by hand, because what an `async fn` of this shape keeps is four times as large.
pub struct Leaving<F> {
    edge: Edge,
    inside: Inside<F>,
}

enum Inside<F> {
    /// The application is at work.
    Asked(F),
    /// The answer is there.
    Known(HttpResponse),
    /// What served the request is gone, and the answer waits for its record; or it was given.
    Over,
}

impl<B: MessageBody + 'static, F: Future<Output = Result<ServiceResponse<B>, Error>> + Unpin> Future for Leaving<F> {
    type Output = Result<HttpResponse, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { edge, inside } = &mut *self;
        if let Inside::Asked(application) = inside {
            // Routing itself never fails; an error here is a defect, and is answered, counted and logged like any answer.
            let response = match ready!(Pin::new(application).poll(context)) {
                Ok(served) => served.into_parts().1.map_into_boxed_body(),
                Err(error) => HttpResponse::from_error(error),
            };
            *inside = if edge.serving.passage().has_promise() { Inside::Over } else { Inside::Known(response) };
        }
        let response = match std::mem::replace(inside, Inside::Over) {
            Inside::Known(response) => response,
            Inside::Asked(_) | Inside::Over => ready!(edge.poll_promise(context)),
        };
        Poll::Ready(Ok(edge.close(response)))
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if self.open {
            if std::thread::panicking() {
                self.count(Outcome::Failed, 500);
            } else {
                // 499: the client closed the connection (a status of nginx's, never sent).
                self.count(Outcome::Abandoned, 499);
            }
        }
    }
}

/// A path as it is routed: `%61` and `a` are one.
fn routed(uri: &Uri) -> Cow<'_, str> {
    if uri.path().contains('%') {
        Cow::Owned(Url::new(uri.clone()).path().to_owned())
    } else {
        Cow::Borrowed(uri.path())
    }
}
