//! Id tokens of other services (OpenID Connect Core 1.0, 3.1.3.7): a proof that a provider knows this person.
//!
//! Invariants: a token counts for the provider it is presented for and for no other: issuer and audience are exact, the
//! algorithm comes from the provider's keys. An address is passed on only when the provider says that it is verified.
//! Cost: that of the signature, 40 µs and more.

use serde::Deserialize;
use serde_json::Value;

use super::keys::{KeysError, VerificationKeys};
use crate::config::Provider;

const SUBJECT_MAX_CHARACTERS: usize = 255;
/// The longest address that a mail can be sent to (RFC 5321).
const EMAIL_MAX_CHARACTERS: usize = 254;

/// Whom a provider knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalIdentity {
    /// The provider's name in the configuration.
    pub provider: String,
    /// Who it is, unique and unchanging at this provider.
    pub subject: String,
    /// The lower-case address, when the provider has verified it.
    pub verified_email: Option<String>,
}

/// Why there is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    #[error("there is no such provider")]
    UnknownProvider,
    #[error("the id token is not valid")]
    Invalid,
}

/// A provider whose keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("providers.{provider}.jwks_file {source}")]
pub struct IdTokensError {
    provider: String,
    source: KeysError,
}

/// Checks the id tokens of every provider.
pub struct IdTokens {
    providers: Vec<Known>,
}

struct Known {
    name: String,
    issuers: Vec<String>,
    audiences: Vec<String>,
    keys: VerificationKeys,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    email: Option<Value>,
    email_verified: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl IdTokens {
    /// With every provider's keys.
    ///
    /// # Errors
    /// When the keys of one cannot be used.
    pub fn open(providers: &[Provider]) -> Result<Self, IdTokensError> {
        let known = |provider: &Provider| {
            let keys = VerificationKeys::open(&provider.jwks_file)
                .map_err(|source| IdTokensError { provider: provider.name.clone(), source })?;
            let Provider { name, issuers, audiences, .. } = provider.clone();
            Ok(Known { name, issuers, audiences, keys })
        };
        Ok(Self { providers: providers.iter().map(known).collect::<Result<_, _>>()? })
    }

    /// The providers' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.providers.iter().map(|provider| provider.name.as_str())
    }

    /// Who presents this token of this provider.
    ///
    /// # Errors
    /// When the provider is not configured, or anything about the token is wrong.
    pub fn verify(&self, provider: &str, token: &str) -> Result<ExternalIdentity, IdTokenError> {
        let known = self.providers.iter().find(|known| known.name == provider).ok_or(IdTokenError::UnknownProvider)?;
        known.identity(token).ok_or(IdTokenError::Invalid)
    }
}

impl Known {
    fn identity(&self, token: &str) -> Option<ExternalIdentity> {
        let claims: Claims = self.keys.claims(token)?;
        let for_us = match &claims.aud {
            Audience::One(audience) => self.audiences.contains(audience),
            Audience::Several(audiences) => {
                let asked_by_us =
                    audiences.len() == 1 || claims.azp.as_ref().is_some_and(|party| self.audiences.contains(party));
                audiences.iter().any(|audience| self.audiences.contains(audience)) && asked_by_us
            }
        };
        let length = claims.sub.chars().count();
        let is_subject = (1..=SUBJECT_MAX_CHARACTERS).contains(&length) && !claims.sub.contains('\0');
        (self.issuers.contains(&claims.iss) && for_us && is_subject).then(|| ExternalIdentity {
            provider: self.name.clone(),
            verified_email: verified_email(claims.email.as_ref(), claims.email_verified.as_ref()),
            subject: claims.sub,
        })
    }
}

