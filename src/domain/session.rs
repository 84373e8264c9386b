//! A session as it is stored: one row of `analytics_sessions`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{KeyedAnswer, UnixMillis};

/// SHA-256 of the visitor id. The id itself never reaches a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitorHash(pub [u8; 32]);

impl VisitorHash {
    /// Lower-case hexadecimal, as the column holds it.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// The digits of [`Self::to_hex`], in ASCII and without an allocation.
    ///
    /// # Panics
    /// Never: there is room for two digits a byte.
    #[must_use]
    pub fn hex_digits(self) -> [u8; 64] {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).expect("there is room for two digits a byte");
        digits
    }
}

/// Where an address is, as far as GeoIP or the proxy could tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// English name.
    pub city: Option<String>,
    /// First subdivision, English name.
    pub region: Option<String>,
    /// Two-letter code.
    pub continent: Option<String>,
    /// IANA name.
    pub timezone: Option<String>,
}

/// A session that passed every gate. Field order is the journal's format: append, never reorder (see `record`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    pub id: Uuid,
    pub started_at: UnixMillis,
    pub visitor: VisitorHash,
    pub bio_page_id: Option<Uuid>,
    pub creator_id: Option<Uuid>,
    pub landing_page: String,
    pub referrer: Option<String>,
    pub referrer_domain: String,
    pub utm_source: Option<String>,
    pub utm_medium: Option<String>,
    pub utm_campaign: Option<String>,
    pub utm_term: Option<String>,
    pub utm_content: Option<String>,
    pub device: Option<String>,
    pub browser: Option<String>,
    pub os: Option<String>,
    pub os_version: Option<String>,
    pub screen_width: Option<u16>,
    pub screen_height: Option<u16>,
    pub connection_type: Option<String>,
    pub language: Option<String>,
    pub place: Place,
}

impl SessionRecord {
    /// What the client is answered with whose session this is.
    #[must_use]
    pub fn answer(&self) -> KeyedAnswer {
        KeyedAnswer { id: Some(self.id), created_at: Some(self.started_at) }
    }
}
