//! Sign-in: each call is one transaction.
//!
//! Invariant: a code is used once, and together with the sign-in that it allows.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Postgres, Sqlite};

use weir_domain::{CodeRequest, CreateUser, CreateUserOutcome, Credential, SignIn, SignInOutcome, SignedIn};

use super::account::Accounts;
use super::tables::{AccountTables, Time};
use super::users::Draft;
use crate::position::PositionTable;
use crate::{AsOf, StoreError};

macro_rules! on_engine {
    ($engine:ty, $time:ty, $begin:literal) => {
        #[async_trait]
        impl Accounts for AccountTables<$engine> {
            async fn put_code(&self, request: &CodeRequest) -> Result<bool, StoreError> {
                let mut transaction = self.0.begin_with($begin).await?;
                let stored = Self::replace_code(&mut transaction, request).await?;
                if stored {
                    transaction.commit().await?;
                }
                Ok(stored)
            }

            async fn sign_in(&self, sign_in: &SignIn, as_of: Option<AsOf>) -> Result<SignInOutcome, StoreError> {
                let mut transaction = self.0.begin_with($begin).await?;
                PositionTable::<$engine>::check(&mut transaction, as_of).await?;
                let email = match &sign_in.proof {
                    Credential::Code { address_hash, code_hash, email } => {
                        let good = Self::take_code(&mut transaction, address_hash, code_hash, sign_in.now).await?;
                        if !good {
                            transaction.commit().await?;
                            return Ok(SignInOutcome::Refused);
                        }
                        Some(email.as_str())
                    }
                    Credential::External { provider, subject, verified_email } => {
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
                if let Credential::External { provider, subject, .. } = &sign_in.proof {
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

            async fn create_user(
                &self,
                request: &CreateUser,
                as_of: Option<AsOf>,
            ) -> Result<CreateUserOutcome, StoreError> {
                let mut transaction = self.0.begin_with($begin).await?;
                PositionTable::<$engine>::check(&mut transaction, as_of).await?;
                if let Some(user) = Self::user_by_id(&mut transaction, &request.user.id).await? {
                    return Ok(CreateUserOutcome::User { hash_id: user.hash_id, created: false });
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
                    return Ok(CreateUserOutcome::User { hash_id: request.user.hash_id.clone(), created: true });
                }
                if let Some(user) = Self::user_by_id(&mut transaction, &request.user.id).await? {
                    return Ok(CreateUserOutcome::User { hash_id: user.hash_id, created: false });
                }
                if let Some(email) = &request.email
                    && Self::user_by_email(&mut transaction, email).await?.is_some()
                {
                    return Ok(CreateUserOutcome::EmailTaken);
                }
                let taken: Option<(i32,)> = sqlx::query_as("SELECT 1 FROM users WHERE referral_code = $1")
                    .bind(&request.user.referral_code)
                    .fetch_optional(&mut *transaction)
                    .await?;
                Ok(if taken.is_some() { CreateUserOutcome::ReferralCodeTaken } else { CreateUserOutcome::Collision })
            }
        }
    };
}

on_engine!(Postgres, DateTime<Utc>, "BEGIN");
on_engine!(Sqlite, String, "BEGIN IMMEDIATE");

fn vanished() -> StoreError {
    StoreError::Unavailable("a row that was just made is not there".to_owned())
}
