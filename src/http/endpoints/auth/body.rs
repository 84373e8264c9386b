//! The bodies of signing in: their fields, their rules, and how the document describes them.

use serde::Serialize;
use utoipa::ToSchema;
use weir_domain::VisitorToken;

use crate::auth::EmailAddress;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::fields;
use crate::http::protocol::json_fields::json_fields;
use crate::http::protocol::rules::{Rules, TEXT_MAX};

const CODE_MAX: usize = 64;
/// An id token with many claims is long.
const ID_TOKEN_MAX: usize = 16_384;

json_fields! {
    /// Who asks for a code.
    pub struct CodeBody { email = "email" }
}

json_fields! {
    /// Who has a code.
    pub struct VerifyBody { email = "email", code = "code", visitor_token = "visitorToken" }
}

json_fields! {
    /// Who comes from another service.
    pub struct ExternalBody { provider = "provider", id_token = "idToken", visitor_token = "visitorToken" }
}

/// Who wants a code.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
pub struct CodeRequest {
    #[schema(format = "email", max_length = 254, example = "ada@example.org")]
    email: String,
}

/// Who has a code.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
#[serde(rename_all = "camelCase")]
pub struct VerifyRequest {
    #[schema(format = "email", max_length = 254, example = "ada@example.org")]
    email: String,
    #[schema(min_length = 1, max_length = 64, example = "123456")]
    code: String,
    /// The visitor that a new user was until now.
    #[schema(max_length = 1024)]
    visitor_token: Option<String>,
}

/// Who comes from another service.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
#[serde(rename_all = "camelCase")]
pub struct ExternalRequest {
    /// One of the configured names.
    #[schema(min_length = 1, max_length = 1024)]
    provider: String,
    /// An OpenID Connect id token.
    #[schema(min_length = 1, max_length = 16384)]
    id_token: String,
    /// The visitor that a new user was until now.
    #[schema(max_length = 1024)]
    visitor_token: Option<String>,
}

/// Who asks for a code, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_code_request(body: &[u8]) -> Result<EmailAddress, ApiError> {
    let body: CodeBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let email = email(&mut rules, &body.email);
    rules.finish()?;
    email.ok_or(ApiError::CodeRefused)
}

/// Who has a code, the code, and the visitor that it was until now, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_code(body: &[u8]) -> Result<(EmailAddress, String, Option<VisitorToken>), ApiError> {
    let body: VerifyBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let email = email(&mut rules, &body.email);
    let code = rules.required_text("code", &body.code, CODE_MAX);
    let visitor = visitor(&mut rules, &body.visitor_token);
    rules.finish()?;
    Ok((email.ok_or(ApiError::CodeRefused)?, code.to_owned(), visitor))
}

/// One of the `known` providers, its id token, and the visitor, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_id_token(body: &[u8], known: &[&str]) -> Result<(String, String, Option<VisitorToken>), ApiError> {
    let body: ExternalBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let provider = rules.required_text("provider", &body.provider, TEXT_MAX);
    if !provider.is_empty() && !known.contains(&provider) {
        rules.refuse("provider", &format!("must be one of the following values: {}", known.join(", ")));
    }
    let id_token = rules.required_text("idToken", &body.id_token, ID_TOKEN_MAX);
    let visitor = visitor(&mut rules, &body.visitor_token);
    rules.finish()?;
    Ok((provider.to_owned(), id_token.to_owned(), visitor))
}

/// A mail address. `None` comes with a violated rule.
pub fn email(rules: &mut Rules, field: &fields::Field<'_>) -> Option<EmailAddress> {
    let text = rules.required_string("email", field, TEXT_MAX);
    let address = EmailAddress::parse(text);
    if address.is_none() {
        rules.refuse("email", "must be an email");
    }
    address
}

/// A visitor's token. One that is not well-formed is nobody's, which is no error.
pub fn visitor(rules: &mut Rules, field: &fields::Field<'_>) -> Option<VisitorToken> {
    rules.optional_text("visitorToken", field, TEXT_MAX).and_then(VisitorToken::parse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::protocol::json_fields::assert_described;

    #[test]
    fn document_of_the_body_has_the_fields_that_are_read() {
        assert_described::<CodeRequest>(CodeBody::FIELDS);
        assert_described::<VerifyRequest>(VerifyBody::FIELDS);
        assert_described::<ExternalRequest>(ExternalBody::FIELDS);
    }
}