fn verified_email(email: Option<&Value>, verified: Option<&Value>) -> Option<String> {
    // Some providers write the truth as a text.
    let verified = verified.is_some_and(|verified| *verified == true || *verified == "true");
    let email = email.filter(|_| verified)?.as_str()?.trim().to_lowercase();
    let is_address = email.contains('@')
        && email.chars().count() <= EMAIL_MAX_CHARACTERS
        && !email.contains(|character: char| character.is_control() || character.is_whitespace());
    is_address.then_some(email)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_testkit::keys::{ED25519, P256_1, P256_2, RSA, Signer, now_seconds, write_set};

    use super::*;

    struct Scene {
        directory: tempfile::TempDir,
        tokens: IdTokens,
    }

    fn scene() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let provider = |name: &str, signer: Signer| {
            let jwks_file = directory.path().join(name);
            write_set(&jwks_file, &[(signer, Some("1"))]);
            let issuer = format!("https://{name}.example");
            Provider {
                name: name.to_owned(),
                issuers: vec![issuer],
                audiences: vec!["weir".to_owned(), "app".to_owned()],
                jwks_file,
            }
        };
        let tokens = IdTokens::open(&[provider("one", P256_1), provider("two", RSA)]).unwrap();
        Scene { directory, tokens }
    }

    fn claims() -> Value {
        json!({
            "iss": "https://one.example", "aud": "weir", "sub": "s-1", "exp": now_seconds() + 60, "nbf": now_seconds(),
            "email": " Ann@Example.org ", "email_verified": true, "nonce": "n"
        })
    }

    fn with(changes: &Value) -> Value {
        let mut claims = claims();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    #[test]
    fn id_token_valid_yields_external_identity() {
        let Scene { tokens, .. } = scene();
        assert_eq!(tokens.names().collect::<Vec<_>>(), ["one", "two"]);
        let identity = tokens.verify("one", &P256_1.sign(Some("1"), &claims())).unwrap();
        assert_eq!(
            identity,
            ExternalIdentity {
                provider: "one".into(),
                subject: "s-1".into(),
                verified_email: Some("ann@example.org".into())
            }
        );
        let two = with(&json!({"iss": "https://two.example"}));
        assert_eq!(tokens.verify("two", &RSA.sign(Some("1"), &two)).unwrap().provider, "two");
    }

    #[test]
    fn id_token_with_permitted_variation_is_accepted() {
        let Scene { tokens, .. } = scene();
        for (what, claims) in [
            ("a list of one audience", with(&json!({"aud": ["weir"]}))),
            ("several audiences, asked by us", with(&json!({"aud": ["other", "weir"], "azp": "weir"}))),
            ("no nbf", without("nbf")),
            ("expired within the leeway", with(&json!({"exp": now_seconds() - 20}))),
            ("not yet valid within the leeway", with(&json!({"nbf": now_seconds() + 20}))),
            ("a subject of 255 characters", with(&json!({"sub": "ä".repeat(255)}))),
        ] {
            assert!(tokens.verify("one", &P256_1.sign(Some("1"), &claims)).is_ok(), "{what}");
        }
    }

    #[test]
    fn id_token_with_any_defect_is_refused() {
        let Scene { tokens, .. } = scene();
        for (why, claims) in [
            ("another issuer", with(&json!({"iss": "https://two.example"}))),
            ("an issuer that merely begins so", with(&json!({"iss": "https://one.example/"}))),
            ("a list of issuers", with(&json!({"iss": ["https://one.example"]}))),
            ("no issuer", without("iss")),
            ("another audience", with(&json!({"aud": "other"}))),
            ("other audiences", with(&json!({"aud": ["other", "third"], "azp": "weir"}))),
            ("several audiences, asked by another", with(&json!({"aud": ["weir", "other"], "azp": "other"}))),
            ("several audiences, asked by nobody", with(&json!({"aud": ["weir", "other"]}))),
            ("no audience", without("aud")),
            ("an empty list of audiences", with(&json!({"aud": []}))),
            ("an audience of the wrong type", with(&json!({"aud": 7}))),
            ("expired", with(&json!({"exp": now_seconds() - 40}))),
            ("no exp", without("exp")),
            ("an exp of the wrong type", with(&json!({"exp": "tomorrow"}))),
            ("not yet valid", with(&json!({"nbf": now_seconds() + 50}))),
            ("no subject", without("sub")),
            ("an empty subject", with(&json!({"sub": ""}))),
            ("a subject that is too long", with(&json!({"sub": "x".repeat(256)}))),
            ("a subject with a NUL", with(&json!({"sub": "a\0b"}))),
            ("a subject of the wrong type", with(&json!({"sub": 7}))),
        ] {
            let token = P256_1.sign(Some("1"), &claims);
            assert_eq!(tokens.verify("one", &token), Err(IdTokenError::Invalid), "{why}");
        }
        let good = P256_1.sign(Some("1"), &claims());
        for (why, token) in [
            ("another key", P256_2.sign(Some("1"), &claims())),
            ("another algorithm", ED25519.sign(Some("1"), &claims())),
            ("another key's name", P256_1.sign(Some("2"), &claims())),
            ("no signature", good.rsplit_once('.').unwrap().0.to_owned() + "."),
            ("no token", "x".to_owned()),
        ] {
            assert_eq!(tokens.verify("one", &token), Err(IdTokenError::Invalid), "{why}");
        }
        assert_eq!(tokens.verify("two", &good), Err(IdTokenError::Invalid), "another provider's token");
        assert_eq!(tokens.verify("three", &good), Err(IdTokenError::UnknownProvider));
    }

    #[test]
    fn id_token_email_unverified_or_malformed_is_dropped() {
        let Scene { tokens, .. } = scene();
        let email =
            |changes: &Value| tokens.verify("one", &P256_1.sign(Some("1"), &with(changes))).unwrap().verified_email;
        let longest = format!("{}@{}", "a".repeat(64), "b".repeat(189));
        assert_eq!(email(&json!({"email": longest})), Some(longest.clone()));
        assert!(email(&json!({"email_verified": "true"})).is_some());
        for changes in [
            json!({"email_verified": false}),
            json!({"email_verified": "false"}),
            json!({"email_verified": "TRUE"}),
            json!({"email_verified": 1}),
            json!({"email_verified": null}),
            json!({"email": null}),
            json!({"email": 7}),
            json!({"email": "nobody"}),
            json!({"email": "a@b\r\nBcc: c@d"}),
            json!({"email": format!("{longest}b")}),
        ] {
            assert_eq!(email(&changes), None, "{changes}");
        }
    }

    #[test]
    fn provider_jwks_file_unreadable_is_refused_by_name() {
        let Scene { directory, .. } = scene();
        let jwks_file = directory.path().join("nowhere");
        let provider = Provider {
            name: "one".into(),
            issuers: vec!["https://one.example".into()],
            audiences: vec!["weir".into()],
            jwks_file,
        };
        let error = IdTokens::open(&[provider]).err().unwrap().to_string();
        assert!(error.starts_with("providers.one.jwks_file ") && error.contains("nowhere"), "{error}");
    }
}
