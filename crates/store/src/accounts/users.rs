//! Users: found by what they are known by, made with where they come from.
//!
//! Invariant: a user's origin is written with the user and by no other statement.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row, Sqlite, SqliteConnection};

use super::tables::{AccountTables, Time};
use crate::StoreError;
use weir_domain::{
    AccountRecord, NewUser, UnixMillis, User, UserIdentity, UserOrigin, UserRow, VisitorToken, url_path,
};

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

            /// Makes the user with the origin that the visitor brings, and links the visitor. `None` when the id, the
            /// address, the hash id or the referral code is there already; nothing is written then.
            pub(super) async fn insert_user(
                connection: &mut $connection,
                draft: &Draft<'_>,
            ) -> Result<Option<AccountRecord>, StoreError> {
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
                let row = UserRow {
                    id: draft.user.id.clone(),
                    hash_id: draft.user.hash_id.clone(),
                    email: draft.email.map(str::to_owned),
                    referral_code: draft.user.referral_code.clone(),
                    invited_by_id: of_visitor(7)?,
                    signup_referral_code: of_visitor(8)?,
                    first_referrer_url: of_visitor(0)?,
                    first_landing_page: of_visitor(1)?.as_deref().and_then(url_path),
                    acquired_via_creator_id: draft.origin.acquired_via_creator_id.clone(),
                    utm: [of_visitor(2)?, of_visitor(3)?, of_visitor(4)?, of_visitor(5)?, of_visitor(6)?],
                    registration_device: draft.origin.device.clone(),
                    registration_country: draft.origin.country.clone(),
                    created_at: draft.created_at,
                };
                if !Self::insert_row(connection, &row).await? {
                    return Ok(None);
                }
                let linked = draft.origin.visitor.filter(|_| visitor.is_some());
                if let Some(token) = linked {
                    Self::link_visitor(connection, token, &row.id, draft.now).await?;
                }
                Ok(Some(AccountRecord {
                    user_id: row.id.clone(),
                    at: draft.now,
                    user: Some(row),
                    identity: None,
                    visitor: linked,
                }))
            }

            /// False when something of it is there already.
            async fn insert_row(connection: &mut $connection, row: &UserRow) -> Result<bool, StoreError> {
                let [utm_source, utm_medium, utm_campaign, utm_term, utm_content] = &row.utm;
                let made = sqlx::query(
                    "INSERT INTO users (
                         id, hash_id, email, referral_code, invited_by_id, signup_referral_code, first_referrer_url,
                         first_landing_page, acquired_via_creator_id, utm_source, utm_medium, utm_campaign, utm_term,
                         utm_content, registration_device, registration_country, created_at
                     ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
                     ON CONFLICT DO NOTHING",
                )
                .bind(&row.id)
                .bind(&row.hash_id)
                .bind(&row.email)
                .bind(&row.referral_code)
                .bind(&row.invited_by_id)
                .bind(&row.signup_referral_code)
                .bind(&row.first_referrer_url)
                .bind(&row.first_landing_page)
                .bind(&row.acquired_via_creator_id)
                .bind(utm_source)
                .bind(utm_medium)
                .bind(utm_campaign)
                .bind(utm_term)
                .bind(utm_content)
                .bind(&row.registration_device)
                .bind(&row.registration_country)
                .bind(<$time>::of(row.created_at))
                .execute(connection)
                .await?;
                Ok(made.rows_affected() > 0)
            }

            async fn link_visitor(
                connection: &mut $connection,
                token: VisitorToken,
                user_id: &str,
                at: UnixMillis,
            ) -> Result<(), StoreError> {
                sqlx::query("UPDATE visitors SET user_id = $2, updated_at = $3 WHERE token = $1 AND user_id IS NULL")
                    .bind(token.to_string())
                    .bind(user_id)
                    .bind(<$time>::of(at))
                    .execute(connection)
                    .await?;
                Ok(())
            }

            /// Makes sure that an identity is its user's. False when it was somebody's already, or there is no such user.
            pub(super) async fn insert_identity(
                connection: &mut $connection,
                identity: &UserIdentity,
                user_id: &str,
                at: UnixMillis,
            ) -> Result<bool, StoreError> {
                let added = sqlx::query(
                    "INSERT INTO user_identities (provider, subject, user_id, created_at)
                     SELECT $1, $2, id, $4 FROM users WHERE id = $3
                     ON CONFLICT (provider, subject) DO NOTHING",
                )
                .bind(&identity.provider)
                .bind(&identity.subject)
                .bind(user_id)
                .bind(<$time>::of(at))
                .execute(connection)
                .await?;
                Ok(added.rows_affected() > 0)
            }

            /// Makes sure that what accounts' records say is there, as it is before the record is in the journal; only in a
            /// database that went back it is not. How many users were made.
            pub(crate) async fn restore(
                connection: &mut $connection,
                accounts: &[&AccountRecord],
            ) -> Result<usize, StoreError> {
                let mut made = 0;
                for account in accounts {
                    if let Some(row) = &account.user {
                        if Self::insert_row(connection, row).await? {
                            made += 1;
                        } else if Self::user_by_id(connection, &row.id).await?.is_none() {
                            return Err(StoreError::Refused("the user's address or name is another user's".to_owned()));
                        }
                    }
                    if let Some(identity) = &account.identity {
                        Self::insert_identity(connection, identity, &account.user_id, account.at).await?;
                    }
                }
                Ok(made)
            }

            /// Links visitors to the users that they became, where they are not linked.
            pub(crate) async fn restore_links(
                connection: &mut $connection,
                accounts: &[&AccountRecord],
            ) -> Result<(), StoreError> {
                for account in accounts {
                    if let Some(token) = account.visitor {
                        Self::link_visitor(connection, token, &account.user_id, account.at).await?;
                    }
                }
                Ok(())
            }
        }
    };
}

on_engine!(Postgres, PgConnection, DateTime<Utc>, " FOR UPDATE OF visitor");
on_engine!(Sqlite, SqliteConnection, String, "");
