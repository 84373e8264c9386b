//! Signing in, with the visitor that a new user was until now: `/auth/request-code`, `/auth/verify`,
//! `/auth/external/verify`.

mod body;

use serde::Serialize;
use utoipa::ToSchema;
use weir_domain::{Outcome, User, UserOrigin, VisitorToken};

use self::body::{CodeRequest, ExternalRequest, VerifyRequest};
use crate::auth::AuthTokens;
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::BareError;
use crate::http::protocol::reply::Reply;

pub use body::{Email, Visitor, read_code, read_code_request, read_id_token};

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

impl From<AuthTokens> for SignedInAnswer {
    fn from(tokens: AuthTokens) -> Self {
        let User { hash_id, email, referral_code, invited_by, created_at, .. } = tokens.signed_in.user;
        let created_at = created_at.to_rfc3339();
        Self {
            access_token: tokens.access_token,
            user: UserAnswer { id: hash_id, email, referral_code, invited_by, created_at },
            is_new_user: tokens.signed_in.is_new,
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
pub async fn request_code(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    open(call)?;
    let body = call.body().await?;
    let email = call.parsed(|cut| read_code_request(&body, cut))?;
    call.app.sign_in.send_code(&email).await?;
    Ok(call.reply(Outcome::Accepted, &Sent { sent: true }))
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
pub async fn verify(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    open(call)?;
    let body = call.body().await?;
    let (email, code, visitor) = call.parsed(|cut| read_code(&body, cut))?;
    let origin = origin(call, visitor).await;
    let tokens = call.app.sign_in.by_code(email, &code, origin).await?;
    link(call, &tokens, visitor);
    Ok(call.reply(Outcome::Accepted, &SignedInAnswer::from(tokens)))
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
pub async fn external(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    open(call)?;
    let body = call.body().await?;
    let sign_in = &call.app.sign_in;
    let (provider, id_token, visitor) = call.parsed(|cut| read_id_token(&body, &sign_in.providers(), cut))?;
    let identity = sign_in.identify(&provider, &id_token).ok_or(ApiError::IdTokenRefused)?;
    let origin = origin(call, visitor).await;
    let tokens = call.app.sign_in.by_identity(identity, origin).await?;
    link(call, &tokens, visitor);
    Ok(call.reply(Outcome::Accepted, &SignedInAnswer::from(tokens)))
}

/// The visitor that a new user was is nobody else's from now on.
fn link(call: &Call<'_>, tokens: &AuthTokens, visitor: Option<VisitorToken>) {
    if let Some(visitor) = visitor.filter(|_| tokens.signed_in.is_new) {
        call.app.visitors.linked(visitor);
    }
}

/// Where only a public key is configured, another service signs people in, and these routes are not there.
fn open(call: &Call<'_>) -> Result<(), ApiError> {
    if call.app.sign_in.is_open() { Ok(()) } else { Err(ApiError::NotFound) }
}

/// What this very request tells of a new user.
async fn origin(call: &Call<'_>, visitor: Option<VisitorToken>) -> UserOrigin {
    let enricher = &call.app.enricher;
    let place = enricher.place(call.client.ip, call.client.proxy_place(call.headers())).location;
    let device = enricher.device(call.user_agent().as_deref()).await;
    UserOrigin { visitor, device, country: place.country, acquired_via_creator_id: None }
}
