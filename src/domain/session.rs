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
pub struct Place<Text = String> {
    /// ISO 3166-1 alpha-2.
    pub country: Option<Text>,
    /// English name.
    pub city: Option<Text>,
    /// First subdivision, English name.
    pub region: Option<Text>,
    /// Two-letter code.
    pub continent: Option<Text>,
    /// IANA name.
    pub timezone: Option<Text>,
}

impl Place {
    /// The same, borrowed.
    #[must_use]
    pub fn lend(&self) -> Place<&str> {
        Place {
            country: self.country.as_deref(),
            city: self.city.as_deref(),
            region: self.region.as_deref(),
            continent: self.continent.as_deref(),
            timezone: self.timezone.as_deref(),
        }
    }
}

/// A session that passed every gate. Field order is the journal's format: append, never reorder (see `record`). On its way
/// into the journal its texts are borrowed from the request, on its way out of it from the journal's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord<Text = String> {
    pub id: Uuid,
    pub started_at: UnixMillis,
    pub visitor: VisitorHash,
    pub bio_page_id: Option<Uuid>,
    pub creator_id: Option<Uuid>,
    pub landing_page: Text,
    pub referrer: Option<Text>,
    pub referrer_domain: Text,
    pub utm_source: Option<Text>,
    pub utm_medium: Option<Text>,
    pub utm_campaign: Option<Text>,
    pub utm_term: Option<Text>,
    pub utm_content: Option<Text>,
    pub device: Option<Text>,
    pub browser: Option<Text>,
    pub os: Option<Text>,
    pub os_version: Option<Text>,
    pub screen_width: Option<u16>,
    pub screen_height: Option<u16>,
    pub connection_type: Option<Text>,
    pub language: Option<Text>,
    pub place: Place<Text>,
}

impl<Text> SessionRecord<Text> {
    /// What the client is answered with whose session this is.
    #[must_use]
    pub fn answer(&self) -> KeyedAnswer {
        KeyedAnswer { id: Some(self.id), created_at: Some(self.started_at) }
    }
}

impl SessionRecord<&str> {
    /// The same with texts of its own.
    #[must_use]
    pub fn own(&self) -> SessionRecord {
        let text = |text: Option<&str>| text.map(str::to_owned);
        SessionRecord {
            id: self.id,
            started_at: self.started_at,
            visitor: self.visitor,
            bio_page_id: self.bio_page_id,
            creator_id: self.creator_id,
            landing_page: self.landing_page.to_owned(),
            referrer: text(self.referrer),
            referrer_domain: self.referrer_domain.to_owned(),
            utm_source: text(self.utm_source),
            utm_medium: text(self.utm_medium),
            utm_campaign: text(self.utm_campaign),
            utm_term: text(self.utm_term),
            utm_content: text(self.utm_content),
            device: text(self.device),
            browser: text(self.browser),
            os: text(self.os),
            os_version: text(self.os_version),
            screen_width: self.screen_width,
            screen_height: self.screen_height,
            connection_type: text(self.connection_type),
            language: text(self.language),
            place: Place {
                country: text(self.place.country),
                city: text(self.place.city),
                region: text(self.place.region),
                continent: text(self.place.continent),
                timezone: text(self.place.timezone),
            },
        }
    }
}
