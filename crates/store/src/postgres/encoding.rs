//! Whether a database can hold every text that a record may have.
//!
//! Records are UTF-8, and the server converts what it is sent. In LATIN1 a Turkish city has no form: the record that brings
//! it would be refused, one after the other, for good. `SQL_ASCII` converts nothing and compares bytes. So every encoding but
//! UTF8 is refused, before a schema is made in it.

use sqlx::PgConnection;

use super::StoreError;

/// # Errors
/// [`StoreError::Encoding`] with the cure when it cannot; another when the server does not say.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), StoreError> {
    let encoding: String = sqlx::query_scalar("SHOW server_encoding").fetch_one(connection).await?;
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(StoreError::Encoding(format!(
        "it is {encoding}, which cannot hold every text; name a database in UTF8: \
         CREATE DATABASE weir ENCODING 'UTF8' TEMPLATE template0, see docs/postgresql.md"
    )))
}
