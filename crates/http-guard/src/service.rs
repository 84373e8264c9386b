//! A request's time in service: from its head to its answer, only its own body is read.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::Request;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, forward_ready};
use futures_util::future::LocalBoxFuture;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::connection::Connection;

pin_project! {
    /// The answer to a request on its way. The connection awaits its next request when this is dropped.
    pub struct InService<F> {
        guard: Option<RequestGuard>,
        #[pin]
        answer: F,
    }
}

struct RequestGuard(Rc<Connection>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.finish_request();
    }
}

/// Makes services that tell the connection of each request that it is in service.
pub struct GuardedFactory<F> {
    factory: F,
}

/// A service that tells the connection of each request that it is in service.
pub struct GuardedService<S> {
    service: S,
}

/// The same service with guarded requests. [`serve`](crate::serve) does it by itself; it is for servers of another make.
pub fn guard_requests<F: ServiceFactory<Request>>(service: impl IntoServiceFactory<F, Request>) -> GuardedFactory<F> {
    GuardedFactory { factory: service.into_factory() }
}

impl<F: ServiceFactory<Request>> ServiceFactory<Request> for GuardedFactory<F>
where
    F::Future: 'static,
{
    type Response = F::Response;
    type Error = F::Error;
    type Config = F::Config;
    type Service = GuardedService<F::Service>;
    type InitError = F::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, Self::InitError>>;

    fn new_service(&self, config: F::Config) -> Self::Future {
        let service = self.factory.new_service(config);
        Box::pin(async { Ok(GuardedService { service: service.await? }) })
    }
}

impl<S: Service<Request>> Service<Request> for GuardedService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = InService<S::Future>;

    forward_ready!(service);

    fn call(&self, request: Request) -> Self::Future {
        let guard = Connection::of(&request).map(|connection| {
            connection.begin_request(&request);
            RequestGuard(Rc::clone(connection))
        });
        InService { guard, answer: self.service.call(request) }
    }
}

impl<F: Future> Future for InService<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(context));
        if let Some(RequestGuard(connection)) = this.guard {
            connection.answered(Instant::now());
        }
        Poll::Ready(answer)
    }
}
