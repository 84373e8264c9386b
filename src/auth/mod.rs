//! Who calls: access tokens, and id tokens of other services.
//!
//! - `keys`: public keys from a file, exchanged while Weir runs.
//! - `jwt`: access tokens, signed with a shared secret or by the owner of a private key.
//! - `id_token`: OpenID Connect id tokens, each judged by its provider's rules.

mod id_token;
mod jwt;
mod keys;
#[cfg(test)]
mod testing;

pub use id_token::{ExternalIdentity, IdTokenError, IdTokens, IdTokensError};
pub use jwt::{AccessTokens, JwtError, UserId};
pub use keys::{KeysError, VerificationKeys};
