//! The `Authorization: Bearer` header (RFC 6750, section 2.1).

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use crate::auth::{AccessTokens, UserId};

/// The caller that a request names. A bad token counts as none.
#[must_use]
pub fn caller(headers: &HeaderMap, tokens: &AccessTokens) -> Option<UserId> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| tokens.verify(token.trim()))?
}
