//! Who calls: access tokens.
//!
//! - `keys`: public keys from a file, exchanged while Weir runs.
//! - `jwt`: access tokens, signed with a shared secret or by the owner of a private key.

mod jwt;
mod keys;
#[cfg(test)]
mod testing;

pub use jwt::{AccessTokens, JwtError, UserId};
pub use keys::{KeysError, VerificationKeys};
