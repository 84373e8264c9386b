//! JSON Web Tokens (RFC 7519), checked against one pinned key and algorithm.
//!
//! Invariant: the algorithm comes from the configured key, never from the token, so `none` and a public key used as an
//! HMAC secret cannot pass. `exp` is required, `nbf` is honoured, both with 30 s leeway.
//! Cost: about 1.5 µs for HS256, 40 µs and more for a public key.

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::JwtKey;
use crate::domain::UnixMillis;

const LEEWAY_SECONDS: u64 = 30;
const USER_ID_MAX_CHARACTERS: usize = 255;

/// A user, as the token names it: opaque text of 1 to 255 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserId(pub String);

/// Why there is no way to check or make tokens.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    #[error("jwt_public_key_file {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("jwt_public_key_file {0} is no RSA, P-256 or Ed25519 public key in PEM form")]
    Key(PathBuf),
    #[error("only a public key is configured: whoever has the private key makes the tokens")]
    CannotSign,
    #[error("the token could not be made: {0}")]
    Sign(jsonwebtoken::errors::Error),
}

/// Checks access tokens, and makes them where the secret is shared.
pub struct AccessTokens {
    key: DecodingKey,
    validation: Validation,
    secret: Option<SecretString>,
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

impl AccessTokens {
    /// With the configured key.
    ///
    /// # Errors
    /// When the public key cannot be read or is none.
    pub fn new(key: &JwtKey) -> Result<Self, JwtError> {
        let (key, algorithm, secret) = match key {
            JwtKey::Shared(secret) => {
                let key = DecodingKey::from_secret(secret.expose_secret().as_bytes());
                (key, Algorithm::HS256, Some(secret.clone()))
            }
            JwtKey::Public(path) => {
                let pem = std::fs::read(path).map_err(|source| JwtError::Read { path: path.clone(), source })?;
                let (key, algorithm) = public_key(&pem).ok_or_else(|| JwtError::Key(path.clone()))?;
                (key, algorithm, None)
            }
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        // Audience is the issuer's business with other services; tokens carry it or not.
        validation.validate_aud = false;
        Ok(Self { key, validation, secret })
    }

    /// The user of a valid token.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<UserId> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation).ok()?.claims;
        let text = |claim: Option<Value>| claim.and_then(|claim| claim.as_str().map(str::to_owned));
        let user = text(claims.sub).filter(|sub| !sub.is_empty()).or_else(|| text(claims.id))?;
        let length = user.chars().count();
        (length > 0 && length <= USER_ID_MAX_CHARACTERS && !user.contains('\0')).then_some(UserId(user))
    }

    /// A token for a user, as the account service makes them.
    ///
    /// # Errors
    /// When only a public key is configured.
    pub fn mint(&self, user: &str, now: UnixMillis, lifetime_seconds: i64) -> Result<String, JwtError> {
        let secret = self.secret.as_ref().ok_or(JwtError::CannotSign)?;
        let iat = now.0 / 1000;
        let claims = NewClaims { sub: user, iat, exp: iat + lifetime_seconds };
        let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(JwtError::Sign)
    }
}

fn public_key(pem: &[u8]) -> Option<(DecodingKey, Algorithm)> {
    let rsa = DecodingKey::from_rsa_pem(pem).map(|key| (key, Algorithm::RS256));
    let ec = || DecodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256));
    let ed = || DecodingKey::from_ed_pem(pem).map(|key| (key, Algorithm::EdDSA));
    rsa.or_else(|_| ec()).or_else(|_| ed()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> AccessTokens {
        AccessTokens::new(&JwtKey::Shared("secret".to_owned().into())).unwrap()
    }

    fn now() -> UnixMillis {
        crate::domain::Clock::system().now()
    }

    fn signed(claims: &serde_json::Value, algorithm: Algorithm, secret: &str) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    #[test]
    fn a_minted_token_names_its_user_until_it_expires() {
        let tokens = tokens();
        let valid = tokens.mint("user 1", now(), 60).unwrap();
        assert_eq!(tokens.verify(&valid), Some(UserId("user 1".into())));
        let within_leeway = tokens.mint("user 1", now(), -20).unwrap();
        assert!(tokens.verify(&within_leeway).is_some());
        let expired = tokens.mint("user 1", now(), -40).unwrap();
        assert_eq!(tokens.verify(&expired), None);
    }

    #[test]
    fn a_token_is_refused_for_each_thing_that_is_wrong_with_it() {
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
                signed(&serde_json::json!({"sub": 7, "exp": exp}), Algorithm::HS256, "secret"),
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
}
