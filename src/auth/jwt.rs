//! JSON Web Tokens (RFC 7519), checked against configured keys, each with its algorithm.
//!
//! Invariant: the algorithm comes from the configured key, never from the token, so `none` and a public key used as an
//! HMAC secret cannot pass. `exp` is required, `nbf` is honoured, both with 30 s leeway.
//! Cost: about 1.5 µs for HS256, 40 µs and more for a public key.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use prometheus::IntCounter;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::{self, KeysError, VerificationKeys};
use crate::config::JwtKey;
use weir_domain::UnixMillis;

const USER_ID_MAX_CHARACTERS: usize = 255;

/// A user, as the token names it: opaque text of 1 to 255 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserId(pub String);

/// Why there is no way to check or make tokens.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    #[error("jwt_public_key_file {0}")]
    Keys(#[from] KeysError),
    #[error("only a public key is configured: whoever has the private key makes the tokens")]
    CannotSign,
    #[error("the token could not be made: {0}")]
    Sign(jsonwebtoken::errors::Error),
}

/// Checks access tokens, and makes them where the secret is shared.
pub struct AccessTokens {
    trust: Trust,
    /// Valid tokens whose user nobody can tell.
    without_user: Option<IntCounter>,
}

enum Trust {
    Shared { key: DecodingKey, validation: Validation, secret: SecretString },
    Public(VerificationKeys),
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<Value>,
    id: Option<Value>,
}

#[derive(Serialize)]
struct NewClaims<'a> {
    sub: &'a str,
    iat: i64,
    exp: i64,
}

/// A user's id as account services write it: a text, or a whole number.
fn user_of(claim: Value) -> Option<UserId> {
    let user = match claim {
        Value::String(user) => user,
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return None,
    };
    let length = user.chars().count();
    (length > 0 && length <= USER_ID_MAX_CHARACTERS && !user.contains('\0')).then_some(UserId(user))
}

impl AccessTokens {
    /// With the configured key.
    ///
    /// # Errors
    /// When the public keys cannot be read or there is none.
    pub fn new(key: &JwtKey) -> Result<Self, JwtError> {
        let trust = match key {
            JwtKey::Shared(secret) => Trust::Shared {
                key: DecodingKey::from_secret(secret.expose_secret().as_bytes()),
                // Audience is the issuer's business with other services; tokens carry it or not.
                validation: keys::validation(Algorithm::HS256),
                secret: secret.clone(),
            },
            JwtKey::Public(path) => Trust::Public(VerificationKeys::open(path)?),
        };
        Ok(Self { trust, without_user: None })
    }

    /// The same, and counts valid tokens that name no user: somebody signed in is being taken for nobody.
    #[must_use]
    pub fn counting(self, without_user: IntCounter) -> Self {
        Self { without_user: Some(without_user), ..self }
    }

