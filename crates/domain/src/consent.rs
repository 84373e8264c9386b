//! A cookie-consent choice as it is stored: one row of `consent_records`, never changed afterwards.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::UnixMillis;
use super::declare::record;

/// The three categories that a visitor can choose; essential cookies are no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentPreferences {
    pub analytics: bool,
    pub marketing: bool,
    pub functional: bool,
}

impl ConsentPreferences {
    /// The `preferences` column.
    #[must_use]
    pub fn to_json(self) -> String {
        let Self { analytics, marketing, functional } = self;
        format!(r#"{{"analytics":{analytics},"marketing":{marketing},"functional":{functional}}}"#)
    }
}

record! {
    /// One saved choice. `ip_address` is set only when `preferences.analytics` is true: this is the one place in Weir that
    /// keeps an address.
    #[derive(Eq)]
    pub struct ConsentRecord {
        id: Uuid,
        created_at: UnixMillis,
        user_id: Option<String>,
        document_version: String,
        preferences: ConsentPreferences,
        ip_address: Option<String>,
        user_agent: Option<String>,
    } optional {}
}

impl ConsentRecord {
    /// The `document_type` of every cookie-consent row.
    pub const DOCUMENT_TYPE: &'static str = "COOKIE_CONSENT";
}
