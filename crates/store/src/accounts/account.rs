//! Accounts, as requests use them.

use async_trait::async_trait;
use weir_domain::{AccountRecord, CodeRequest, CreateUser, CreateUserOutcome, SignIn, SignInOutcome};

use crate::{AsOf, StoreError};

/// What a call made, for the journal: whoever is told of it must have it in both places.
pub type Made = Option<Box<AccountRecord>>;

/// Accounts. What is decided from what is there is decided as of a position of the main journal.
#[async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// Replaces the address's code. False when the address had its codes for now.
    async fn put_code(&self, request: &CodeRequest) -> Result<bool, StoreError>;
    /// Signs in, and makes the user who is new.
    async fn sign_in(&self, sign_in: &SignIn, as_of: Option<AsOf>) -> Result<(SignInOutcome, Made), StoreError>;
    /// Makes a user for another service.
    async fn create_user(
        &self,
        request: &CreateUser,
        as_of: Option<AsOf>,
    ) -> Result<(CreateUserOutcome, Made), StoreError>;
}
