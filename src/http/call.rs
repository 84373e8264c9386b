//! What every endpoint does around its own work: ask the throttle, find the caller, read what is left of the body.
//!
//! Invariants: the order is the contract's: throttle, then bearer or key, then validation, then the endpoint's own rules.
//! Whatever happens, the body is read to its end: a connection with unread bytes on it is lost. When the future of
//! [`serve`] completes, the request is gone.

use std::borrow::Cow;
use std::time::Instant;

use actix_http::{Request, RequestHead};
use actix_web::http::header::HeaderMap;
use actix_web::web::Bytes;
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use weir_domain::Outcome;
use weir_http_guard::GuardedBody;

use super::endpoint::{Bearer, Endpoint, Incoming};
use super::middleware::{Handled, RequestContext, RequestId};
use super::protocol::api_error::ApiError;
use super::protocol::client::{self, Client};
use super::protocol::envelope::ApiEnvelope;
use super::protocol::path::routed_path;
use super::protocol::reply::{PendingCommit, Reply};
use super::protocol::{bearer, body};
use super::state::AppState;
use crate::auth::UserId;
use crate::contract::Cut;
use crate::telemetry::{Stage, name};

/// A request that was let in, as its handler sees it.
pub struct Call<'a> {
    pub app: &'a AppState,
    pub client: Client,
    head: &'a RequestHead,
    endpoint: &'a Endpoint,
    request_id: &'a RequestId,
    envelope: ApiEnvelope,
    user: Option<UserId>,
    body: Option<GuardedBody>,
}

/// Lets a request in, or not, and has it handled.
pub fn serve<H>(mut incoming: Incoming, handler: H) -> LocalBoxFuture<'static, Handled>
where
    H: AsyncFnOnce(&mut Call<'_>) -> Result<Reply, ApiError> + 'static,
{
    // A block and not an `async fn`: that would have room for its arguments twice.
    Box::pin(async move {
        let body = GuardedBody::take_from(&mut incoming.request);
        let (context, endpoint) = (&incoming.context, incoming.endpoint);
        let mut call = Call {
            app: context.app(),
            client: context.client,
            head: incoming.request.head(),
            endpoint,
            request_id: &context.id,
            envelope: context.envelope,
            user: None,
            body: Some(body),
        };
        if endpoint.is_guarded {
            weir_fail_points::step("http.endpoint");
        }
        let admitted = context.rate_limit.error().map_or(Ok(()), Err).and_then(|()| call.find_caller());
        let reply = match admitted {
            Ok(()) => handler(&mut call).await,
            Err(error) => Err(error),
        };
        if let Some(unread) = call.body.take()
            && endpoint.is_guarded
        {
            body::drain(unread).await;
        }
        Handled { context: incoming.context, reply }
    })
}

/// Has a request refused that no endpoint is there for.
pub fn refuse(context: RequestContext, mut request: Request, error: ApiError) -> LocalBoxFuture<'static, Handled> {
    Box::pin(async move {
        body::drain(GuardedBody::take_from(&mut request)).await;
        Handled { context, reply: Err(error) }
    })
}

impl Call<'_> {
    /// The whole body, as long as the endpoint's row allows.
    ///
    /// # Errors
    /// When it is no JSON by its headers, too large, too slow, or not whole.
    pub async fn body(&mut self) -> Result<Bytes, ApiError> {
        match self.body.take() {
            Some(body) => body::read(self.headers(), body, self.endpoint.body.max_bytes()).await,
            None => Ok(Bytes::new()),
        }
    }

    /// The caller, where the endpoint's row requires one. It is given out once.
    ///
    /// # Errors
    /// When there is none.
    pub fn user(&mut self) -> Result<UserId, ApiError> {
        self.optional_user().ok_or(ApiError::Unauthorized)
    }

    /// The caller, where the endpoint's row asks for one and there is one. It is given out once.
    pub fn optional_user(&mut self) -> Option<UserId> {
        self.user.take()
    }

    /// The request's headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The `User-Agent` header, where there is one with something in it.
    #[must_use]
    pub fn user_agent(&self) -> Option<Cow<'_, str>> {
        client::user_agent(self.headers()).filter(|user_agent| !user_agent.is_empty())
    }

    /// Whether the caller's user agent is a bot's; it is counted if so.
    #[must_use]
    pub fn is_bot(&self) -> bool {
        self.app.enricher.is_bot(self.user_agent().as_deref())
    }

    /// What stands in the place of the braces in the endpoint's path.
    #[must_use]
    pub fn path_part(&self) -> Cow<'_, str> {
        let path = &self.endpoint.path;
        match routed_path(&self.head.uri) {
            Cow::Borrowed(routed) => Cow::Borrowed(path.part(routed).unwrap_or_default()),
            Cow::Owned(routed) => Cow::Owned(path.part(&routed).unwrap_or_default().to_owned()),
        }
    }

    /// For log lines and error bodies.
    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        self.request_id
    }

    /// Times what reads and checks a body, and counts the texts in it that were cut.
    ///
    /// # Errors
    /// Those of `parse`.
    pub fn parsed<T>(&self, parse: impl FnOnce(&mut Cut) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let began = Instant::now();
        let mut cut = Cut::default();
        let parsed = parse(&mut cut)?;
        self.count_cut(&cut);
        self.app.telemetry.stage(Stage::Parse, began.elapsed());
        Ok(parsed)
    }

    /// Counts the texts of a body that were cut.
    pub fn count_cut(&self, cut: &Cut) {
        for field in cut.fields() {
            self.app.telemetry.count(name::FIELDS_CUT, &[("field", field)], 1);
        }
    }

    /// A 200, counted under `outcome`.
    pub fn reply<T: Serialize>(&self, outcome: Outcome, data: &T) -> Reply {
        Reply::now(self.envelope, outcome, data)
    }

    /// A 200 as soon as the record is durable, else a 503. The request is not kept until then.
    pub fn reply_after<T: Serialize>(&self, commit: PendingCommit, data: &T) -> Reply {
        Reply::after_commit(self.envelope, commit, data)
    }

    /// The same where the contract has no error: what is not durable is answered with the data that says nothing, which is a
    /// 200 too.
    pub fn reply_after_or_default<T: Serialize + Default>(&self, commit: PendingCommit, data: &T) -> Reply {
        Reply::after_commit_or_default(self.envelope, commit, data)
    }

    fn find_caller(&mut self) -> Result<(), ApiError> {
        if self.endpoint.bearer == Bearer::Ignored {
            return Ok(());
        }
        self.user = bearer::caller(self.headers(), &self.app.access_tokens);
        if self.user.is_none() && self.endpoint.bearer == Bearer::Required {
            return Err(ApiError::Unauthorized);
        }
        Ok(())
    }
}
