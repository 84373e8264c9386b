//! Sign-in codes, users and identities: each call is one transaction.
//!
//! Invariant: a code is used once, and together with the sign-in that it allows.

mod codes;
mod users;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Postgres, Sqlite};

use self::users::Draft;
use super::{People, Time};
use crate::domain::{UnixMillis, VisitorToken};
use crate::store::StoreError;

/// A new code for an address.
#[derive(Clone, Debug)]
pub struct CodeRequest {
    pub address_hash: String,
    pub code_hash: String,
    pub now: UnixMillis,
    pub expires_at: UnixMillis,
}

/// What an address may do within [`CodeLimits::window_ms`].
pub struct CodeLimits {
    pub window_ms: i64,
    pub codes: usize,
    pub failures: usize,
}

/// The contract's limits, by address (section 5).
pub const CODE_LIMITS: CodeLimits = CodeLimits { window_ms: 3_600_000, codes: 5, failures: 5 };

/// Why somebody is who they say.
#[derive(Clone, Debug)]
pub enum Proof {
    Code { address_hash: String, code_hash: String, email: String },
    External { provider: String, subject: String, verified_email: Option<String> },
}

/// What a new user is called.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub id: String,
    pub hash_id: String,
    pub referral_code: String,
}

/// Where a new user comes from, as this request tells it.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub visitor: Option<VisitorToken>,
    pub device: Option<String>,
    pub country: Option<String>,
    pub acquired_via_creator_id: Option<String>,
}

/// A sign-in.
#[derive(Clone, Debug)]
pub struct SignIn {
    pub proof: Proof,
    pub origin: Origin,
    /// Used when the user is new.
    pub candidate: NewUser,
    pub now: UnixMillis,
}

/// A user as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    pub id: String,
    pub hash_id: String,
    pub email: Option<String>,
    pub referral_code: String,
    /// The inviting user's hash id.
    pub invited_by: Option<String>,
    pub created_at: UnixMillis,
}

/// A user who has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    pub user: UserRow,
    pub is_new: bool,
}

/// What became of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInOutcome {
    SignedIn(Box<SignedIn>),
    /// No such code, a wrong one, an old one, or too many attempts: nobody is told which.
    Refused,
    /// The candidate's hash id or referral code is taken: try another one.
    Collision,
}

/// A user that another service has made.
#[derive(Clone, Debug)]
pub struct CreateUser {
    pub user: NewUser,
    pub email: Option<String>,
    pub origin: Origin,
    pub created_at: UnixMillis,
    pub now: UnixMillis,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// Made, or there already (`created` is false, and nothing was changed).
    User {
        hash_id: String,
        created: bool,
    },
    EmailTaken,
    ReferralCodeTaken,
    /// The candidate's hash id is taken: try another one.
    Collision,
}

/// Accounts.
#[async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// Replaces the address's code. False when the address had its codes for now.
    async fn put_code(&self, request: &CodeRequest) -> Result<bool, StoreError>;
    /// Signs in, and makes the user who is new.
    async fn sign_in(&self, sign_in: &SignIn) -> Result<SignInOutcome, StoreError>;
    /// Makes a user for another service.
    async fn create_user(&self, request: &CreateUser) -> Result<Created, StoreError>;
}

