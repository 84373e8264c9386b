//! `POST /internal/v1/users`: a company's own account service tells of a new user, so that the visitor's origin is kept.

use chrono::{DateTime, Datelike};
use secrecy::ExposeSecret;
use serde::Serialize;
use subtle::ConstantTimeEq;
use utoipa::ToSchema;
use utoipa::openapi::KnownFormat;
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
use weir_domain::{CreateUserOutcome, Outcome, UnixMillis, UserOrigin, VisitorToken, sha256};

use super::auth::{Email, Visitor};
use crate::auth::{EmailAddress, ExternalUser};
use crate::contract::kinds::{CutText, OptionalText, Text, or_null};
use crate::contract::{Cut, Field, Rule, Rules, TEXT_MAX, request_body};
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::BareError;
use crate::http::protocol::reply::Reply;

const KEY_HEADER: &str = "x-internal-key";
const USER_ID_MAX: usize = 255;

request_body! {
    /// A user of another account service.
    pub struct NewUser from NewUserFields as UserRequest {
        id: "id" => Text<USER_ID_MAX>,
        email: "email" => OptionalEmail,
        /// The new user's own; made when it is missing.
        referral_code: "referralCode" => ReferralCode,
        /// The visitor that the user was until now.
        visitor_token: "visitorToken" => Visitor,
        acquired_via_creator_id: "acquiredViaCreatorId" => CutText<TEXT_MAX>,
        /// Now when it is missing.
        created_at: "createdAt" => OptionalTime,
    }
}

/// A mail address, which may be missing or null.
pub struct OptionalEmail;

impl Rule for OptionalEmail {
    type Value<'a> = Option<EmailAddress>;
    const REQUIRED: bool = false;

    fn check(rules: &mut Rules, name: &'static str, field: &Field<'_>) -> Option<EmailAddress> {
        match field {
            Field::Absent | Field::Null => None,
            given => Email::check(rules, name, given),
        }
    }

    fn schema() -> ObjectBuilder {
        Email::schema().schema_type(or_null(Type::String))
    }
}

/// A referral code, which may be missing or null. It is never cut: what is left of it may be another user's.
pub struct ReferralCode;

impl Rule for ReferralCode {
    type Value<'a> = Option<&'a str>;
    const REQUIRED: bool = false;

    fn check<'a>(rules: &mut Rules, name: &'static str, field: &'a Field<'_>) -> Option<&'a str> {
        rules.optional_text(name, field, TEXT_MAX)
    }

    fn schema() -> ObjectBuilder {
        OptionalText::<TEXT_MAX>::schema()
    }
}

/// A moment in ISO 8601, which may be missing or null.
pub struct OptionalTime;

impl Rule for OptionalTime {
    type Value<'a> = Option<UnixMillis>;
    const REQUIRED: bool = false;

    fn check(rules: &mut Rules, name: &'static str, field: &Field<'_>) -> Option<UnixMillis> {
        let text = match field {
            Field::Absent | Field::Null => return None,
            Field::Text(text) => text,
            _ => "",
        };
        let time = DateTime::parse_from_rfc3339(text).ok().map(|time| UnixMillis(time.timestamp_millis()));
        // By its offset a moment can lie in a year that has no four digits in UTC: no column and no answer could name it.
        let time = time.filter(|time| (0..=9999).contains(&time.to_datetime().year()));
        if time.is_none() {
            rules.refuse(name, "must be a valid ISO 8601 date string");
        }
        time
    }

    fn schema() -> ObjectBuilder {
        ObjectBuilder::new()
            .schema_type(or_null(Type::String))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples(["2026-04-30T10:00:00.000Z"])
    }
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
    let (user, visitor) = call.parsed(|cut| read_user(&body, cut))?;
    let id = user.id.clone();
    let user = ExternalUser { origin: origin(call, user.origin, visitor).await?, ..user };
    match call.app.sign_in.create_user(user).await? {
        CreateUserOutcome::User { hash_id, created } => {
            if let Some(visitor) = visitor.filter(|_| created) {
                call.app.visitors.linked(visitor);
            }
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
pub fn read_user(body: &[u8], cut: &mut Cut) -> Result<(ExternalUser, Option<VisitorToken>), ApiError> {
    let mut fields = NewUserFields::default();
    let user = NewUser::read(body, &mut fields, cut)?;
    let acquired_via_creator_id = user.acquired_via_creator_id.map(str::to_owned);
    let origin = UserOrigin { acquired_via_creator_id, ..UserOrigin::default() };
    let external = ExternalUser {
        id: user.id.to_owned(),
        email: user.email,
        referral_code: user.referral_code.map(str::to_owned),
        created_at: user.created_at,
        origin,
    };
    Ok((external, user.visitor_token))
}

/// Device and country are the visitor's: this request comes from a server.
async fn origin(call: &Call<'_>, origin: UserOrigin, token: Option<VisitorToken>) -> Result<UserOrigin, ApiError> {
    let Some(token) = token else { return Ok(origin) };
    let Some(visitor) = call.app.sign_in.visitor(token).await? else { return Ok(origin) };
    let device = call.app.enricher.device(visitor.user_agent.as_deref()).await;
    Ok(UserOrigin { visitor: Some(token), device, country: visitor.country, ..origin })
}
