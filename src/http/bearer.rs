//! The `Authorization: Bearer` header (RFC 6750, section 2.1).

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;

use super::AppState;
use crate::auth::UserId;

/// The caller, where signing in is optional: a bad token counts as none.
pub fn optional(request: &HttpRequest, app: &AppState) -> Option<UserId> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| app.access_tokens.verify(token.trim()))?
}
