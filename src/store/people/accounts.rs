//! Sign-in codes, users and identities: each call is one transaction.
//!
//! Invariants: a code is used once, and together with the sign-in that it allows; the row of an address is locked while
//! it is judged, so that attempts at the same instant are counted one by one; a user's origin is written with the user
//! and by no other statement.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row, Sqlite, SqliteConnection};
use subtle::ConstantTimeEq;

use super::{People, Time};
use crate::domain::{UnixMillis, VisitorToken, url_path};
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

/// A row to be made in `users`.
struct Draft<'a> {
    user: &'a NewUser,
    email: Option<&'a str>,
    origin: &'a Origin,
    created_at: UnixMillis,
    now: UnixMillis,
}

/// What an address has done lately, without what no longer counts.
fn recent(list: &str, now: UnixMillis) -> Vec<i64> {
    let moments: Vec<i64> = serde_json::from_str(list).unwrap_or_default();
    moments.into_iter().filter(|at| now.0 - at < CODE_LIMITS.window_ms).collect()
}

fn list(moments: &[i64]) -> String {
    serde_json::Value::from(moments).to_string()
}

macro_rules! on_engine {
    ($engine:ty, $connection:ty, $time:ty, $begin:literal, $lock:literal, $lock_visitor:literal) => {
        #[async_trait]
        impl Accounts for People<$engine> {
            async fn put_code(&self, request: &CodeRequest) -> Result<bool, StoreError> {
                let mut transaction = self.0.begin_with($begin).await?;
                // The row is made first, so that there is one to lock.
                sqlx::query(
                    "INSERT INTO sign_in_codes (address_hash, expires_at, codes_at, failures_at, updated_at)
                     VALUES ($1, $2, '[]', '[]', $2) ON CONFLICT (address_hash) DO NOTHING",
                )
                .bind(&request.address_hash)
                .bind(<$time>::of(request.now))
                .execute(&mut *transaction)
                .await?;
                let (codes_at,): (String,) = sqlx::query_as(concat!(
                    "SELECT codes_at FROM sign_in_codes WHERE address_hash = $1",
                    $lock
                ))
                .bind(&request.address_hash)
                .fetch_one(&mut *transaction)
                .await?;
                let mut codes_at = recent(&codes_at, request.now);
                if codes_at.len() >= CODE_LIMITS.codes {
                    return Ok(false);
                }
                codes_at.push(request.now.0);
                sqlx::query(
                    "UPDATE sign_in_codes SET code_hash = $2, expires_at = $3, codes_at = $4, updated_at = $5
                     WHERE address_hash = $1",
                )
                .bind(&request.address_hash)
                .bind(&request.code_hash)
                .bind(<$time>::of(request.expires_at))
                .bind(list(&codes_at))
                .bind(<$time>::of(request.now))
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await?;
                Ok(true)
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

        impl People<$engine> {
            /// Whether this is the address's live code, which it then no longer is. Counts the attempt that fails.
            async fn take_code(
                connection: &mut $connection,
                address_hash: &str,
                code_hash: &str,
                now: UnixMillis,
            ) -> Result<bool, StoreError> {
                type CodeRow = (Option<String>, $time, String);
                let row: Option<CodeRow> = sqlx::query_as(concat!(
                    "SELECT code_hash, expires_at, failures_at FROM sign_in_codes WHERE address_hash = $1",
                    $lock
                ))
                .bind(address_hash)
                .fetch_optional(&mut *connection)
                .await?;
                let Some((live, expires_at, failures_at)) = row else { return Ok(false) };
                let mut failures_at = recent(&failures_at, now);
                if failures_at.len() >= CODE_LIMITS.failures {
                    return Ok(false);
                }
                let fresh = now < Time::read(expires_at)?;
                let equal = live.is_some_and(|live| bool::from(live.as_bytes().ct_eq(code_hash.as_bytes())));
                let good = fresh && equal;
                if !good {
                    failures_at.push(now.0);
                }
                sqlx::query(
                    "UPDATE sign_in_codes SET failures_at = $2, updated_at = $3,
                            code_hash = CASE WHEN $4 THEN NULL ELSE code_hash END
                     WHERE address_hash = $1",
                )
                .bind(address_hash)
                .bind(list(&failures_at))
                .bind(<$time>::of(now))
                .bind(good)
                .execute(connection)
                .await?;
                Ok(good)
            }

            async fn user_by_id(connection: &mut $connection, id: &str) -> Result<Option<UserRow>, StoreError> {
                Self::user(connection, "WHERE account.id = $1", id, "").await
            }

            async fn user_by_email(connection: &mut $connection, email: &str) -> Result<Option<UserRow>, StoreError> {
                Self::user(connection, "WHERE account.email = $1", email, "").await
            }

            async fn user_by_identity(
                connection: &mut $connection,
                provider: &str,
                subject: &str,
            ) -> Result<Option<UserRow>, StoreError> {
                let by = "JOIN user_identities AS identity ON identity.user_id = account.id
                          WHERE identity.subject = $1 AND identity.provider = $2";
                Self::user(connection, by, subject, provider).await
            }

            /// The one user that a constant condition on `$1` and `$2` picks.
            async fn user(
                connection: &mut $connection,
                by: &'static str,
                first: &str,
                second: &str,
            ) -> Result<Option<UserRow>, StoreError> {
                let sql = format!(
                    "SELECT account.id, account.hash_id, account.email, account.referral_code, inviter.hash_id,
                            account.created_at
                     FROM users AS account LEFT JOIN users AS inviter ON inviter.id = account.invited_by_id {by}"
                );
                let query = sqlx::query(AssertSqlSafe(sql)).bind(first);
                let query = if by.contains("$2") { query.bind(second) } else { query };
                let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
                let created_at: $time = row.try_get(5)?;
                Ok(Some(UserRow {
                    id: row.try_get(0)?,
                    hash_id: row.try_get(1)?,
                    email: row.try_get(2)?,
                    referral_code: row.try_get(3)?,
                    invited_by: row.try_get(4)?,
                    created_at: Time::read(created_at)?,
                }))
            }

            /// Makes the user with the origin that the visitor brings, and links the visitor. False when the id, the
            /// address, the hash id or the referral code is there already; nothing is written then.
            async fn insert_user(connection: &mut $connection, draft: &Draft<'_>) -> Result<bool, StoreError> {
                let visitor = match draft.origin.visitor {
                    None => None,
                    Some(token) => {
                        sqlx::query(concat!(
                            "SELECT visitor.referrer, visitor.landing_url, visitor.utm_source, visitor.utm_medium,
                                    visitor.utm_campaign, visitor.utm_term, visitor.utm_content, inviter.id,
                                    inviter.referral_code
                             FROM visitors AS visitor LEFT JOIN users AS inviter ON inviter.id = visitor.invited_by_id
                             WHERE visitor.token = $1 AND visitor.user_id IS NULL",
                            $lock_visitor
                        ))
                        .bind(token.to_string())
                        .fetch_optional(&mut *connection)
                        .await?
                    }
                };
                let of_visitor = |index: usize| -> Result<Option<String>, StoreError> {
                    match &visitor {
                        Some(visitor) => Ok(visitor.try_get(index)?),
                        None => Ok(None),
                    }
                };
                let made = sqlx::query(
                    "INSERT INTO users (
                         id, hash_id, email, referral_code, invited_by_id, signup_referral_code, first_referrer_url,
                         first_landing_page, acquired_via_creator_id, utm_source, utm_medium, utm_campaign, utm_term,
                         utm_content, registration_device, registration_country, created_at
                     ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
                     ON CONFLICT DO NOTHING",
                )
                .bind(&draft.user.id)
                .bind(&draft.user.hash_id)
                .bind(draft.email)
                .bind(&draft.user.referral_code)
                .bind(of_visitor(7)?)
                .bind(of_visitor(8)?)
                .bind(of_visitor(0)?)
                .bind(of_visitor(1)?.as_deref().and_then(url_path))
                .bind(&draft.origin.acquired_via_creator_id)
                .bind(of_visitor(2)?)
                .bind(of_visitor(3)?)
                .bind(of_visitor(4)?)
                .bind(of_visitor(5)?)
                .bind(of_visitor(6)?)
                .bind(&draft.origin.device)
                .bind(&draft.origin.country)
                .bind(<$time>::of(draft.created_at))
                .execute(&mut *connection)
                .await?;
                if made.rows_affected() == 0 {
                    return Ok(false);
                }
                if let (Some(token), Some(_)) = (draft.origin.visitor, &visitor) {
                    sqlx::query("UPDATE visitors SET user_id = $2, updated_at = $3 WHERE token = $1")
                        .bind(token.to_string())
                        .bind(&draft.user.id)
                        .bind(<$time>::of(draft.now))
                        .execute(connection)
                        .await?;
                }
                Ok(true)
            }
        }
    };
}

on_engine!(Postgres, PgConnection, DateTime<Utc>, "BEGIN", " FOR UPDATE", " FOR UPDATE OF visitor");
on_engine!(Sqlite, SqliteConnection, String, "BEGIN IMMEDIATE", "", "");

fn vanished() -> StoreError {
    StoreError::Unavailable("a row that was just made is not there".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_within_the_hour_counts() {
        let now = UnixMillis(10_000_000);
        assert_eq!(recent("[6400000,6400001,9999999]", now), [6_400_001, 9_999_999]);
        assert_eq!(recent("nonsense", now), Vec::<i64>::new());
    }
}
