//! The bodies of signing in: their fields, their rules, and how the document describes them.

use utoipa::openapi::KnownFormat;
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat};
use weir_domain::VisitorToken;

use crate::auth::EmailAddress;
use crate::contract::kinds::{OptionalText, Text, TextOrEmpty};
use crate::contract::{Cut, Field, Rule, Rules, TEXT_MAX, fields, request_body};
use crate::http::protocol::api_error::ApiError;

/// What the document says; longer ones are no address.
const EMAIL_MAX: usize = 254;
const CODE_MAX: usize = 64;
/// An id token with many claims is long.
const ID_TOKEN_MAX: usize = 16_384;

request_body! {
    /// Who wants a code.
    pub struct CodeAsked from CodeAskedFields as CodeRequest {
        email: "email" => Email,
    }
}

request_body! {
    /// Who has a code.
    pub struct CodeGiven from CodeGivenFields as VerifyRequest {
        email: "email" => Email,
        code: "code" => Code,
        /// The visitor that a new user was until now.
        visitor_token: "visitorToken" => Visitor,
    }
}

request_body! {
    /// Who comes from another service.
    pub struct IdTokenGiven from IdTokenGivenFields as ExternalRequest {
        /// One of the configured names.
        provider: "provider" => Text<TEXT_MAX>,
        /// An OpenID Connect id token.
        id_token: "idToken" => Text<ID_TOKEN_MAX>,
        /// The visitor that a new user was until now.
        visitor_token: "visitorToken" => Visitor,
    }
}

/// A mail address. `None` comes with a violated rule.
pub struct Email;

impl Rule for Email {
    type Value<'a> = Option<EmailAddress>;
    const REQUIRED: bool = true;

    fn check(rules: &mut Rules, name: &'static str, field: &Field<'_>) -> Option<EmailAddress> {
        let text = rules.required_string(name, field, TEXT_MAX);
        let address = EmailAddress::parse(text);
        if address.is_none() {
            rules.refuse(name, "must be an email");
        }
        address
    }

    fn schema() -> ObjectBuilder {
        TextOrEmpty::<EMAIL_MAX>::schema()
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Email)))
            .examples(["ada@example.org"])
    }
}

/// A sign-in code.
pub struct Code;

impl Rule for Code {
    type Value<'a> = &'a str;
    const REQUIRED: bool = true;

    fn check<'a>(rules: &mut Rules, name: &'static str, field: &'a Field<'_>) -> &'a str {
        Text::<CODE_MAX>::check(rules, name, field)
    }

    fn schema() -> ObjectBuilder {
        Text::<CODE_MAX>::schema().examples(["123456"])
    }
}

/// A visitor's token, which may be missing or null. One that is not well-formed is nobody's, which is no error.
pub struct Visitor;

impl Rule for Visitor {
    type Value<'a> = Option<VisitorToken>;
    const REQUIRED: bool = false;

    fn check(rules: &mut Rules, name: &'static str, field: &Field<'_>) -> Option<VisitorToken> {
        rules.optional_text(name, field, TEXT_MAX).and_then(VisitorToken::parse)
    }

    fn schema() -> ObjectBuilder {
        OptionalText::<TEXT_MAX>::schema()
    }
}

/// Who asks for a code, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_code_request(body: &[u8], cut: &mut Cut) -> Result<EmailAddress, ApiError> {
    let mut fields = CodeAskedFields::default();
    CodeAsked::read(body, &mut fields, cut)?.email.ok_or(ApiError::CodeRefused)
}

/// Who has a code, the code, and the visitor that it was until now, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_code(body: &[u8], cut: &mut Cut) -> Result<(EmailAddress, String, Option<VisitorToken>), ApiError> {
    let mut fields = CodeGivenFields::default();
    let CodeGiven { email, code, visitor_token } = CodeGiven::read(body, &mut fields, cut)?;
    Ok((email.ok_or(ApiError::CodeRefused)?, code.to_owned(), visitor_token))
}

/// One of the `known` providers, its id token, and the visitor, checked rule by rule.
///
/// # Errors
/// When the body is malformed, or with every rule that it breaks.
pub fn read_id_token(
    body: &[u8],
    known: &[&str],
    cut: &mut Cut,
) -> Result<(String, String, Option<VisitorToken>), ApiError> {
    let fields: IdTokenGivenFields<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let IdTokenGiven { provider, id_token, visitor_token } = IdTokenGiven::check(&fields, &mut rules);
    if !provider.is_empty() && !known.contains(&provider) {
        rules.refuse("provider", &format!("must be one of the following values: {}", known.join(", ")));
    }
    rules.finish_in_order(IdTokenGivenFields::NAMES, cut)?;
    Ok((provider.to_owned(), id_token.to_owned(), visitor_token))
}
