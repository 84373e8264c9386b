//! Who calls: access tokens, id tokens of other services, and signing in.
//!
//! - `keys`: public keys from a file, exchanged while Weir runs.
//! - `jwt`: access tokens, signed with a shared secret or by the owner of a private key.
//! - `id_token`: OpenID Connect id tokens, each judged by its provider's rules.
//! - `sign_in`: codes by mail, users and where they come from.

mod id_token;
mod jwt;
mod keys;
mod sign_in;

pub use id_token::{ExternalIdentity, IdTokenError, IdTokens, IdTokensError};
pub use jwt::{AccessTokens, JwtError, UserId};
pub use keys::{KeysError, VerificationKeys};
pub use sign_in::{AuthTokens, EmailAddress, ExternalUser, SignInError, SignInParts, SignInService};
