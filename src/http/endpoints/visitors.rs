//! `POST /track/init`: a visitor's token, the one it has or a new one.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;
use weir_domain::{Attributes, Outcome, VisitorToken};

use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::fields;
use crate::http::protocol::json_fields::json_fields;
use crate::http::protocol::reply::Reply;
use crate::http::protocol::rules::{Rules, TEXT_MAX, URL_MAX};
use crate::visitors::Visit;

json_fields! {
    /// The body, in the contract's order.
    pub struct InitBody {
        token = "token",
        user_agent = "userAgent",
        utm_source = "utmSource",
        utm_medium = "utmMedium",
        utm_campaign = "utmCampaign",
        utm_term = "utmTerm",
        utm_content = "utmContent",
        referrer = "referrer",
        landing_url = "landingUrl",
        invited_by = "invitedBy",
    }
}

/// A visitor comes, for the first time or again.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
#[serde(rename_all = "camelCase")]
pub struct InitRequest {
    /// The token of an earlier visit.
    #[schema(max_length = 1024)]
    token: Option<String>,
    /// Instead of the header.
    #[schema(max_length = 1024)]
    user_agent: Option<String>,
    #[schema(max_length = 1024)]
    utm_source: Option<String>,
    #[schema(max_length = 1024)]
    utm_medium: Option<String>,
    #[schema(max_length = 1024)]
    utm_campaign: Option<String>,
    #[schema(max_length = 1024)]
    utm_term: Option<String>,
    #[schema(max_length = 1024)]
    utm_content: Option<String>,
    #[schema(max_length = 8192)]
    referrer: Option<String>,
    #[schema(max_length = 8192)]
    landing_url: Option<String>,
    /// A user's hash id or referral code.
    #[schema(max_length = 1024)]
    invited_by: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InitAnswer {
    token: String,
    is_new: bool,
}

/// Get a visitor's token
///
/// The one it brings, the one that the same browser got within five minutes, or a new one.
#[utoipa::path(
    post, path = "/track/init", operation_id = "initVisitor", tag = "visitors", request_body = InitRequest,
    responses((status = 200, body = InitAnswer, description = "Durable"))
)]
pub async fn init(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let body = call.body().await?;
    let visit = call.parsed(|| read_visitor(&body))?;
    let client = call.client.ip;
    let visit =
        Visit { user_agent: visit.user_agent.or_else(|| call.user_agent().map(Cow::into_owned)), client, ..visit };
    let proxy_place = call.client.proxy_place(call.headers());
    let initiated = call.app.visitors.init(visit, || call.app.enricher.place(client, proxy_place)).await?;
    let outcome = if initiated.is_new { Outcome::Accepted } else { Outcome::Served };
    let answer = InitAnswer { token: initiated.token.to_string(), is_new: initiated.is_new };
    Ok(call.reply(outcome, &answer))
}

/// What a visitor's body says, checked rule by rule.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_visitor(body: &[u8]) -> Result<Visit, ApiError> {
    let body: InitBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    // An empty string says as little as none, and must not keep a later one out.
    let mut text =
        |name, field, max| rules.optional_text(name, field, max).filter(|text| !text.is_empty()).map(str::to_owned);
    let token = text("token", &body.token, TEXT_MAX);
    let visit = Visit {
        token: token.as_deref().and_then(VisitorToken::parse),
        user_agent: text("userAgent", &body.user_agent, TEXT_MAX),
        attributes: Attributes {
            utm_source: text("utmSource", &body.utm_source, TEXT_MAX),
            utm_medium: text("utmMedium", &body.utm_medium, TEXT_MAX),
            utm_campaign: text("utmCampaign", &body.utm_campaign, TEXT_MAX),
            utm_term: text("utmTerm", &body.utm_term, TEXT_MAX),
            utm_content: text("utmContent", &body.utm_content, TEXT_MAX),
            invited_by: None,
        },
        referrer: text("referrer", &body.referrer, URL_MAX),
        landing_url: text("landingUrl", &body.landing_url, URL_MAX),
        client: None,
    };
    let invited_by = text("invitedBy", &body.invited_by, TEXT_MAX);
    rules.finish()?;
    Ok(Visit { attributes: Attributes { invited_by, ..visit.attributes }, ..visit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::protocol::json_fields::assert_described;

    #[test]
    fn document_of_the_body_has_the_fields_that_are_read() {
        assert_described::<InitRequest>(InitBody::FIELDS);
    }
}
