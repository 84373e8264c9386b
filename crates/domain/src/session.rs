//! A session as it is stored: one row of `analytics_sessions`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::declare::{ToOwnedText, record};
use super::{CachedResponse, UnixMillis};

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
pub struct GeoLocation<Text = String> {
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

impl ToOwnedText for GeoLocation<&str> {
    type Owned = GeoLocation;

    fn to_owned_text(&self) -> GeoLocation {
        let text = |text: Option<&str>| text.map(str::to_owned);
        GeoLocation {
            country: text(self.country),
            city: text(self.city),
            region: text(self.region),
            continent: text(self.continent),
            timezone: text(self.timezone),
        }
    }
}

impl GeoLocation {
    /// The same, borrowed.
    #[must_use]
    pub fn lend(&self) -> GeoLocation<&str> {
        GeoLocation {
            country: self.country.as_deref(),
            city: self.city.as_deref(),
            region: self.region.as_deref(),
            continent: self.continent.as_deref(),
            timezone: self.timezone.as_deref(),
        }
    }
}

record! {
    /// A session that passed every gate. On its way into the journal its texts are borrowed from the request, on its way out
    /// of it from the journal's bytes.
    pub struct SessionRecord<Text> in "analytics_sessions" {
        id: Uuid => ["id"],
        started_at: UnixMillis => ["started_at"],
        visitor: VisitorHash => ["visitor_id"],
        bio_page_id: Option<Uuid> => ["bio_page_id"],
        creator_id: Option<Uuid> => ["creator_id"],
        landing_page: Text => ["landing_page"],
        referrer: Option<Text> => ["referrer"],
        referrer_domain: Text => ["referrer_domain"],
        utm_source: Option<Text> => ["utm_source"],
        utm_medium: Option<Text> => ["utm_medium"],
        utm_campaign: Option<Text> => ["utm_campaign"],
        utm_term: Option<Text> => ["utm_term"],
        utm_content: Option<Text> => ["utm_content"],
        device: Option<Text> => ["device"],
        browser: Option<Text> => ["browser"],
        os: Option<Text> => ["os"],
        os_version: Option<Text> => ["os_version"],
        screen_width: Option<u16> => ["screen_width"],
        screen_height: Option<u16> => ["screen_height"],
        connection_type: Option<Text> => ["connection_type"],
        language: Option<Text> => ["language"],
        place: GeoLocation<Text> => ["country", "city", "region", "continent", "timezone"],
    } optional {}
}

impl<Text> SessionRecord<Text> {
    /// What the client is answered with whose session this is.
    #[must_use]
    pub fn answer(&self) -> CachedResponse {
        CachedResponse { id: Some(self.id), created_at: Some(self.started_at) }
    }
}