    /// The user of a valid token.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<UserId> {
        let claims: Claims = match &self.trust {
            Trust::Shared { key, validation, .. } => {
                let token = jsonwebtoken::decode(token, key, validation).ok()?;
                // Extensions that a token insists on are not understood.
                token.header.crit.is_none().then_some(token.claims)?
            }
            Trust::Public(keys) => keys.claims(token)?,
        };
        let user = claims.sub.and_then(user_of).or_else(|| claims.id.and_then(user_of));
        if user.is_none()
            && let Some(counter) = &self.without_user
        {
            if counter.get() == 0 {
                tracing::warn!("a valid access token names no user: neither sub nor id is a text or a whole number");
            }
            counter.inc();
        }
        user
    }

    /// Whether tokens can be made here.
    #[must_use]
    pub fn can_sign(&self) -> bool {
        matches!(self.trust, Trust::Shared { .. })
    }

    /// A token for a user, as the account service makes them.
    ///
    /// # Errors
    /// When only public keys are configured.
    pub fn mint(&self, user: &str, now: UnixMillis, lifetime_seconds: i64) -> Result<String, JwtError> {
        let Trust::Shared { secret, .. } = &self.trust else { return Err(JwtError::CannotSign) };
        let iat = now.0 / 1000;
        let claims = NewClaims { sub: user, iat, exp: iat + lifetime_seconds };
        let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(JwtError::Sign)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use serde_json::json;
    use weir_testkit::keys::{self as testing, P256_1, P256_2, SIGNERS, now_seconds, write_set};

    use super::*;

    fn tokens() -> AccessTokens {
        AccessTokens::new(&JwtKey::Shared("secret".to_owned().into())).unwrap()
    }

    fn now() -> UnixMillis {
        weir_domain::Clock::system().now()
    }

    fn signed(claims: &serde_json::Value, algorithm: Algorithm, secret: &str) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    #[test]
    fn access_token_minted_verifies_until_expiry() {
        let tokens = tokens();
        let valid = tokens.mint("user 1", now(), 60).unwrap();
        assert_eq!(tokens.verify(&valid), Some(UserId("user 1".into())));
        let within_leeway = tokens.mint("user 1", now(), -20).unwrap();
        assert!(tokens.verify(&within_leeway).is_some());
        let expired = tokens.mint("user 1", now(), -40).unwrap();
        assert_eq!(tokens.verify(&expired), None);
    }

    #[test]
    fn access_token_user_is_a_text_or_a_whole_number() {
        let tokens = tokens().counting(IntCounter::new("without_user", "x").unwrap());
        let exp = now().0 / 1000 + 60;
        for (claims, expected) in [
            (json!({"sub": 42, "exp": exp}), Some("42")),
            (json!({"sub": u64::MAX, "exp": exp}), Some("18446744073709551615")),
            (json!({"sub": -1, "exp": exp}), Some("-1")),
            (json!({"id": 42, "exp": exp}), Some("42")),
            (json!({"sub": "", "id": "i", "exp": exp}), Some("i")),
            (json!({"sub": 1.5, "exp": exp}), None),
            (json!({"sub": true, "exp": exp}), None),
        ] {
            let found = tokens.verify(&signed(&claims, Algorithm::HS256, "secret"));
            assert_eq!(found, expected.map(|user| UserId(user.to_owned())), "{claims}");
        }
        assert_eq!(tokens.without_user.as_ref().unwrap().get(), 2);
        assert!(tokens.verify(&signed(&json!({"sub": 1.5, "exp": exp}), Algorithm::HS256, "other")).is_none());
        assert_eq!(tokens.without_user.as_ref().unwrap().get(), 2);
    }

    #[test]
    fn access_token_with_any_defect_is_refused() {
        let tokens = tokens();
        let exp = now().0 / 1000 + 60;
        let good = serde_json::json!({"id": "u", "exp": exp});
        assert_eq!(tokens.verify(&signed(&good, Algorithm::HS256, "secret")), Some(UserId("u".into())));
        let sub_decides = serde_json::json!({"sub": "s", "id": 42, "exp": exp});
        assert_eq!(tokens.verify(&signed(&sub_decides, Algorithm::HS256, "secret")), Some(UserId("s".into())));
        for (why, token) in [
            ("another secret", signed(&good, Algorithm::HS256, "other")),
            ("another algorithm", signed(&good, Algorithm::HS512, "secret")),
            ("no exp", signed(&serde_json::json!({"sub": "u"}), Algorithm::HS256, "secret")),
            (
                "not yet valid",
                signed(&serde_json::json!({"sub": "u", "exp": exp, "nbf": exp - 10}), Algorithm::HS256, "secret"),
            ),
            ("no user", signed(&serde_json::json!({"exp": exp}), Algorithm::HS256, "secret")),
            ("an empty user", signed(&serde_json::json!({"sub": "", "exp": exp}), Algorithm::HS256, "secret")),
            (
                "a user of the wrong type",
                signed(&serde_json::json!({"sub": 7.5, "exp": exp}), Algorithm::HS256, "secret"),
            ),
            ("a user with a NUL", signed(&serde_json::json!({"sub": "a\0b", "exp": exp}), Algorithm::HS256, "secret")),
            (
                "a user that is too long",
                signed(&serde_json::json!({"sub": "x".repeat(256), "exp": exp}), Algorithm::HS256, "secret"),
            ),
            // {"alg":"none","typ":"JWT"} . {"sub":"u","exp":9999999999} . nothing
            ("no algorithm", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1IiwiZXhwIjo5OTk5OTk5OTk5fQ.".to_owned()),
            ("no token", "x".to_owned()),
        ] {
            assert_eq!(tokens.verify(&token), None, "{why}");
        }
    }

    fn public(path: &Path) -> AccessTokens {
        AccessTokens::new(&JwtKey::Public(path.to_owned())).unwrap()
    }

    #[test]
    fn jwt_key_shared_can_sign_and_public_cannot() {
        assert!(tokens().can_sign());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), P256_1.public).unwrap();
        let tokens = public(file.path());
        assert!(!tokens.can_sign());
        assert!(matches!(tokens.mint("u", now(), 60), Err(JwtError::CannotSign)));
    }

    #[test]
    fn jwt_public_key_file_missing_is_refused_by_name() {
        let error = AccessTokens::new(&JwtKey::Public("/nowhere/key.pem".into())).err().unwrap().to_string();
        assert!(error.starts_with("jwt_public_key_file /nowhere/key.pem: "), "{error}");
    }

    #[test]
    fn jwt_public_key_accepts_only_owner_signatures() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for signer in SIGNERS {
            let algorithm = signer.algorithm;
            for in_a_set in [false, true] {
                if in_a_set {
                    write_set(file.path(), &[(signer, Some("1"))]);
                } else {
                    std::fs::write(file.path(), signer.public).unwrap();
                }
                let tokens = public(file.path());
                let good = signer.sign(Some("1"), &testing::claims());
                assert_eq!(tokens.verify(&good), Some(UserId("user".into())), "{algorithm:?}");
                assert!(tokens.verify(&signer.sign(None, &testing::claims())).is_some(), "{algorithm:?}");
                let sign = |claims: Value| signer.sign(Some("1"), &claims);
                let exp = now_seconds() + 60;
                let (_, signature) = good.rsplit_once('.').unwrap();
                let other = sign(json!({"sub": "other", "exp": exp}));
                let (other_message, _) = other.rsplit_once('.').unwrap();
                for (why, token) in [
                    ("expired", sign(json!({"sub": "u", "exp": exp - 100}))),
                    ("no exp", sign(json!({"sub": "u"}))),
                    ("not yet valid", sign(json!({"sub": "u", "exp": exp, "nbf": exp - 10}))),
                    ("an nbf of the wrong type", sign(json!({"sub": "u", "exp": exp, "nbf": "now"}))),
                    ("an exp of the wrong type", sign(json!({"sub": "u", "exp": "tomorrow"}))),
                    ("a user of the wrong type", sign(json!({"sub": 7.5, "exp": exp}))),
                    ("claims of the wrong type", sign(json!(["sub", "u"]))),
                    ("no algorithm", unsigned("none")),
                    ("no signature", unsigned(&format!("{algorithm:?}"))),
                    ("the public key as a secret", confused("HS256", signer.public)),
                    ("the public key as a secret, trimmed", confused("HS256", signer.public.trim())),
                    ("an HMAC by another name", confused(&format!("{algorithm:?}"), signer.public)),
                    ("another token's signature", format!("{other_message}.{signature}")),
                    ("another key", P256_2.sign(Some("1"), &testing::claims())),
                ] {
                    assert_eq!(tokens.verify(&token), None, "{algorithm:?}, set {in_a_set}: {why}");
                }
            }
        }
    }

    fn unsigned(algorithm: &str) -> String {
        testing::unsigned(algorithm, "1", &testing::claims())
    }

    fn confused(algorithm: &str, secret: &str) -> String {
        testing::confused(algorithm, "1", secret, &testing::claims())
    }

    #[test]
    fn forged_token_helper_signs_with_given_secret() {
        // Or the tests above would refuse it for the wrong reason.
        assert!(tokens().verify(&confused("HS256", "secret")).is_some());
    }

    #[test]
    fn jwt_key_set_rotates_while_running() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_set(file.path(), &[(P256_1, Some("old")), (testing::RSA, Some("other"))]);
        let tokens = public(file.path());
        let (old, new) = (P256_1.sign(Some("old"), &testing::claims()), P256_2.sign(Some("new"), &testing::claims()));
        assert!(tokens.verify(&old).is_some());
        assert!(tokens.verify(&testing::RSA.sign(Some("other"), &testing::claims())).is_some());
        assert!(tokens.verify(&new).is_none());
        write_set(file.path(), &[(testing::RSA, Some("other")), (P256_2, Some("new"))]);
        std::thread::sleep(keys::EVERY + Duration::from_millis(50));
        assert!(tokens.verify(&new).is_some());
        assert!(tokens.verify(&old).is_none());
    }
}
