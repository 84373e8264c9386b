//! A JSON object's known fields, typed loosely: what a field must be is `rules`' subject, so that every violation can be
//! named at once instead of the first one ending the parse.
//!
//! Invariants: unknown fields are passed over without being built; strings are borrowed from the body unless they hold an
//! escape; of a repeated field the last one counts, as in JavaScript.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::body_error::{BodyError, Detail};

/// One field's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field<'a> {
    #[default]
    Absent,
    Null,
    Text(Cow<'a, str>),
    Boolean(bool),
    Number(f64),
    /// An array or an object.
    Structure,
}

impl<'de> Deserialize<'de> for Field<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Field::Boolean(value))
    }

    #[allow(clippy::cast_precision_loss)] // JavaScript's numbers lose the same digits
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Field::Number(value as f64))
    }

    #[allow(clippy::cast_precision_loss)] // JavaScript's numbers lose the same digits
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Field::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Field::Number(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Structure)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Structure)
    }
}

/// Parses a body into one of the structs that `json_fields!` makes. An empty body is `{}`.
pub fn parse<'de, T>(body: &'de [u8]) -> Result<T, BodyError>
where
    T: Default,
    for<'o> &'o mut T: DeserializeSeed<'de, Value = ()>,
{
    let mut object = T::default();
    fill(body, &mut object)?;
    Ok(object)
}

/// The same into one that is there, and has nothing in it yet: a large one is not moved about.
pub fn fill<'de, T>(body: &'de [u8], object: T) -> Result<(), BodyError>
where
    T: DeserializeSeed<'de, Value = ()>,
{
    if body.is_empty() {
        return Ok(());
    }
    // Text that is known to be UTF-8 is not looked at once more string by string.
    let filled = match std::str::from_utf8(body) {
        Ok(body) => fill_from(serde_json::Deserializer::from_str(body), object),
        Err(_) => fill_from(serde_json::Deserializer::from_slice(body), object),
    };
    filled.map_err(|error| error_of(&error))
}

fn fill_from<'de, R, T>(mut parser: serde_json::Deserializer<R>, object: T) -> serde_json::Result<()>
where
    R: serde_json::de::Read<'de>,
    T: DeserializeSeed<'de, Value = ()>,
{
    object.deserialize(&mut parser)?;
    parser.end()
}

/// The one field of this name of an object, as it was written.
pub fn raw<'a>(body: &'a [u8], name: &str) -> Result<Option<&'a RawValue>, BodyError> {
    if body.is_empty() {
        return Ok(None);
    }
    let mut parser = serde_json::Deserializer::from_slice(body);
    let found = parser.deserialize_map(RawVisitor { name }).and_then(|found| parser.end().map(|()| found));
    found.map_err(|error| error_of(&error))
}

struct RawVisitor<'n> {
    name: &'n str,
}

impl<'de> Visitor<'de> for RawVisitor<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == self.name {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// The error of a body that is no JSON, or no object.
#[must_use]
pub fn error_of(error: &serde_json::Error) -> BodyError {
    match error.classify() {
        serde_json::error::Category::Data => {
            BodyError::Validation(vec![Detail { field: None, message: "body must be an object".to_owned() }])
        }
        _ => BodyError::MalformedJson { line: error.line(), column: error.column() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::json_fields::json_fields;

    json_fields! {
        struct Sample { name = "name", size = "size" }
    }

    #[test]
    fn fields_known_are_kept_and_others_passed_over() {
        let sample: Sample<'_> =
            parse(br#"{"other": {"name": [1]}, "name": "a\u00fc", "size": 3, "size": null}"#).unwrap();
        assert_eq!(sample.name, Field::Text("aü".into()));
        assert_eq!(sample.size, Field::Null);
    }

    #[test]
    fn field_asked_for_raw_is_found_as_it_was_written() {
        let found = |body| raw(body, "items").map(|found| found.map(|found| found.get().to_owned()));
        assert_eq!(
            found(br#"{"a": {"items": 1}, "\u0069tems": [1,  {"b":2}], "c": []}"#).unwrap().unwrap(),
            r#"[1,  {"b":2}]"#
        );
        assert_eq!(found(br#"{"items": 1, "items": null}"#).unwrap().as_deref(), Some("null"));
        assert_eq!(found(b"{}").unwrap(), None);
        assert_eq!(found(b"").unwrap(), None);
        for body in [&b"[[1]]"[..], b"null", b"7"] {
            assert!(matches!(found(body), Err(BodyError::Validation(_))), "{body:?}");
        }
        for body in [&b"{\"items\": 1} x"[..], b"{\"items\": [}", b"{", b"{\"items\": \"\xff\"}"] {
            assert!(matches!(found(body), Err(BodyError::MalformedJson { .. })), "{body:?}");
        }
    }

    #[test]
    fn body_empty_is_an_empty_object() {
        assert_eq!(parse::<Sample<'_>>(b"").unwrap().name, Field::Absent);
    }

    #[test]
    fn json_malformed_is_told_by_place_only() {
        let error = parse::<Sample<'_>>(b"{\n  \"name\": secret}").unwrap_err();
        assert_eq!(error, BodyError::MalformedJson { line: 2, column: 11 });
        for body in [&b"{\"name\":\"\xff\"}"[..], b"{\"name\":\"x\"} x", b"{", b"{\"name\":\"\x01\"}"] {
            assert!(matches!(parse::<Sample<'_>>(body), Err(BodyError::MalformedJson { .. })), "{body:?}");
        }
    }

    #[test]
    fn body_that_is_no_object_breaks_a_rule() {
        for body in ["[]", "\"x\"", "7", "null", "true"] {
            assert!(matches!(parse::<Sample<'_>>(body.as_bytes()), Err(BodyError::Validation(_))), "{body}");
        }
    }

    #[test]
    fn json_nested_deeply_is_refused_without_a_crash() {
        let deep = format!("{{\"name\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
        let refused = parse::<Sample<'_>>(deep.as_bytes());
        assert!(matches!(refused, Ok(_) | Err(BodyError::MalformedJson { .. })));
        let unknown = format!("{{\"x\":{}{}}}", "{\"a\":".repeat(10_000), "1".to_owned() + &"}".repeat(10_000));
        let _ = parse::<Sample<'_>>(unknown.as_bytes());
    }
}
