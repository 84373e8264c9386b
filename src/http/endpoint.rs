//! What every endpoint does around its own work: find the client, ask the throttle, read what is left of the body, turn
//! a refusal into an answer, tell the client where it stands.
//!
//! Invariant: the order is the contract's: throttle, then bearer or key, then validation, then the endpoint's own rules.
//! Whatever happens, the body is read to its end: a connection with unread bytes on it is lost.

use std::borrow::Cow;
use std::time::Instant;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::admission::Admission;
use super::answer::Envelope;
use super::client::{self, Client};
use super::passage::Passage;
use super::promise::{Keeping, Promise};
use super::refusal::Refusal;
use super::request_id::RequestId;
use super::{AppState, answer, bearer, body};
use crate::auth::UserId;
use crate::domain::{AnalyticsRecord, JournalRecord, MainRecord, Outcome, Route, SessionRecord};
use crate::fail_points;
use crate::journal::AppendError;
use crate::telemetry::Stage;

/// A request that was let in.
pub struct Call<'a> {
    pub request: &'a HttpRequest,
    pub app: &'a AppState,
    pub client: Client,
    payload: Option<Payload>,
}

/// Lets a request in, or not, and answers it.
pub async fn serve(
    request: HttpRequest,
    payload: Payload,
    route: Route,
    work: impl AsyncFnOnce(&mut Call<'_>) -> Result<HttpResponse, Refusal>,
) -> HttpResponse {
    let app = request.app_data::<Data<AppState>>().expect("every listener's routes are built with it");
    let client = Client::of(&request, app);
    let admission = Admission::ask(app, route, client.ip);
    let refusal = admission.refusal();
    Passage::of(&request).admit(admission);
    let mut call = Call { request: &request, app, client, payload: Some(payload) };
    fail_points::step("http.endpoint");
    let answered = match refusal {
        Some(refusal) => Err(refusal),
        None => work(&mut call).await,
    };
    if let Some(unread) = call.payload.take() {
        body::drain(&request, unread).await;
    }
    answered.unwrap_or_else(|refusal| answer::refuse(&request, refusal))
}

impl Call<'_> {
    /// The whole body.
    pub async fn body(&mut self, max_bytes: usize) -> Result<Bytes, Refusal> {
        match self.payload.take() {
            Some(payload) => body::read(self.request, payload, max_bytes).await,
            None => Ok(Bytes::new()),
        }
    }

    /// The caller, who must be signed in.
    pub fn user(&self) -> Result<UserId, Refusal> {
        self.optional_user().ok_or(Refusal::Unauthorized)
    }

    /// The caller, where signing in is optional.
    pub fn optional_user(&self) -> Option<UserId> {
        bearer::optional(self.request, self.app)
    }

    /// The `User-Agent` header, where there is one with something in it.
    pub fn user_agent(&self) -> Option<Cow<'_, str>> {
        client::user_agent(self.request.headers()).filter(|user_agent| !user_agent.is_empty())
    }

    /// What stands for the name in the route's path.
    pub fn path_part(&self, name: &str) -> &str {
        self.request.match_info().get(name).unwrap_or_default()
    }

    /// For log lines.
    pub fn request_id(&self) -> RequestId {
        Passage::of(self.request).id()
    }

    /// A 200, counted under `outcome`.
    pub fn answer<T: Serialize>(&self, outcome: Outcome, data: T) -> HttpResponse {
        answer::ok(self.request, outcome, &data)
    }

    /// A 200 as soon as the record is durable, or a refusal. The request is not kept until then.
    pub fn answer_when_durable<T: Serialize>(&self, keeping: Keeping, data: &T) -> HttpResponse {
        self.promise(Promise::or_refusal(keeping, Envelope::of(self.request), data))
    }

    /// The same where the contract has no refusal: what is not durable is answered with nothing, which is a 200 too.
    pub fn answer_when_durable_or_null<T: Serialize + Default>(&self, keeping: Keeping, data: &T) -> HttpResponse {
        self.promise(Promise::or_null(keeping, Envelope::of(self.request), data))
    }

    /// What is returned is never sent: the promise is answered in its stead.
    fn promise(&self, promise: Promise) -> HttpResponse {
        Passage::of(self.request).promise(promise);
        HttpResponse::new(StatusCode::OK)
    }
}

impl AppState {
    /// Hands a record of the analytics database to its journal.
    pub(super) fn keep_analytics(&self, record: impl Into<AnalyticsRecord>) -> Keeping {
        Keeping::begin(&self.analytics.journal, record.into().encode())
    }

    /// The same of a session, which is large and needs not be moved for it.
    pub(super) fn keep_session(&self, session: &SessionRecord<&str>) -> Keeping {
        Keeping::begin(&self.analytics.journal, session.encode())
    }

    /// Hands a record of the main database to its journal.
    pub(super) fn keep_main(&self, record: &MainRecord) -> Keeping {
        Keeping::begin(&self.main.journal, record.encode())
    }

    /// Times what reads and checks a body.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
        let began = Instant::now();
        let parsed = parse()?;
        self.telemetry.stage(Stage::Parse, began.elapsed());
        Ok(parsed)
    }
}

/// What could not be made durable was not acknowledged.
impl From<AppendError> for Refusal {
    fn from(_: AppendError) -> Self {
        Self::Unavailable
    }
}
