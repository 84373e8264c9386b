//! Signing in, with the visitor that a new user was until now: `/auth/request-code`, `/auth/verify`,
//! `/auth/external/verify`.

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::BareError;
use super::body;
use super::endpoint::{Call, serve};
use super::fields::{self, json_fields};
use super::openapi::bodies::{CodeRequest, ExternalRequest, VerifyRequest};
use super::refusal::Refusal;
use super::rules::{Rules, TEXT_MAX};
use crate::auth::{EmailAddress, Origin, Pass, SignInError, UserRow};
use crate::domain::{Outcome, Route, VisitorToken};

const CODE_MAX: usize = 64;
/// An id token with many claims is long.
const ID_TOKEN_MAX: usize = 16_384;

json_fields! {
    /// Who asks for a code.
    pub struct CodeBody { email = "email" }
}

json_fields! {
    /// Who has a code.
    pub struct VerifyBody { email = "email", code = "code", visitor_token = "visitorToken" }
}

json_fields! {
    /// Who comes from another service.
    pub struct ExternalBody { provider = "provider", id_token = "idToken", visitor_token = "visitorToken" }
}

#[derive(Serialize, ToSchema)]
pub struct Sent {
    sent: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedInAnswer {
    access_token: String,
    user: UserAnswer,
    is_new_user: bool,
}

/// A user as the user sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserAnswer {
    /// The hash id: the id itself stays inside.
    id: String,
    #[schema(required = true)]
    email: Option<String>,
    referral_code: String,
    /// The inviting user's hash id.
    #[schema(required = true)]
    invited_by: Option<String>,
    #[schema(format = "date-time")]
    created_at: String,
}

impl From<Pass> for SignedInAnswer {
    fn from(pass: Pass) -> Self {
        let UserRow { hash_id, email, referral_code, invited_by, created_at, .. } = pass.signed_in.user;
        let created_at = created_at.to_rfc3339();
        Self {
            access_token: pass.access_token,
            user: UserAnswer { id: hash_id, email, referral_code, invited_by, created_at },
            is_new_user: pass.signed_in.is_new,
        }
    }
}

impl From<SignInError> for Refusal {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Refused => Self::CodeRefused,
            SignInError::Unavailable => Self::Unavailable,
        }
    }
}

/// Have a code sent
///
/// The answer is the same for every address.
#[utoipa::path(
    post, path = "/auth/request-code", operation_id = "requestCode", tag = "sign-in", request_body = CodeRequest,
    responses(
        (status = 200, body = Sent, description = "It is on its way, or the address had its codes for this hour"),
        (status = 404, body = BareError, description = "Another service signs people in")
    )
)]
pub async fn request_code(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::AuthCode, async |call| {
        open(call)?;
        let body = call.body(body::MAX_BYTES).await?;
        let email = call.app.parsed(|| read_code_request(&body))?;
        call.app.sign_in.send_code(&email).await?;
        Ok(call.answer(Outcome::Accepted, Sent { sent: true }))
    })
    .await
}

/// Sign in with a code
///
/// A new user keeps where the visitor came from.
#[utoipa::path(
    post, path = "/auth/verify", operation_id = "verifyCode", tag = "sign-in", request_body = VerifyRequest,
    responses(
        (status = 200, body = SignedInAnswer, description = "Signed in"),
        (status = 401, body = BareError, description = "The code is not valid"),
        (status = 404, body = BareError, description = "Another service signs people in")
    )
)]
pub async fn verify(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::AuthVerify, async |call| {
        open(call)?;
        let body = call.body(body::MAX_BYTES).await?;
        let (email, code, visitor) = call.app.parsed(|| read_code(&body))?;
        let origin = origin(call, visitor).await;
        let pass = call.app.sign_in.by_code(email, &code, origin).await?;
        Ok(call.answer(Outcome::Accepted, SignedInAnswer::from(pass)))
    })
    .await
}

/// Sign in with another service's id token
#[utoipa::path(
    post, path = "/auth/external/verify", operation_id = "verifyExternal", tag = "sign-in",
    request_body = ExternalRequest,
    responses(
        (status = 200, body = SignedInAnswer, description = "Signed in"),
        (status = 401, body = BareError, description = "The id token is not valid"),
        (status = 404, body = BareError, description = "Another service signs people in")
    )
)]
pub async fn external(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::AuthExternal, async |call| {
        open(call)?;
        let body = call.body(body::MAX_BYTES).await?;
        let desk = &call.app.sign_in;
        let (provider, id_token, visitor) = call.app.parsed(|| read_id_token(&body, &desk.providers()))?;
        let identity = desk.identify(&provider, &id_token).ok_or(Refusal::IdTokenRefused)?;
        let origin = origin(call, visitor).await;
        let pass = call.app.sign_in.by_identity(identity, origin).await?;
        Ok(call.answer(Outcome::Accepted, SignedInAnswer::from(pass)))
    })
    .await
}

/// Where only a public key is configured, another service signs people in, and these routes are not there.
fn open(call: &Call<'_>) -> Result<(), Refusal> {
    if call.app.sign_in.is_open() { Ok(()) } else { Err(Refusal::NotFound) }
}

/// Who asks for a code, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_code_request(body: &[u8]) -> Result<EmailAddress, Refusal> {
    let body: CodeBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let email = email(&mut rules, &body.email);
    rules.finish()?;
    email.ok_or(Refusal::CodeRefused)
}

/// Who has a code, the code, and the visitor that it was until now, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_code(body: &[u8]) -> Result<(EmailAddress, String, Option<VisitorToken>), Refusal> {
    let body: VerifyBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let email = email(&mut rules, &body.email);
    let code = rules.required_text("code", &body.code, CODE_MAX);
    let visitor = visitor(&mut rules, &body.visitor_token);
    rules.finish()?;
    Ok((email.ok_or(Refusal::CodeRefused)?, code.to_owned(), visitor))
}

/// One of the `known` providers, its id token, and the visitor, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_id_token(body: &[u8], known: &[&str]) -> Result<(String, String, Option<VisitorToken>), Refusal> {
    let body: ExternalBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let provider = rules.required_text("provider", &body.provider, TEXT_MAX);
    if !provider.is_empty() && !known.contains(&provider) {
        rules.refuse("provider", &format!("must be one of the following values: {}", known.join(", ")));
    }
    let id_token = rules.required_text("idToken", &body.id_token, ID_TOKEN_MAX);
    let visitor = visitor(&mut rules, &body.visitor_token);
    rules.finish()?;
    Ok((provider.to_owned(), id_token.to_owned(), visitor))
}

/// A mail address. `None` comes with a violated rule.
pub(super) fn email(rules: &mut Rules, field: &fields::Field<'_>) -> Option<EmailAddress> {
    let text = rules.required_string("email", field, TEXT_MAX);
    let address = EmailAddress::parse(text);
    if address.is_none() {
        rules.refuse("email", "must be an email");
    }
    address
}

/// A visitor's token. One that is not well-formed is nobody's, which is no error.
pub(super) fn visitor(rules: &mut Rules, field: &fields::Field<'_>) -> Option<VisitorToken> {
    rules.optional_text("visitorToken", field, TEXT_MAX).and_then(VisitorToken::parse)
}

/// What this very request tells of a new user.
async fn origin(call: &Call<'_>, visitor: Option<VisitorToken>) -> Origin {
    let enricher = &call.app.enricher;
    let place = enricher.place(call.client.ip, call.client.proxy_place(call.request.headers()));
    let device = enricher.device(call.user_agent().as_deref()).await;
    Origin { visitor, device, country: place.country, acquired_via_creator_id: None }
}
