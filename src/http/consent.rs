//! Cookie consent: a choice is appended and never changed, `status` tells whether it still holds, `policy` what there is
//! to choose.
//!
//! The address is kept only when the visitor agrees to analytics; this is the one place in Weir where it is.

use std::borrow::Cow;

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Wrapped;
use super::body;
use super::endpoint::serve;
use super::fields::{self, json_fields};
use super::openapi::bodies::ConsentRequest;
use super::refusal::Refusal;
use super::rules::Rules;
use crate::domain::{ClientIp, ConsentPreferences, ConsentRecord, MainRecord, Outcome, Route};

json_fields! {
    /// The body, in the contract's order.
    pub struct ConsentBody { analytics = "analytics", marketing = "marketing", functional = "functional" }
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
pub async fn save(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::Consent, async |call| {
        let body = call.body(body::MAX_BYTES).await?;
        let preferences = call.app.parsed(|| read_preferences(&body))?;
        let app = call.app;
        let now = app.clock.now();
        let record = ConsentRecord {
            id: app.ids.next(now),
            created_at: now,
            user_id: call.optional_user().map(|user| user.0),
            document_version: app.settings.privacy_version(),
            preferences,
            ip_address: call.client.ip.filter(|_| preferences.analytics).map(ClientIp::text_for_consent),
            user_agent: call.user_agent().map(Cow::into_owned),
        };
        let keeping = app.keep_main(&MainRecord::Consent(Box::new(record)));
        Ok(call.answer_when_durable(keeping, &Saved { saved: true }))
    })
    .await
}

/// Whether the caller's choice still holds
#[utoipa::path(
    get, path = "/api/v1/consent/cookies/status", operation_id = "consentStatus", tag = "consent",
    security((), ("bearer" = [])),
    responses((status = 200, body = Wrapped<Status>, description = "True to everything saved before"))
)]
pub async fn status(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::ConsentStatus, async |call| {
        // An anonymous choice has nobody to be found by: clients remember it themselves.
        let user_version = match call.optional_user() {
            Some(user) => call.app.freshness.read(call.app.reads.consent_version(&user.0)).await?,
            None => None,
        };
        let current_version = call.app.settings.privacy_version();
        let requires_re_consent = user_version.as_ref() != Some(&current_version);
        Ok(call.answer(Outcome::Served, Status { current_version, user_version, requires_re_consent }))
    })
    .await
}

/// What there is to choose
#[utoipa::path(
    get, path = "/api/v1/consent/cookies/policy", operation_id = "consentPolicy", tag = "consent",
    responses((status = 200, body = Wrapped<Policy>, description = "Four categories"))
)]
pub async fn policy(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::ConsentPolicy, async |call| Ok(call.answer(Outcome::Served, POLICY))).await
}

/// What a choice's body says, checked rule by rule.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_preferences(body: &[u8]) -> Result<ConsentPreferences, Refusal> {
    let body: ConsentBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let preferences = ConsentPreferences {
        analytics: rules.required_boolean("analytics", &body.analytics),
        marketing: rules.required_boolean("marketing", &body.marketing),
        functional: rules.required_boolean("functional", &body.functional),
    };
    rules.finish()?;
    Ok(preferences)
}
