//! Users: found by what they are known by, made with where they come from.
//!
//! Invariant: a user's origin is written with the user and by no other statement.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row, Sqlite, SqliteConnection};

use super::tables::{AccountTables, Time};
use crate::StoreError;
use weir_domain::{NewUser, UnixMillis, User, UserOrigin, url_path};

/// A row to be made in `users`.
pub(super) struct Draft<'a> {
    pub user: &'a NewUser,
    pub email: Option<&'a str>,
    pub origin: &'a UserOrigin,
    pub created_at: UnixMillis,
    pub now: UnixMillis,
}

macro_rules! on_engine {
    ($engine:ty, $connection:ty, $time:ty, $lock_visitor:literal) => {
        impl AccountTables<$engine> {
            pub(super) async fn user_by_id(connection: &mut $connection, id: &str) -> Result<Option<User>, StoreError> {
                Self::user(connection, "WHERE account.id = $1", id, "").await
            }

            pub(super) async fn user_by_email(connection: &mut $connection, email: &str) -> Result<Option<User>, StoreError> {
                Self::user(connection, "WHERE account.email = $1", email, "").await
            }

            pub(super) async fn user_by_identity(
                connection: &mut $connection,
                provider: &str,
                subject: &str,
            ) -> Result<Option<User>, StoreError> {
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
            ) -> Result<Option<User>, StoreError> {
                let sql = format!(
                    "SELECT account.id, account.hash_id, account.email, account.referral_code, inviter.hash_id,
                            account.created_at
                     FROM users AS account LEFT JOIN users AS inviter ON inviter.id = account.invited_by_id {by}"
                );
                let query = sqlx::query(AssertSqlSafe(sql)).bind(first);
                let query = if by.contains("$2") { query.bind(second) } else { query };
                let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
                let created_at: $time = row.try_get(5)?;
                Ok(Some(User {
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
            pub(super) async fn insert_user(connection: &mut $connection, draft: &Draft<'_>) -> Result<bool, StoreError> {
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

on_engine!(Postgres, PgConnection, DateTime<Utc>, " FOR UPDATE OF visitor");
on_engine!(Sqlite, SqliteConnection, String, "");
