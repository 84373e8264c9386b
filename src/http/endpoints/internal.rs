//! `POST /internal/v1/users`: a company's own account service tells of a new user, so that the visitor's origin is kept.

use chrono::{DateTime, Datelike};
use secrecy::ExposeSecret;
use serde::Serialize;
use subtle::ConstantTimeEq;
use utoipa::ToSchema;
use weir_domain::{CreateUserOutcome, Outcome, UnixMillis, UserOrigin, VisitorToken, sha256};

use super::auth::{email, visitor};
use crate::auth::ExternalUser;
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::BareError;
use crate::http::protocol::fields::{self, Field};
use crate::http::protocol::json_fields::json_fields;
use crate::http::protocol::reply::Reply;
use crate::http::protocol::rules::{Rules, TEXT_MAX};

const KEY_HEADER: &str = "x-internal-key";
const USER_ID_MAX: usize = 255;

json_fields! {
    /// The body, in the contract's order.
    pub struct UserBody {
        id = "id",
        email = "email",
        referral_code = "referralCode",
        visitor_token = "visitorToken",
        acquired_via_creator_id = "acquiredViaCreatorId",
        created_at = "createdAt",
    }
}

/// A user of another account service.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
#[serde(rename_all = "camelCase")]
pub struct UserRequest {
    #[schema(min_length = 1, max_length = 255)]
    id: String,
    #[schema(format = "email", max_length = 254, example = "ada@example.org")]
    email: Option<String>,
    /// The new user's own; made when it is missing.
    #[schema(min_length = 1, max_length = 1024)]
    referral_code: Option<String>,
    /// The visitor that the user was until now.
    #[schema(max_length = 1024)]
    visitor_token: Option<String>,
    #[schema(max_length = 1024)]
    acquired_via_creator_id: Option<String>,
    /// Now when it is missing.
    #[schema(format = "date-time", example = "2026-04-30T10:00:00.000Z")]
    created_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserCreated {
    id: String,
    hash_id: String,
    created: bool,
}

/// Tell of a user that another service has made
///
/// Again for the same id it changes nothing.
#[utoipa::path(
    post, path = "/internal/v1/users", operation_id = "createUser", tag = "sign-in", security(("internalKey" = [])),
    request_body = UserRequest,
    responses(
        (status = 200, body = UserCreated, description = "Made, or there already"),
        (status = 401, body = BareError, description = "No key, or a wrong one"),
        (status = 409, body = BareError, description = "Another user has the address or the referral code")
    )
)]
pub async fn create_user(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    check_key(call)?;
    let body = call.body().await?;
    let (user, visitor) = call.parsed(|| read_user(&body))?;
    let id = user.id.clone();
    let user = ExternalUser { origin: origin(call, user.origin, visitor).await?, ..user };
    match call.app.sign_in.create_user(user).await? {
        CreateUserOutcome::User { hash_id, created } => {
            let outcome = if created { Outcome::Accepted } else { Outcome::Served };
            Ok(call.reply(outcome, &UserCreated { id, hash_id, created }))
        }
        CreateUserOutcome::EmailTaken => Err(ApiError::EmailTaken),
        CreateUserOutcome::ReferralCodeTaken => Err(ApiError::ReferralCodeTaken),
        CreateUserOutcome::Collision => Err(ApiError::Unavailable),
    }
}

/// Compares digests, so that neither the key's length nor its beginning can be measured.
fn check_key(call: &Call<'_>) -> Result<(), ApiError> {
    let given = call.headers().get(KEY_HEADER).ok_or(ApiError::KeyRefused)?;
    let ours = sha256(&[call.app.internal_key.expose_secret().as_bytes()]);
    let equal = bool::from(sha256(&[given.as_bytes()]).ct_eq(&ours));
    if equal { Ok(()) } else { Err(ApiError::KeyRefused) }
}

/// What a new user's body says, checked rule by rule, and the visitor that the user was.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_user(body: &[u8]) -> Result<(ExternalUser, Option<VisitorToken>), ApiError> {
    let body: UserBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let id = rules.required_text("id", &body.id, USER_ID_MAX).to_owned();
    let email = match &body.email {
        Field::Absent | Field::Null => None,
        given => email(&mut rules, given),
    };
    let referral_code = rules.optional_text("referralCode", &body.referral_code, TEXT_MAX).map(str::to_owned);
    if referral_code.as_deref() == Some("") {
        rules.refuse("referralCode", "should not be empty");
    }
    let visitor = visitor(&mut rules, &body.visitor_token);
    let acquired_via_creator_id =
        rules.optional_text("acquiredViaCreatorId", &body.acquired_via_creator_id, TEXT_MAX).map(str::to_owned);
    let created_at = created_at(&mut rules, body.created_at);
    rules.finish()?;
    let origin = UserOrigin { acquired_via_creator_id, ..UserOrigin::default() };
    Ok((ExternalUser { id, email, referral_code, created_at, origin }, visitor))
}

fn created_at(rules: &mut Rules, field: Field<'_>) -> Option<UnixMillis> {
    let text = match field {
        Field::Absent | Field::Null => return None,
        Field::Text(text) => text,
        _ => "".into(),
    };
    let time = DateTime::parse_from_rfc3339(&text).ok().map(|time| UnixMillis(time.timestamp_millis()));
    // By its offset a moment can lie in a year that has no four digits in UTC: no column and no answer could name it.
    let time = time.filter(|time| (0..=9999).contains(&time.to_datetime().year()));
    if time.is_none() {
        rules.refuse("createdAt", "must be a valid ISO 8601 date string");
    }
    time
}

/// Device and country are the visitor's: this request comes from a server.
async fn origin(call: &Call<'_>, origin: UserOrigin, token: Option<VisitorToken>) -> Result<UserOrigin, ApiError> {
    let Some(token) = token else { return Ok(origin) };
    let Some(visitor) = call.app.sign_in.visitor(token).await? else { return Ok(origin) };
    let device = call.app.enricher.device(visitor.user_agent.as_deref()).await;
    Ok(UserOrigin { visitor: Some(token), device, country: visitor.country, ..origin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::protocol::json_fields::assert_described;

    #[test]
    fn document_of_the_body_has_the_fields_that_are_read() {
        assert_described::<UserRequest>(UserBody::FIELDS);
    }
}
