//! Signing in: by a code that goes to an address, or by another service's id token.
//!
//! Invariants: nothing tells whether an account exists, neither an answer nor the time it takes: asking for a code looks
//! at no account, and a wrong code, an old one and one too many are refused alike. Codes and the addresses that asked for
//! them are kept under a key only. A sign-in sees everything that was acknowledged before it.

use std::sync::Arc;

use uuid::Uuid;

use super::{AccessTokens, ExternalIdentity, IdTokens, JwtError};
use crate::mail::{self, Outbox};
use crate::read::{ReadBarrier, Unavailable};
use weir_domain::{
    Clock, CodeRequest, CreateUser, CreateUserOutcome, Credential, HmacKey, IdSource, JournalRecord as _, MainRecord,
    NewUser, SignIn, SignInOutcome, SignedIn, UnixMillis, UserOrigin, VisitorProfile, VisitorToken,
};
use weir_journal::{AppendError, Appender};
use weir_store::{Accounts, Made, VisitorTable};

const CODE_DIGITS: usize = 6;
const CODE_VALID_MINUTES: u32 = 10;
const EMAIL_MAX: usize = 254;
const HASH_ID_CHARACTERS: usize = 10;
const REFERRAL_CODE_CHARACTERS: usize = 8;
/// How often names are drawn anew when they are taken. The second time is already a wonder.
const CANDIDATES: usize = 4;
const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Nothing that looks like something else: people read these aloud.
const READABLE: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// Why a sign-in did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    #[error("the code is not valid")]
    Refused,
    #[error("signing in is not possible at the moment")]
    Unavailable,
}

impl From<Unavailable> for SignInError {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<AppendError> for SignInError {
    fn from(error: AppendError) -> Self {
        tracing::warn!(%error, "an account is in the database and not in the journal");
        Self::Unavailable
    }
}

impl From<getrandom::Error> for SignInError {
    fn from(error: getrandom::Error) -> Self {
        tracing::error!(%error, "no random bytes for a sign-in");
        Self::Unavailable
    }
}

impl From<JwtError> for SignInError {
    fn from(error: JwtError) -> Self {
        tracing::error!(%error, "no access token for a sign-in");
        Self::Unavailable
    }
}

/// A mail address as accounts are found by: trimmed and in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// The address that this text is, where the mailer can send to it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_lowercase();
        let fits = text.chars().count() <= EMAIL_MAX;
        (fits && mail::can_reach(&text)).then_some(Self(text))
    }

    /// As it is stored.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

/// What an account service wants to have made.
#[derive(Clone, Debug)]
pub struct ExternalUser {
    pub id: String,
    pub email: Option<EmailAddress>,
    pub referral_code: Option<String>,
    pub created_at: Option<UnixMillis>,
    pub origin: UserOrigin,
}

/// Signs people in.
pub struct SignInService {
    parts: SignInParts,
    key: HmacKey,
}

/// What signing in works with.
pub struct SignInParts {
    pub accounts: Arc<dyn Accounts>,
    pub visitors: Arc<dyn VisitorTable>,
    pub read_barrier: ReadBarrier,
    /// To the main journal.
    pub appender: Appender,
    pub outbox: Outbox,
    pub id_tokens: IdTokens,
    pub access_tokens: Arc<AccessTokens>,
    pub access_token_seconds: i64,
    pub ids: Arc<IdSource>,
    pub clock: Arc<Clock>,
}

impl SignInService {
    /// Keeps codes under this key.
    #[must_use]
    pub fn new(sign_in_key: &[u8], parts: SignInParts) -> Self {
        Self { parts, key: HmacKey::new(sign_in_key) }
    }

