//! Accounts: sign-in codes, credentials, users and where they come from; what users read of themselves.

use serde::{Deserialize, Serialize};

use super::declare::record;
use super::{Fingerprint, UnixMillis, VisitorToken};

/// A user's row as it was made, with where the user comes from. A field that comes later goes into the optional block of
/// [`AccountRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    pub id: String,
    pub hash_id: String,
    pub email: Option<String>,
    pub referral_code: String,
    pub invited_by_id: Option<String>,
    pub signup_referral_code: Option<String>,
    pub first_referrer_url: Option<String>,
    pub first_landing_page: Option<String>,
    pub acquired_via_creator_id: Option<String>,
    /// Source, medium, campaign, term, content.
    pub utm: [Option<String>; 5],
    pub registration_device: Option<String>,
    pub registration_country: Option<String>,
    pub created_at: UnixMillis,
}

/// Who a user is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserIdentity {
    pub provider: String,
    pub subject: String,
}

record! {
    /// What a sign-up made in the main database, or a sign-in by a new identity. The database has it before the journal does:
    /// only it knows which names and addresses are free. A database that went back gets the same user again from here.
    #[derive(Eq)]
    pub struct AccountRecord {
        user_id: String,
        at: UnixMillis,
        /// When the user is new.
        user: Option<UserRow>,
        identity: Option<UserIdentity>,
        /// The visitor that became this user.
        visitor: Option<VisitorToken>,
    } optional {}
}

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
pub enum Credential {
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
pub struct UserOrigin {
    pub visitor: Option<VisitorToken>,
    pub device: Option<String>,
    pub country: Option<String>,
    pub acquired_via_creator_id: Option<String>,
}

/// A sign-in.
#[derive(Clone, Debug)]
pub struct SignIn {
    pub proof: Credential,
    pub origin: UserOrigin,
    /// Used when the user is new.
    pub candidate: NewUser,
    pub now: UnixMillis,
}

/// A user as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
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
    pub user: User,
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
    pub origin: UserOrigin,
    pub created_at: UnixMillis,
    pub now: UnixMillis,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateUserOutcome {
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

/// One row of a user's consent history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredConsent {
    pub document_type: String,
    pub document_version: String,
    pub accepted: bool,
    pub created_at: UnixMillis,
}

/// Where a user came from, as it was when the account was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// The inviting user's id.
    pub referred_by: Option<String>,
    /// The inviting user's referral code.
    pub referral_code: Option<String>,
    pub first_referrer_url: Option<String>,
    pub first_landing_page: Option<String>,
    pub acquired_via_creator_id: Option<String>,
    /// Source, medium, campaign, term, content.
    pub utm: [Option<String>; 5],
    pub registration_device: Option<String>,
    pub registration_country: Option<String>,
    pub created_at: UnixMillis,
}

/// A visitor whose fingerprint still leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentVisitor {
    pub token: VisitorToken,
    pub fingerprint: Fingerprint,
    pub created_at: UnixMillis,
    /// Whether it is a user's: then nobody is led to it any more.
    pub is_linked: bool,
}

/// What a visitor tells of the person behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisitorProfile {
    pub user_agent: Option<String>,
    pub country: Option<String>,
}
