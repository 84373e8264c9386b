//! The answer to a request on its way: from the handler, and through the commit where the reply depends on one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use futures_util::future::LocalBoxFuture;
use weir_domain::Outcome;
use weir_journal::AppendError;

use super::context::RequestContext;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope;
use crate::http::protocol::reply::{Otherwise, PendingCommit, Reply};
use crate::telemetry::Stage;

/// What is left of a request when its handler has done its work.
pub struct Handled {
    pub context: RequestContext,
    pub reply: Result<Reply, ApiError>,
}

/// A request on its way out. Written by hand, because what an `async fn` of this shape keeps is four times as large.
#[allow(clippy::large_enum_variant)] // every request becomes the large one: a box would be one more allocation
pub enum ResponseFuture {
    /// The handler is at work. It owns the request.
    Handling(LocalBoxFuture<'static, Handled>),
    /// The request is gone, with everything that served it.
    Responding { request: RequestContext, response: Response },
}

/// How far the answer is.
pub enum Response {
    /// It waits for its record.
    Committing { commit: PendingCommit, body: Vec<u8>, otherwise: Otherwise },
    /// It is there, until it is given.
    Known(Option<(HttpResponse, Outcome)>),
}

impl ResponseFuture {
    /// The answer that is known without a handler.
    #[must_use]
    pub fn known(request: RequestContext, outcome: Outcome, response: HttpResponse) -> Self {
        Self::Responding { request, response: Response::Known(Some((response, outcome))) }
    }

    /// Goes on without the handler, which is dropped here: what stays alive across an fsync is paid for twice.
    fn respond(&mut self, Handled { context: request, reply }: Handled) {
        let response = match reply {
            Ok(Reply::Now { outcome, response }) => Response::Known(Some((response, outcome))),
            Ok(Reply::AfterCommit { commit, body, otherwise }) => Response::Committing { commit, body, otherwise },
            Err(error) => Response::Known(Some(request.envelope.error(&request.id, error))),
        };
        *self = Self::Responding { request, response };
    }
}

impl Future for ResponseFuture {
    type Output = Result<HttpResponse, actix_http::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut *self {
                Self::Handling(handler) => {
                    let answered = ready!(handler.as_mut().poll(context));
                    self.respond(answered);
                }
                Self::Responding { request, response } => {
                    let (response, outcome) = ready!(response.poll(request, context));
                    return Poll::Ready(Ok(request.finish(response, outcome)));
                }
            }
        }
    }
}

impl Response {
    /// Completes with the answer, once, when it is known what became of the record that it depends on.
    fn poll(&mut self, request: &RequestContext, context: &mut Context<'_>) -> Poll<(HttpResponse, Outcome)> {
        match self {
            Self::Committing { commit, body, otherwise } => {
                // It waits where it is: moving it costs more.
                let committed = ready!(Pin::new(&mut *commit).poll(context));
                request.app().telemetry.stage(Stage::Journal, commit.began.elapsed());
                Poll::Ready(after_commit(request, committed, std::mem::take(body), *otherwise))
            }
            Self::Known(answer) => answer.take().map_or(Poll::Pending, Poll::Ready),
        }
    }
}

/// The answer, now that it is known what became of the record.
fn after_commit(
    request: &RequestContext,
    committed: Result<(), AppendError>,
    body: Vec<u8>,
    otherwise: Otherwise,
) -> (HttpResponse, Outcome) {
    match (committed, otherwise) {
        (Ok(()), _) => (envelope::json(StatusCode::OK, body), Outcome::Accepted),
        (Err(_), Otherwise::Body(null)) => {
            (envelope::json(StatusCode::OK, null(request.envelope)), Outcome::Unavailable)
        }
        (Err(error), Otherwise::Error) => request.envelope.error(&request.id, error.into()),
    }
}