    /// Whether this process can make access tokens: where it has only a public key, an account service does that.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.parts.access_tokens.can_sign()
    }

    /// The names of the services whose id tokens are taken.
    #[must_use]
    pub fn providers(&self) -> Vec<&str> {
        self.parts.id_tokens.names().collect()
    }

    /// The mails that wait, and how many may.
    #[must_use]
    pub fn outbox(&self) -> (usize, usize) {
        self.parts.outbox.depth_and_capacity()
    }

    /// Sends a new code, unless the address had its codes for this hour; that is not told either.
    ///
    /// # Errors
    /// When the database is away, or no more mail can wait.
    pub async fn send_code(&self, email: &EmailAddress) -> Result<(), SignInError> {
        if !self.parts.outbox.has_room() {
            return Err(SignInError::Unavailable);
        }
        let code = random_text(b"0123456789", CODE_DIGITS)?;
        let now = self.parts.clock.now();
        let request = CodeRequest {
            address_hash: self.hash("address", &[&email.0]),
            code_hash: self.hash("code", &[&email.0, &code]),
            now,
            expires_at: UnixMillis(now.0 + i64::from(CODE_VALID_MINUTES) * 60_000),
        };
        if !self.parts.read_barrier.ask(self.parts.accounts.put_code(&request)).await? {
            return Ok(());
        }
        self.parts.outbox.send_code(&email.0, &code, CODE_VALID_MINUTES).map_err(|_| SignInError::Unavailable)
    }

    /// Signs in who has the address's live code.
    ///
    /// # Errors
    /// When the code is refused, or the database is behind or away.
    pub async fn by_code(
        &self,
        email: EmailAddress,
        code: &str,
        origin: UserOrigin,
    ) -> Result<AuthTokens, SignInError> {
        let proof = Credential::Code {
            address_hash: self.hash("address", &[&email.0]),
            code_hash: self.hash("code", &[&email.0, code.trim()]),
            email: email.0,
        };
        self.sign_in(proof, origin).await
    }

    /// Who this id token of a provider names.
    #[must_use]
    pub fn identify(&self, provider: &str, id_token: &str) -> Option<ExternalIdentity> {
        self.parts.id_tokens.verify(provider, id_token).ok()
    }

    /// Signs in whom a provider named.
    ///
    /// # Errors
    /// When the database is behind or away.
    pub async fn by_identity(&self, identity: ExternalIdentity, origin: UserOrigin) -> Result<AuthTokens, SignInError> {
        let ExternalIdentity { provider, subject, verified_email } = identity;
        self.sign_in(Credential::External { provider, subject, verified_email }, origin).await
    }

    /// The visitor behind a token that is no user's yet, once everything acknowledged is in the table.
    ///
    /// # Errors
    /// When the database is behind or away.
    pub async fn visitor(&self, token: VisitorToken) -> Result<Option<VisitorProfile>, SignInError> {
        Ok(self.parts.read_barrier.read(|as_of| self.parts.visitors.visitor_profile(token, as_of)).await?)
    }

    /// Makes the user of another account service, or finds the one that was made before.
    ///
    /// # Errors
    /// When the database is behind or away.
    pub async fn create_user(&self, user: ExternalUser) -> Result<CreateUserOutcome, SignInError> {
        let now = self.parts.clock.now();
        for _ in 0..CANDIDATES {
            let drawn = self.draw(now)?;
            let request = CreateUser {
                user: NewUser {
                    id: user.id.clone(),
                    hash_id: drawn.hash_id,
                    referral_code: user.referral_code.clone().unwrap_or(drawn.referral_code),
                },
                email: user.email.clone().map(EmailAddress::into_text),
                origin: user.origin.clone(),
                created_at: user.created_at.unwrap_or(now),
                now,
            };
            let (outcome, made) =
                self.parts.read_barrier.read(|as_of| self.parts.accounts.create_user(&request, as_of)).await?;
            self.remember(made).await?;
            match outcome {
                CreateUserOutcome::Collision => {}
                CreateUserOutcome::ReferralCodeTaken if user.referral_code.is_none() => {}
                created => return Ok(created),
            }
        }
        Err(SignInError::Unavailable)
    }

    async fn sign_in(&self, proof: Credential, origin: UserOrigin) -> Result<AuthTokens, SignInError> {
        let now = self.parts.clock.now();
        let mut request = SignIn { proof, origin, candidate: self.draw(now)?, now };
        for _ in 0..CANDIDATES {
            let (outcome, made) =
                self.parts.read_barrier.read(|as_of| self.parts.accounts.sign_in(&request, as_of)).await?;
            self.remember(made).await?;
            match outcome {
                SignInOutcome::SignedIn(signed_in) => {
                    let access_token =
                        self.parts.access_tokens.mint(&signed_in.user.id, now, self.parts.access_token_seconds)?;
                    return Ok(AuthTokens { access_token, signed_in: *signed_in });
                }
                SignInOutcome::Refused => return Err(SignInError::Refused),
                SignInOutcome::Collision => request.candidate = self.draw(now)?,
            }
        }
        Err(SignInError::Unavailable)
    }

    /// Writes to the journal what a sign-in has made: a database that goes back gets it again, with the same ids.
    async fn remember(&self, made: Made) -> Result<(), SignInError> {
        let Some(account) = made else { return Ok(()) };
        self.parts.appender.append(MainRecord::Account(account).encode())?.await?;
        Ok(())
    }

    /// What a new user is to be called.
    fn draw(&self, now: UnixMillis) -> Result<NewUser, getrandom::Error> {
        let id: Uuid = self.parts.ids.next(now);
        Ok(NewUser {
            id: id.to_string(),
            hash_id: random_text(BASE62, HASH_ID_CHARACTERS)?,
            referral_code: random_text(READABLE, REFERRAL_CODE_CHARACTERS)?,
        })
    }

    /// What is kept of parts that belong together. No part can run into the next one.
    fn hash(&self, purpose: &str, parts: &[&str]) -> String {
        let mut message = Vec::new();
        for part in std::iter::once(&purpose).chain(parts) {
            message.extend((part.len() as u64).to_be_bytes());
            message.extend(part.as_bytes());
        }
        hex::encode(self.key.sign(&message))
    }
}

/// What somebody gets who has signed in. It cannot be printed.
pub struct AuthTokens {
    pub access_token: String,
    pub signed_in: SignedIn,
}

/// So many characters of an alphabet, each as likely as the others.
fn random_text(alphabet: &[u8], characters: usize) -> Result<String, getrandom::Error> {
    // Bytes past the last whole alphabet are thrown away, or its first characters would come more often.
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(characters);
    while text.len() < characters {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let drawn = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(drawn.map(|byte| char::from(alphabet[byte % alphabet.len()])).take(characters - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_text_has_requested_length_and_alphabet() {
        for _ in 0..200 {
            let code = random_text(b"0123456789", CODE_DIGITS).unwrap();
            assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        }
        let seen: std::collections::BTreeSet<char> = random_text(BASE62, 5000).unwrap().chars().collect();
        assert_eq!(seen.len(), 62);
    }

    #[test]
    fn email_address_parse_trims_lower_cases_and_validates() {
        assert_eq!(EmailAddress::parse("  Ada@Example.ORG "), EmailAddress::parse("ada@example.org"));
        for bad in [
            "",
            "ada",
            "ada@",
            "@example.org",
            "a b@example.org",
            "\"a b\"@example.org",
            "\"a\tb\"@example.org",
            "\"a\u{a0}b\"@example.org",
            "ada@example.org\r\nBcc: x@y.z",
            "a\0@b.cd",
        ] {
            assert_eq!(EmailAddress::parse(bad), None, "{bad:?}");
        }
        assert_eq!(EmailAddress::parse(&format!("{}@example.org", "a".repeat(250))), None);
    }
}