macro_rules! on_engine {
    ($engine:ty, $time:ty, $begin:literal) => {
        #[async_trait]
        impl Accounts for People<$engine> {
            async fn put_code(&self, request: &CodeRequest) -> Result<bool, StoreError> {
                let mut transaction = self.0.begin_with($begin).await?;
                let stored = Self::replace_code(&mut transaction, request).await?;
                if stored {
                    transaction.commit().await?;
                }
                Ok(stored)
            }

            async fn sign_in(&self, sign_in: &SignIn) -> Result<SignInOutcome, StoreError> {
                let mut transaction = self.0.begin_with($begin).await?;
                let email = match &sign_in.proof {
                    Proof::Code { address_hash, code_hash, email } => {
                        let good = Self::take_code(&mut transaction, address_hash, code_hash, sign_in.now).await?;
                        if !good {
                            transaction.commit().await?;
                            return Ok(SignInOutcome::Refused);
                        }
                        Some(email.as_str())
                    }
                    Proof::External { provider, subject, verified_email } => {
                        let known = Self::user_by_identity(&mut transaction, provider, subject).await?;
                        if let Some(user) = known {
                            transaction.commit().await?;
                            return Ok(SignInOutcome::SignedIn(Box::new(SignedIn { user, is_new: false })));
                        }
                        verified_email.as_deref()
                    }
                };
                let known = match email {
                    Some(email) => Self::user_by_email(&mut transaction, email).await?,
                    None => None,
                };
                let (user, is_new) = match known {
                    Some(user) => (user, false),
                    None => {
                        let draft = Draft {
                            user: &sign_in.candidate,
                            email,
                            origin: &sign_in.origin,
                            created_at: sign_in.now,
                            now: sign_in.now,
                        };
                        if Self::insert_user(&mut transaction, &draft).await? {
                            let made = Self::user_by_id(&mut transaction, &sign_in.candidate.id).await?;
                            (made.ok_or_else(vanished)?, true)
                        } else {
                            // Somebody was faster with the same address, or the candidate's names are taken.
                            let found = match email {
                                Some(email) => Self::user_by_email(&mut transaction, email).await?,
                                None => None,
                            };
                            match found {
                                Some(user) => (user, false),
                                None => return Ok(SignInOutcome::Collision),
                            }
                        }
                    }
                };
                if let Proof::External { provider, subject, .. } = &sign_in.proof {
                    let added = sqlx::query(
                        "INSERT INTO user_identities (provider, subject, user_id, created_at) VALUES ($1, $2, $3, $4)
                         ON CONFLICT (provider, subject) DO NOTHING",
                    )
                    .bind(provider)
                    .bind(subject)
                    .bind(&user.id)
                    .bind(<$time>::of(sign_in.now))
                    .execute(&mut *transaction)
                    .await?;
                    if added.rows_affected() == 0 {
                        // The same identity signs in at the same instant: the other one is to be found on trying again.
                        return Ok(SignInOutcome::Collision);
                    }
                }
                transaction.commit().await?;
                Ok(SignInOutcome::SignedIn(Box::new(SignedIn { user, is_new })))
            }

            async fn create_user(&self, request: &CreateUser) -> Result<Created, StoreError> {
                let mut transaction = self.0.begin_with($begin).await?;
                if let Some(user) = Self::user_by_id(&mut transaction, &request.user.id).await? {
                    return Ok(Created::User { hash_id: user.hash_id, created: false });
                }
                let draft = Draft {
                    user: &request.user,
                    email: request.email.as_deref(),
                    origin: &request.origin,
                    created_at: request.created_at,
                    now: request.now,
                };
                if Self::insert_user(&mut transaction, &draft).await? {
                    transaction.commit().await?;
                    return Ok(Created::User { hash_id: request.user.hash_id.clone(), created: true });
                }
                if let Some(user) = Self::user_by_id(&mut transaction, &request.user.id).await? {
                    return Ok(Created::User { hash_id: user.hash_id, created: false });
                }
                if let Some(email) = &request.email
                    && Self::user_by_email(&mut transaction, email).await?.is_some()
                {
                    return Ok(Created::EmailTaken);
                }
                let taken: Option<(i32,)> = sqlx::query_as("SELECT 1 FROM users WHERE referral_code = $1")
                    .bind(&request.user.referral_code)
                    .fetch_optional(&mut *transaction)
                    .await?;
                Ok(if taken.is_some() { Created::ReferralCodeTaken } else { Created::Collision })
            }
        }
    };
}

on_engine!(Postgres, DateTime<Utc>, "BEGIN");
on_engine!(Sqlite, String, "BEGIN IMMEDIATE");

fn vanished() -> StoreError {
    StoreError::Unavailable("a row that was just made is not there".to_owned())
}
