//! What a signed-in user may read about themselves: attribution and consent history.

use serde::Serialize;
use utoipa::ToSchema;
use weir_domain::{Attribution, Outcome, StoredConsent, UnixMillis};

use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::{Wrapped, WrappedError};
use crate::http::protocol::reply::Reply;

/// How many consents the history shows.
const HISTORY_MAX: i64 = 100;

/// Where a user came from: all 13 keys, null where unknown.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttributionAnswer {
    #[schema(required = true)]
    referred_by: Option<String>,
    #[schema(required = true)]
    referral_code: Option<String>,
    #[schema(required = true)]
    first_referrer_url: Option<String>,
    #[schema(required = true)]
    first_landing_page: Option<String>,
    #[schema(required = true)]
    acquired_via_creator_id: Option<String>,
    #[schema(required = true)]
    utm_source: Option<String>,
    #[schema(required = true)]
    utm_medium: Option<String>,
    #[schema(required = true)]
    utm_campaign: Option<String>,
    #[schema(required = true)]
    utm_term: Option<String>,
    #[schema(required = true)]
    utm_content: Option<String>,
    #[schema(required = true)]
    registration_device: Option<String>,
    #[schema(required = true)]
    registration_country: Option<String>,
    #[schema(format = "date-time")]
    created_at: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsentEntry {
    document_type: String,
    document_version: String,
    accepted: bool,
    #[schema(format = "date-time")]
    created_at: String,
}

impl From<Attribution> for AttributionAnswer {
    fn from(found: Attribution) -> Self {
        let [utm_source, utm_medium, utm_campaign, utm_term, utm_content] = found.utm;
        Self {
            referred_by: found.referred_by,
            referral_code: found.referral_code,
            first_referrer_url: found.first_referrer_url,
            first_landing_page: found.first_landing_page,
            acquired_via_creator_id: found.acquired_via_creator_id,
            utm_source,
            utm_medium,
            utm_campaign,
            utm_term,
            utm_content,
            registration_device: found.registration_device,
            registration_country: found.registration_country,
            created_at: found.created_at.to_rfc3339(),
        }
    }
}

impl From<StoredConsent> for ConsentEntry {
    fn from(row: StoredConsent) -> Self {
        let StoredConsent { document_type, document_version, accepted, created_at } = row;
        Self { document_type, document_version, accepted, created_at: UnixMillis::to_rfc3339(created_at) }
    }
}

/// Where the user came from
///
/// As it was when the account was made; nothing changes it.
#[utoipa::path(
    get, path = "/api/v1/users/attribution", operation_id = "attribution", tag = "users", security(("bearer" = [])),
    responses(
        (status = 200, body = Wrapped<AttributionAnswer>, description = "All keys, null where unknown"),
        (status = 401, body = WrappedError, description = "No bearer, or a bad one"),
        (status = 404, body = WrappedError, description = "There is no such user")
    )
)]
pub async fn attribution(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let user = call.user()?;
    let found = call.app.reads.attribution(&user.0).await?;
    let found = found.ok_or(ApiError::UserNotFound)?;
    Ok(call.reply(Outcome::Served, &AttributionAnswer::from(found)))
}

/// What the user agreed to
#[utoipa::path(
    get, path = "/api/v1/users/consent", operation_id = "consentHistory", tag = "users", security(("bearer" = [])),
    responses(
        (status = 200, body = Wrapped<Vec<ConsentEntry>>, description = "The last 100 records, the newest first"),
        (status = 401, body = WrappedError, description = "No bearer, or a bad one")
    )
)]
pub async fn consents(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let user = call.user()?;
    let rows = call.app.reads.consents(&user.0, HISTORY_MAX).await?;
    let entries: Vec<ConsentEntry> = rows.into_iter().map(ConsentEntry::from).collect();
    Ok(call.reply(Outcome::Served, &entries))
}
