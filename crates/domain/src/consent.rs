//! A cookie-consent choice as it is stored: one row of `consent_records`, never changed afterwards.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::UnixMillis;

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

/// One saved choice. `ip_address` is set only when `preferences.analytics` is true: this is the one place in Weir that
/// keeps an address. Field order is the journal's format: append, never reorder (see `record`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentRecord {
    pub id: Uuid,
    pub created_at: UnixMillis,
    pub user_id: Option<String>,
    pub document_version: String,
    pub preferences: ConsentPreferences,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
}

impl ConsentRecord {
    /// The `document_type` of every cookie-consent row.
    pub const DOCUMENT_TYPE: &'static str = "COOKIE_CONSENT";
}
