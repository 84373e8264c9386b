//! Signing in, with the visitor that a new user was until now: `/auth/request-code`, `/auth/verify`,
//! `/auth/external/verify`.

use serde::Serialize;
use utoipa::ToSchema;
use weir_domain::{Outcome, User, UserOrigin, VisitorToken};

use crate::auth::{AuthTokens, EmailAddress};
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::BareError;
use crate::http::protocol::fields::{self, json_fields};
use crate::http::protocol::reply::Reply;
use crate::http::protocol::rules::{Rules, TEXT_MAX};

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

/// Who wants a code.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
pub struct CodeRequest {
    #[schema(format = "email", max_length = 254, example = "ada@example.org")]
    email: String,
}

/// Who has a code.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
#[serde(rename_all = "camelCase")]
pub struct VerifyRequest {
    #[schema(format = "email", max_length = 254, example = "ada@example.org")]
    email: String,
    #[schema(min_length = 1, max_length = 64, example = "123456")]
    code: String,
    /// The visitor that a new user was until now.
    #[schema(max_length = 1024)]
    visitor_token: Option<String>,
}

/// Who comes from another service.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
#[serde(rename_all = "camelCase")]
pub struct ExternalRequest {
    /// One of the configured names.
    #[schema(min_length = 1, max_length = 1024)]
    provider: String,
    /// An OpenID Connect id token.
    #[schema(min_length = 1, max_length = 16384)]
    id_token: String,
    /// The visitor that a new user was until now.
    #[schema(max_length = 1024)]
    visitor_token: Option<String>,
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

impl From<AuthTokens> for SignedInAnswer {
    fn from(pass: AuthTokens) -> Self {
        let User { hash_id, email, referral_code, invited_by, created_at, .. } = pass.signed_in.user;
        let created_at = created_at.to_rfc3339();
        Self {
            access_token: pass.access_token,
            user: UserAnswer { id: hash_id, email, referral_code, invited_by, created_at },
            is_new_user: pass.signed_in.is_new,
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
    let email = call.parsed(|| read_code_request(&body))?;
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
    let (email, code, visitor) = call.parsed(|| read_code(&body))?;
    let origin = origin(call, visitor).await;
    let pass = call.app.sign_in.by_code(email, &code, origin).await?;
    Ok(call.reply(Outcome::Accepted, &SignedInAnswer::from(pass)))
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
    let desk = &call.app.sign_in;
    let (provider, id_token, visitor) = call.parsed(|| read_id_token(&body, &desk.providers()))?;
    let identity = desk.identify(&provider, &id_token).ok_or(ApiError::IdTokenRefused)?;
    let origin = origin(call, visitor).await;
    let pass = call.app.sign_in.by_identity(identity, origin).await?;
    Ok(call.reply(Outcome::Accepted, &SignedInAnswer::from(pass)))
}

/// Where only a public key is configured, another service signs people in, and these routes are not there.
fn open(call: &Call<'_>) -> Result<(), ApiError> {
    if call.app.sign_in.is_open() { Ok(()) } else { Err(ApiError::NotFound) }
}

/// Who asks for a code, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_code_request(body: &[u8]) -> Result<EmailAddress, ApiError> {
    let body: CodeBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let email = email(&mut rules, &body.email);
    rules.finish()?;
    email.ok_or(ApiError::CodeRefused)
}

/// Who has a code, the code, and the visitor that it was until now, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_code(body: &[u8]) -> Result<(EmailAddress, String, Option<VisitorToken>), ApiError> {
    let body: VerifyBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let email = email(&mut rules, &body.email);
    let code = rules.required_text("code", &body.code, CODE_MAX);
    let visitor = visitor(&mut rules, &body.visitor_token);
    rules.finish()?;
    Ok((email.ok_or(ApiError::CodeRefused)?, code.to_owned(), visitor))
}

/// One of the `known` providers, its id token, and the visitor, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_id_token(body: &[u8], known: &[&str]) -> Result<(String, String, Option<VisitorToken>), ApiError> {
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
async fn origin(call: &Call<'_>, visitor: Option<VisitorToken>) -> UserOrigin {
    let enricher = &call.app.enricher;
    let place = enricher.place(call.client.ip, call.client.proxy_place(call.headers()));
    let device = enricher.device(call.user_agent().as_deref()).await;
    UserOrigin { visitor, device, country: place.country, acquired_via_creator_id: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::protocol::fields::assert_described;

    #[test]
    fn document_of_the_body_has_the_fields_that_are_read() {
        assert_described::<CodeRequest>(CodeBody::FIELDS);
        assert_described::<VerifyRequest>(VerifyBody::FIELDS);
        assert_described::<ExternalRequest>(ExternalBody::FIELDS);
    }
}
