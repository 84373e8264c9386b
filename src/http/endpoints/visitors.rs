//! `POST /track/init`: a visitor's token, the one it has or a new one.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;
use weir_domain::{Attributes, Outcome, VisitorToken};

use crate::contract::kinds::CutText;
use crate::contract::{Cut, TEXT_MAX, URL_MAX, request_body};
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::reply::Reply;
use crate::visitors::Visit;

request_body! {
    /// A visitor comes, for the first time or again.
    pub struct Init from InitFields as InitRequest {
        /// The token of an earlier visit.
        token: "token" => CutText<TEXT_MAX>,
        /// Instead of the header.
        user_agent: "userAgent" => CutText<TEXT_MAX>,
        utm_source: "utmSource" => CutText<TEXT_MAX>,
        utm_medium: "utmMedium" => CutText<TEXT_MAX>,
        utm_campaign: "utmCampaign" => CutText<TEXT_MAX>,
        utm_term: "utmTerm" => CutText<TEXT_MAX>,
        utm_content: "utmContent" => CutText<TEXT_MAX>,
        referrer: "referrer" => CutText<URL_MAX>,
        landing_url: "landingUrl" => CutText<URL_MAX>,
        /// A user's hash id or referral code.
        invited_by: "invitedBy" => CutText<TEXT_MAX>,
    }
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
    let visit = call.parsed(|cut| read_visitor(&body, cut))?;
    let client = call.client.ip;
    let visit =
        Visit { user_agent: visit.user_agent.or_else(|| call.user_agent().map(Cow::into_owned)), client, ..visit };
    let proxy_place = call.client.proxy_place(call.headers());
    let initiated = call.app.visitors.init(visit, || call.app.enricher.place(client, proxy_place).location).await?;
    let outcome = if initiated.is_new { Outcome::Accepted } else { Outcome::Served };
    let answer = InitAnswer { token: initiated.token.to_string(), is_new: initiated.is_new };
    Ok(call.reply(outcome, &answer))
}

/// What a visitor's body says, checked rule by rule.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_visitor(body: &[u8], cut: &mut Cut) -> Result<Visit, ApiError> {
    let mut fields = InitFields::default();
    let init = Init::read(body, &mut fields, cut)?;
    // An empty string says as little as none, and must not keep a later one out.
    let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(Visit {
        token: init.token.and_then(VisitorToken::parse),
        user_agent: given(init.user_agent),
        attributes: Attributes {
            utm_source: given(init.utm_source),
            utm_medium: given(init.utm_medium),
            utm_campaign: given(init.utm_campaign),
            utm_term: given(init.utm_term),
            utm_content: given(init.utm_content),
            invited_by: given(init.invited_by),
        },
        referrer: given(init.referrer),
        landing_url: given(init.landing_url),
        client: None,
    })
}
