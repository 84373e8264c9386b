//! The contract's rules as types: how a field is checked, what it is then, and how the `OpenAPI` document says so.

use std::marker::PhantomData;

use utoipa::openapi::KnownFormat;
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, SchemaType, Type};

use super::fields::Field;
use super::rules::Rules;

/// What a field must be.
pub trait Rule {
    /// What a checked field is. It borrows from the body's fields.
    type Value<'a>;
    /// Whether the document lists the field as required.
    const REQUIRED: bool;

    /// Notes what the field violates. What is given back then is never used.
    fn check<'a>(rules: &mut Rules, name: &'static str, field: &'a Field<'_>) -> Self::Value<'a>;

    /// How the document describes the field.
    fn schema() -> ObjectBuilder;
}

/// A text that must be there, of 1 to `MAX` characters.
pub struct Text<const MAX: usize>;

/// A text of at most `MAX` characters that must be there, and may be empty.
pub struct TextOrEmpty<const MAX: usize>;

/// A text of at most `MAX` characters, which may be missing, null or empty: none is there then.
pub struct OptionalText<const MAX: usize>;

/// The same where the limit is Weir's own: what is longer is cut, because the systems that it stands for had no limit.
pub struct CutText<const MAX: usize>;

/// A whole number from `MIN` to `MAX`, which may be missing or null.
pub struct OptionalInteger<const MIN: u16, const MAX: u16>;

/// A number that must be there.
pub struct Number;

/// A number that may be missing or null.
pub struct OptionalNumber;

/// `true` or `false`, which must be there.
pub struct Boolean;

/// Described like `R`, and left to the endpoint to check: its rule needs more than the field.
pub struct CheckedByEndpoint<R>(PhantomData<R>);

impl<const MAX: usize> Rule for Text<MAX> {
    type Value<'a> = &'a str;
    const REQUIRED: bool = true;

    fn check<'a>(rules: &mut Rules, name: &'static str, field: &'a Field<'_>) -> &'a str {
        rules.required_text(name, field, MAX)
    }

    fn schema() -> ObjectBuilder {
        text(MAX).min_length(Some(1))
    }
}

impl<const MAX: usize> Rule for TextOrEmpty<MAX> {
    type Value<'a> = &'a str;
    const REQUIRED: bool = true;

    fn check<'a>(rules: &mut Rules, name: &'static str, field: &'a Field<'_>) -> &'a str {
        rules.required_string(name, field, MAX)
    }

    fn schema() -> ObjectBuilder {
        text(MAX)
    }
}

impl<const MAX: usize> Rule for OptionalText<MAX> {
    type Value<'a> = Option<&'a str>;
    const REQUIRED: bool = false;

    fn check<'a>(rules: &mut Rules, name: &'static str, field: &'a Field<'_>) -> Option<&'a str> {
        rules.optional_text(name, field, MAX)
    }

    fn schema() -> ObjectBuilder {
        text(MAX).schema_type(or_null(Type::String))
    }
}

impl<const MAX: usize> Rule for CutText<MAX> {
    type Value<'a> = Option<&'a str>;
    const REQUIRED: bool = false;

    fn check<'a>(rules: &mut Rules, name: &'static str, field: &'a Field<'_>) -> Option<&'a str> {
        rules.cut_text(name, field, MAX)
    }

    fn schema() -> ObjectBuilder {
        ObjectBuilder::new().schema_type(or_null(Type::String))
    }
}

impl<const MIN: u16, const MAX: u16> Rule for OptionalInteger<MIN, MAX> {
    type Value<'a> = Option<u16>;
    const REQUIRED: bool = false;

    fn check(rules: &mut Rules, name: &'static str, field: &Field<'_>) -> Option<u16> {
        let value = rules.optional_integer(name, field, u32::from(MIN), u32::from(MAX));
        value.and_then(|value| u16::try_from(value).ok())
    }

    fn schema() -> ObjectBuilder {
        ObjectBuilder::new()
            .schema_type(or_null(Type::Integer))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .minimum(Some(MIN))
            .maximum(Some(MAX))
    }
}

impl Rule for Number {
    type Value<'a> = f64;
    const REQUIRED: bool = true;

    fn check(rules: &mut Rules, name: &'static str, field: &Field<'_>) -> f64 {
        rules.required_number(name, field)
    }

    fn schema() -> ObjectBuilder {
        number(Type::Number.into())
    }
}

impl Rule for OptionalNumber {
    type Value<'a> = Option<f64>;
    const REQUIRED: bool = false;

    fn check(rules: &mut Rules, name: &'static str, field: &Field<'_>) -> Option<f64> {
        rules.optional_number(name, field)
    }

    fn schema() -> ObjectBuilder {
        number(or_null(Type::Number))
    }
}

impl Rule for Boolean {
    type Value<'a> = bool;
    const REQUIRED: bool = true;

    fn check(rules: &mut Rules, name: &'static str, field: &Field<'_>) -> bool {
        rules.required_boolean(name, field)
    }

    fn schema() -> ObjectBuilder {
        ObjectBuilder::new().schema_type(Type::Boolean)
    }
}

impl<R: Rule> Rule for CheckedByEndpoint<R> {
    type Value<'a> = &'a Field<'a>;
    const REQUIRED: bool = R::REQUIRED;

    fn check<'a>(_: &mut Rules, _: &'static str, field: &'a Field<'_>) -> &'a Field<'a> {
        field
    }

    fn schema() -> ObjectBuilder {
        R::schema()
    }
}

/// A type that may be null.
#[must_use]
pub fn or_null(of: Type) -> SchemaType {
    [of, Type::Null].into_iter().collect()
}

fn text(max: usize) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).max_length(Some(max))
}

fn number(of: SchemaType) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(of).format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)))
}
