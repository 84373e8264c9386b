//! Sign-in: each call is one transaction.
//!
//! Invariant: a code is used once, and together with the sign-in that it allows.

use async_trait::async_trait;
use sqlx::{Postgres, Sqlite};

use weir_domain::{
    AccountRecord, CodeRequest, CreateUser, CreateUserOutcome, Credential, SignIn, SignInOutcome, SignedIn,
    UserIdentity,
};

use super::account::{Accounts, Made};
use super::tables::AccountTables;
use super::users::Draft;
use crate::position::PositionTable;
use crate::{AsOf, StoreError};

macro_rules! on_engine {
    ($engine:ty, $begin:literal) => {
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

            async fn sign_in(
                &self,
                sign_in: &SignIn,
                as_of: Option<AsOf>,
            ) -> Result<(SignInOutcome, Made), StoreError> {
                let mut transaction = self.0.begin_with($begin).await?;
                PositionTable::<$engine>::check(&mut transaction, as_of).await?;
                let email = match &sign_in.proof {
                    Credential::Code { address_hash, code_hash, email } => {
                        let good = Self::take_code(&mut transaction, address_hash, code_hash, sign_in.now).await?;
                        if !good {
                            transaction.commit().await?;
                            return Ok((SignInOutcome::Refused, None));
                        }
                        Some(email.as_str())
                    }
                    Credential::External { provider, subject, verified_email } => {
                        let known = Self::user_by_identity(&mut transaction, provider, subject).await?;
                        if let Some(user) = known {
                            transaction.commit().await?;
                            return Ok((SignInOutcome::SignedIn(Box::new(SignedIn { user, is_new: false })), None));
                        }
                        verified_email.as_deref()
                    }
                };
                let known = match email {
                    Some(email) => Self::user_by_email(&mut transaction, email).await?,
                    None => None,
                };
                let (user, mut made) = match known {
                    Some(user) => (user, None),
                    None => {
                        let draft = Draft {
                            user: &sign_in.candidate,
                            email,
                            origin: &sign_in.origin,
                            created_at: sign_in.now,
                            now: sign_in.now,
                        };
                        if let Some(record) = Self::insert_user(&mut transaction, &draft).await? {
                            let made = Self::user_by_id(&mut transaction, &sign_in.candidate.id).await?;
                            (made.ok_or_else(vanished)?, Some(Box::new(record)))
                        } else {
                            // Somebody was faster with the same address, or the candidate's names are taken.
                            let found = match email {
                                Some(email) => Self::user_by_email(&mut transaction, email).await?,
                                None => None,
                            };
                            match found {
                                Some(user) => (user, None),
                                None => return Ok((SignInOutcome::Collision, None)),
                            }
                        }
                    }
                };
                let is_new = made.is_some();
                if let Credential::External { provider, subject, .. } = &sign_in.proof {
                    let identity = UserIdentity { provider: provider.clone(), subject: subject.clone() };
                    if !Self::insert_identity(&mut transaction, &identity, &user.id, sign_in.now).await? {
                        // The same identity signs in at the same instant: the other one is to be found on trying again.
                        return Ok((SignInOutcome::Collision, None));
                    }
                    let record = made.get_or_insert_with(|| {
                        let (user_id, at) = (user.id.clone(), sign_in.now);
                        Box::new(AccountRecord { user_id, at, user: None, identity: None, visitor: None })
                    });
                    record.identity = Some(identity);
                }
                transaction.commit().await?;
                Ok((SignInOutcome::SignedIn(Box::new(SignedIn { user, is_new })), made))
            }

            async fn create_user(
                &self,
                request: &CreateUser,
                as_of: Option<AsOf>,
            ) -> Result<(CreateUserOutcome, Made), StoreError> {
                let mut transaction = self.0.begin_with($begin).await?;
                PositionTable::<$engine>::check(&mut transaction, as_of).await?;
                if let Some(user) = Self::user_by_id(&mut transaction, &request.user.id).await? {
                    return Ok((CreateUserOutcome::User { hash_id: user.hash_id, created: false }, None));
                }
                let draft = Draft {
                    user: &request.user,
                    email: request.email.as_deref(),
                    origin: &request.origin,
                    created_at: request.created_at,
                    now: request.now,
                };
                if let Some(record) = Self::insert_user(&mut transaction, &draft).await? {
                    transaction.commit().await?;
                    let hash_id = request.user.hash_id.clone();
                    return Ok((CreateUserOutcome::User { hash_id, created: true }, Some(Box::new(record))));
                }
                if let Some(user) = Self::user_by_id(&mut transaction, &request.user.id).await? {
                    return Ok((CreateUserOutcome::User { hash_id: user.hash_id, created: false }, None));
                }
                if let Some(email) = &request.email
                    && Self::user_by_email(&mut transaction, email).await?.is_some()
                {
                    return Ok((CreateUserOutcome::EmailTaken, None));
                }
                let taken: Option<(i32,)> = sqlx::query_as("SELECT 1 FROM users WHERE referral_code = $1")
                    .bind(&request.user.referral_code)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let outcome =
                    if taken.is_some() { CreateUserOutcome::ReferralCodeTaken } else { CreateUserOutcome::Collision };
                Ok((outcome, None))
            }
        }
    };
}

on_engine!(Postgres, "BEGIN");
on_engine!(Sqlite, "BEGIN IMMEDIATE");

fn vanished() -> StoreError {
    StoreError::Unavailable("a row that was just made is not there".to_owned())
}
