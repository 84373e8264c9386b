//! The tracking token of a bio page: proof that the page came from the platform's own renderer.
//!
//! The first 32 lower-case hex characters of HMAC-SHA256(secret, `<bioPageId>:<bucket>`), bucket = unix milliseconds /
//! 300,000, valid in its own and the next bucket (five to ten minutes).
//! Cost: one short HMAC, or two in the bucket after a token's own; the keyed state is made once.

use std::io::Write;

use subtle::ConstantTimeEq;

use weir_domain::{HmacKey, UnixMillis};

const BUCKET_MS: i64 = 300_000;
/// Half of the digest.
const TOKEN_BYTES: usize = 16;
/// A colon and any `i64`.
const BUCKET_CHARACTERS: usize = 21;

/// Makes and checks tracking tokens.
#[derive(Clone)]
pub struct TrackingTokens {
    key: HmacKey,
}

impl TrackingTokens {
    /// With the secret that the renderer uses too.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self { key: HmacKey::new(secret) }
    }

    /// The token for a page at a time.
    #[must_use]
    pub fn mint(&self, bio_page_id: &str, now: UnixMillis) -> String {
        hex::encode(self.of_bucket(bio_page_id, bucket(now)))
    }

    /// Whether the token is the page's, of the current or the previous bucket. Takes the same time wherever it differs;
    /// what the time tells is which bucket it is of, and everybody can count to that.
    #[must_use]
    pub fn verify(&self, bio_page_id: &str, token: &str, now: UnixMillis) -> bool {
        let mut claimed = [0; TOKEN_BYTES];
        let lower_case = !token.bytes().any(|byte| byte.is_ascii_uppercase());
        if !lower_case || hex::decode_to_slice(token, &mut claimed).is_err() {
            return false;
        }
        let is_of = |bucket| bool::from(self.of_bucket(bio_page_id, bucket).ct_eq(&claimed));
        is_of(bucket(now)) || is_of(bucket(now) - 1)
    }

    fn of_bucket(&self, bio_page_id: &str, bucket: i64) -> [u8; TOKEN_BYTES] {
        let mut message = Vec::with_capacity(bio_page_id.len() + BUCKET_CHARACTERS);
        message.extend(bio_page_id.as_bytes());
        write!(message, ":{bucket}").expect("a vector takes whatever it is given");
        let digest = self.key.sign(&message);
        std::array::from_fn(|at| digest[at])
    }
}

fn bucket(now: UnixMillis) -> i64 {
    now.0.div_euclid(BUCKET_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn tracking_token_matches_contract_value() {
        // printf '%s' "$PAGE:5925144" | openssl dgst -sha256 -hmac secret
        let token = TrackingTokens::new(b"secret").mint(PAGE, UnixMillis(5_925_144 * 300_000 + 17));
        assert_eq!(token, "314a80d1778818a459acf6ddba622462");
    }

    #[test]
    fn tracking_token_is_valid_in_two_buckets_only() {
        let tokens = TrackingTokens::new(b"secret");
        let made_at = UnixMillis(300_000 * 7 + 299_999);
        let token = tokens.mint(PAGE, made_at);
        for (later_ms, valid) in
            [(0, true), (1, true), (300_000, true), (300_001, false), (-299_999, true), (-300_000, false)]
        {
            assert_eq!(tokens.verify(PAGE, &token, UnixMillis(made_at.0 + later_ms)), valid, "{later_ms} ms later");
        }
    }

    proptest! {
        #[test]
        fn tracking_token_altered_is_refused(now in 0_i64..1 << 45, other in "[0-9a-f]{0,40}", place in 0_usize..32) {
            let tokens = TrackingTokens::new(b"secret");
            let token = tokens.mint(PAGE, UnixMillis(now));
            prop_assert!(tokens.verify(PAGE, &token, UnixMillis(now)));
            prop_assert!(!tokens.verify("22222222-2222-3333-4444-555555555555", &token, UnixMillis(now)));
            prop_assert!(!TrackingTokens::new(b"other").verify(PAGE, &token, UnixMillis(now)));
            prop_assert!(!tokens.verify(PAGE, &token.to_uppercase().replace(char::is_numeric, "A"), UnixMillis(now)));
            prop_assert!(other == token || !tokens.verify(PAGE, &other, UnixMillis(now)));
            let mut flipped = token.into_bytes();
            flipped[place] ^= 1;
            prop_assert!(!tokens.verify(PAGE, &String::from_utf8(flipped).unwrap(), UnixMillis(now)));
        }
    }
}
