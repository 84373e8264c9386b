//! Cookie consent: a choice is appended and never changed, `status` tells whether it still holds, `policy` what there is
//! to choose.
//!
//! The address is kept only when the visitor agrees to analytics; this is the one place in Weir where it is.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;
use weir_domain::{ConsentPreferences, ConsentRecord, JournalRecord, MainRecord, Outcome, kept_address};

use crate::contract::kinds::Boolean;
use crate::contract::{Cut, request_body};
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::Wrapped;
use crate::http::protocol::reply::Reply;

request_body! {
    /// A cookie choice. Essential cookies are no choice.
    pub struct Choice from ChoiceFields as ConsentRequest {
        /// Also allows that the address is kept with this choice.
        analytics: "analytics" => Boolean,
        marketing: "marketing" => Boolean,
        functional: "functional" => Boolean,
    }
}

#[derive(Serialize, ToSchema)]
pub struct Saved {
    saved: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    current_version: String,
    /// Null for anonymous callers and for users who never chose.
    #[schema(required = true)]
    user_version: Option<String>,
    requires_re_consent: bool,
}

#[derive(Serialize, ToSchema)]
pub struct Policy {
    #[schema(value_type = Vec<Category>)]
    categories: [Category; 4],
}

#[derive(Serialize, ToSchema)]
pub struct Category {
    id: &'static str,
    required: bool,
    name: Words,
    description: Words,
}

/// The same in every language that the clients speak.
#[derive(Serialize, ToSchema)]
pub struct Words {
    en: &'static str,
    tr: &'static str,
}

const POLICY: Policy = Policy {
    categories: [
        Category {
            id: "essential",
            required: true,
            name: Words { en: "Essential", tr: "Zorunlu" },
            description: Words {
                en: "Needed for the site to work: signing in, security, your choices on this page.",
                tr: "Sitenin çalışması için gereklidir: oturum açma, güvenlik, bu sayfadaki tercihleriniz.",
            },
        },
        Category {
            id: "functional",
            required: false,
            name: Words { en: "Functional", tr: "İşlevsel" },
            description: Words {
                en: "Remember settings such as language and layout.",
                tr: "Dil ve görünüm gibi ayarları hatırlar.",
            },
        },
        Category {
            id: "analytics",
            required: false,
            name: Words { en: "Analytics", tr: "Analitik" },
            description: Words {
                en: "Tell us which pages are visited and how they are found.",
                tr: "Hangi sayfaların ziyaret edildiğini ve nasıl bulunduğunu gösterir.",
            },
        },
        Category {
            id: "marketing",
            required: false,
            name: Words { en: "Marketing", tr: "Pazarlama" },
            description: Words {
                en: "Measure campaigns and show offers that fit.",
                tr: "Kampanyaları ölçer ve size uygun teklifleri gösterir.",
            },
        },
    ],
};

/// Save a cookie choice
///
/// Appended, never changed. The address is kept only with consent to analytics.
#[utoipa::path(
    post, path = "/api/v1/consent/cookies", operation_id = "saveConsent", tag = "consent",
    security((), ("bearer" = [])), request_body = ConsentRequest,
    responses((status = 200, body = Wrapped<Saved>, description = "Durable"))
)]
pub async fn save(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let body = call.body().await?;
    let preferences = call.parsed(|cut| read_preferences(&body, cut))?;
    let app = call.app;
    let now = app.clock.now();
    let record = ConsentRecord {
        id: app.ids.next(now),
        created_at: now,
        user_id: call.optional_user().map(|user| user.0),
        document_version: app.settings.privacy_version(),
        preferences,
        ip_address: kept_address(preferences, call.client.ip),
        user_agent: call.user_agent().map(Cow::into_owned),
    };
    let commit = app.main.append(MainRecord::Consent(Box::new(record)).encode());
    Ok(call.reply_after(commit, &Saved { saved: true }))
}

/// Whether the caller's choice still holds
#[utoipa::path(
    get, path = "/api/v1/consent/cookies/status", operation_id = "consentStatus", tag = "consent",
    security((), ("bearer" = [])),
    responses((status = 200, body = Wrapped<Status>, description = "True to everything saved before"))
)]
pub async fn status(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    // An anonymous choice has nobody to be found by: clients remember it themselves.
    let user_version = match call.optional_user() {
        Some(user) => call.app.reads.consent_version(&user.0).await?,
        None => None,
    };
    let current_version = call.app.settings.privacy_version();
    let requires_re_consent = user_version.as_ref() != Some(&current_version);
    Ok(call.reply(Outcome::Served, &Status { current_version, user_version, requires_re_consent }))
}

/// What there is to choose
#[utoipa::path(
    get, path = "/api/v1/consent/cookies/policy", operation_id = "consentPolicy", tag = "consent",
    responses((status = 200, body = Wrapped<Policy>, description = "Four categories"))
)]
pub async fn policy(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    Ok(call.reply(Outcome::Served, &POLICY))
}

/// What a choice's body says, checked rule by rule.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_preferences(body: &[u8], cut: &mut Cut) -> Result<ConsentPreferences, ApiError> {
    let mut fields = ChoiceFields::default();
    let Choice { analytics, marketing, functional } = Choice::read(body, &mut fields, cut)?;
    Ok(ConsentPreferences { analytics, marketing, functional })
}
