//! Visitors of `/track/init`: tokens, fingerprints, and what the journal carries of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::UnixMillis;
use super::declare::record;

/// How long a fingerprint leads to the visitor that was made with it, and how long it is kept.
pub const FINGERPRINT_LIFETIME_MS: i64 = 300_000;

const PREFIX: &str = "visitor_";

/// `visitor_` and 32 lower-case hex characters, as the 16 bytes that they stand for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VisitorToken(pub [u8; 16]);

impl VisitorToken {
    /// A token from 16 random bytes of a secure source.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The token that this text is; `None` when it is not well-formed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(PREFIX)?;
        let mut bytes = [0; 16];
        let lower_case = hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        (lower_case && hex::decode_to_slice(hex, &mut bytes).is_ok()).then_some(Self(bytes))
    }
}

impl fmt::Display for VisitorToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", hex::encode(self.0))
    }
}

/// Shows nothing: a token is what a visitor is recognised by.
impl fmt::Debug for VisitorToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("VisitorToken(withheld)")
    }
}

/// SHA-256 over address and user agent, keyed unless the operator wants the plain form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// As the column holds it.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// What the column holds.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

/// What a request of a visitor brings that is still to be known of it. Field order is the journal's format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    pub utm_source: Option<String>,
    pub utm_medium: Option<String>,
    pub utm_campaign: Option<String>,
    pub utm_term: Option<String>,
    pub utm_content: Option<String>,
    /// A user's hash id or referral code, as the client gave it: the writer finds out whose it is.
    pub invited_by: Option<String>,
}

impl Attributes {
    /// Whether nothing was brought.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

record! {
    /// A new visitor: one row of `visitors`.
    #[derive(Eq)]
    pub struct VisitorRecord {
        token: VisitorToken,
        created_at: UnixMillis,
        fingerprint: Fingerprint,
        user_agent: Option<String>,
        attributes: Attributes,
        referrer: Option<String>,
        landing_url: Option<String>,
        country: Option<String>,
        city: Option<String>,
        state: Option<String>,
    } optional {}
}

record! {
    /// A known visitor came back and brought something.
    #[derive(Eq)]
    pub struct VisitorFillRecord {
        token: VisitorToken,
        at: UnixMillis,
        attributes: Attributes,
    } optional {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visitor_token_round_trips_through_text() {
        let token = VisitorToken::random().unwrap();
        assert_eq!(VisitorToken::parse(&token.to_string()), Some(token));
        assert_eq!(token.to_string().len(), 8 + 32);
    }

    #[test]
    fn visitor_token_malformed_is_refused() {
        let good = "visitor_a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4";
        assert!(VisitorToken::parse(good).is_some());
        for bad in [
            "",
            "visitor_",
            &good[..39],
            &format!("{good}0"),
            &good.to_uppercase(),
            &good.replace('a', "A"),
            &good.replace('a', "g"),
            &good.replace("visitor_", "visitor-"),
            &good[8..],
        ] {
            assert!(VisitorToken::parse(bad).is_none(), "{bad:?}");
        }
    }
}
