//! Who calls: access tokens.

mod jwt;

pub use jwt::{AccessTokens, JwtError, UserId};
