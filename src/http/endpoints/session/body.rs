//! A session's body: its fields, their rules, and how the document describes them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::enrich::SessionVisit;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::fields;
use crate::http::protocol::json_fields::json_fields;
use crate::http::protocol::rules::{Rules, TEXT_MAX, URL_MAX};

const SCREEN_MAX: u32 = 7680;

json_fields! {
    /// The body, in the contract's order.
    pub struct SessionBody {
        visitor_id = "visitorId",
        landing_page = "landingPage",
        consent_analytics = "consentAnalytics",
        bio_page_id = "bioPageId",
        creator_id = "creatorId",
        referrer = "referrer",
        utm_source = "utmSource",
        utm_medium = "utmMedium",
        utm_campaign = "utmCampaign",
        utm_term = "utmTerm",
        utm_content = "utmContent",
        language = "language",
        device = "device",
        browser = "browser",
        os = "os",
        os_version = "osVersion",
        connection_type = "connectionType",
        timezone = "timezone",
        screen_width = "screenWidth",
        screen_height = "screenHeight",
        tracking_token = "trackingToken",
    }
}

/// A visit begins.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
#[serde(rename_all = "camelCase")]
pub struct SessionRequest {
    /// The client's own anonymous id. Only its hash is stored.
    #[schema(min_length = 1, max_length = 1024)]
    visitor_id: String,
    #[schema(min_length = 1, max_length = 8192)]
    landing_page: String,
    /// Anything but `granted`, or nothing, stores nothing.
    #[schema(max_length = 50)]
    consent_analytics: Option<String>,
    /// A UUID; takes a `trackingToken` too.
    #[schema(max_length = 1024)]
    bio_page_id: Option<String>,
    /// What is no UUID is dropped.
    #[schema(max_length = 1024)]
    creator_id: Option<String>,
    #[schema(max_length = 8192)]
    referrer: Option<String>,
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
    #[schema(max_length = 1024)]
    language: Option<String>,
    /// Used when the user agent tells none; so are `browser`, `os` and `osVersion`.
    #[schema(max_length = 1024)]
    device: Option<String>,
    #[schema(max_length = 1024)]
    browser: Option<String>,
    #[schema(max_length = 1024)]
    os: Option<String>,
    #[schema(max_length = 20)]
    os_version: Option<String>,
    #[schema(max_length = 20)]
    connection_type: Option<String>,
    /// Used when the address tells none.
    #[schema(max_length = 50)]
    timezone: Option<String>,
    #[schema(minimum = 0, maximum = 7680)]
    screen_width: Option<u32>,
    #[schema(minimum = 0, maximum = 7680)]
    screen_height: Option<u32>,
    /// The first 32 hex characters of HMAC-SHA256 over the page and its five minutes.
    #[schema(max_length = 1024)]
    tracking_token: Option<String>,
}

/// What a session's body says, checked rule by rule. `fields` have nothing in them yet.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_visit<'a, 'body>(
    body: &'body [u8],
    fields: &'a mut SessionBody<'body>,
) -> Result<SessionVisit<'a>, ApiError> {
    fields::fill(body, &mut *fields)?;
    let mut rules = Rules::default();
    let visit = SessionVisit {
        visitor_id: rules.required_text("visitorId", &fields.visitor_id, TEXT_MAX),
        landing_page: rules.required_text("landingPage", &fields.landing_page, URL_MAX),
        consent_analytics: rules.optional_text("consentAnalytics", &fields.consent_analytics, 50),
        bio_page_id: rules.optional_text("bioPageId", &fields.bio_page_id, TEXT_MAX),
        creator_id: rules.optional_text("creatorId", &fields.creator_id, TEXT_MAX),
        referrer: rules.optional_text("referrer", &fields.referrer, URL_MAX),
        utm_source: rules.optional_text("utmSource", &fields.utm_source, TEXT_MAX),
        utm_medium: rules.optional_text("utmMedium", &fields.utm_medium, TEXT_MAX),
        utm_campaign: rules.optional_text("utmCampaign", &fields.utm_campaign, TEXT_MAX),
        utm_term: rules.optional_text("utmTerm", &fields.utm_term, TEXT_MAX),
        utm_content: rules.optional_text("utmContent", &fields.utm_content, TEXT_MAX),
        language: rules.optional_text("language", &fields.language, TEXT_MAX),
        device: rules.optional_text("device", &fields.device, TEXT_MAX),
        browser: rules.optional_text("browser", &fields.browser, TEXT_MAX),
        os: rules.optional_text("os", &fields.os, TEXT_MAX),
        os_version: rules.optional_text("osVersion", &fields.os_version, 20),
        connection_type: rules.optional_text("connectionType", &fields.connection_type, 20),
        timezone: rules.optional_text("timezone", &fields.timezone, 50),
        screen_width: screen(&mut rules, "screenWidth", &fields.screen_width),
        screen_height: screen(&mut rules, "screenHeight", &fields.screen_height),
        tracking_token: rules.optional_text("trackingToken", &fields.tracking_token, TEXT_MAX),
    };
    rules.finish()?;
    Ok(visit)
}

fn screen(rules: &mut Rules, name: &'static str, field: &fields::Field<'_>) -> Option<u16> {
    rules.optional_integer(name, field, 0, SCREEN_MAX).and_then(|pixels| u16::try_from(pixels).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::protocol::json_fields::assert_described;

    #[test]
    fn document_of_the_body_has_the_fields_that_are_read() {
        assert_described::<SessionRequest>(SessionBody::FIELDS);
    }
}
