//! `record!`: one declaration for each record that becomes a row. From it come the struct, its form in the journal, its
//! columns in both databases, and its copy with texts of its own.
//!
//! ```text
//! record! {
//!     /// What it is.
//!     pub struct PageviewRecord<Text> in "analytics_pageviews" {
//!         /// What the field is.
//!         id: Uuid => ["id"],            a field, and the columns that it fills
//!         url: Text => ["url"],          `Text` is borrowed on the way in and out, a `String` elsewhere
//!     } optional {
//!         1, lang: Option<Text> => ["lang"],   a field that a later version added, under a tag of its own
//!     }
//! }
//! ```
//!
//! Without `in` and the columns it declares a record whose columns are written by hand in the store, because they depend on
//! more than the record. Without `<Text>` its texts are always its own.
//!
//! **The form in the journal.** The fields of the first block stand one after the other in postcard's wire format, without
//! names: their order and types never change (a stored fixture proves it). A record without an optional field is version 1,
//! and its bytes are those that the first release wrote. With one it is version 2: the same fields, then, for each optional
//! one that is set, its tag, its length and its bytes. So a new field copies no struct, and records without it do not change.
//! A tag that this build does not know was written by a later one: the record is neither dropped nor applied in part, the
//! writer halts ([`DecodeError::UnknownField`](super::DecodeError)).
//!
//! **A new field** goes into `optional` with the next free tag, and into a migration of both databases; the columns follow.
//! Cost: that of `#[derive(Serialize, Deserialize)]` on the struct.

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use super::decode_error::DecodeError;

/// The version of a record without optional fields.
pub(crate) const PLAIN: u8 = 1;
/// The version of a record with some.
pub(crate) const EXTENDED: u8 = 2;

/// A record's form in the journal, behind its kind and version.
pub(crate) trait JournalBody<'a>: Sized {
    /// [`PLAIN`], or [`EXTENDED`] when an optional field is set.
    fn version(&self) -> u8;

    /// Appends the fields.
    fn append_to(&self, bytes: Vec<u8>) -> Vec<u8>;

    /// Reads what `append_to` wrote under this version.
    ///
    /// # Errors
    /// When the bytes are something else.
    fn read(kind: u8, version: u8, bytes: &'a [u8]) -> Result<Self, DecodeError>;
}

/// A value with texts of its own.
pub(crate) trait ToOwnedText {
    type Owned;
    fn to_owned_text(&self) -> Self::Owned;
}

impl ToOwnedText for &str {
    type Owned = String;
    fn to_owned_text(&self) -> String {
        (*self).to_owned()
    }
}

impl<T: ToOwnedText> ToOwnedText for Option<T> {
    type Owned = Option<T::Owned>;
    fn to_owned_text(&self) -> Self::Owned {
        self.as_ref().map(T::to_owned_text)
    }
}

macro_rules! without_text {
    ($($type:ty),*) => { $(
        impl $crate::declare::ToOwnedText for $type {
            type Owned = Self;
            fn to_owned_text(&self) -> Self {
                *self
            }
        }
    )* };
}
without_text!(uuid::Uuid, u16, super::UnixMillis, super::VisitorHash);

macro_rules! record {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident<Text> in $table:literal {
            $($(#[$doc:meta])* $field:ident: $type:ty => [$($column:literal),+]),+ $(,)?
        } optional {
            $($(#[$optional_doc:meta])* $tag:literal, $optional:ident: Option<$optional_type:ty> => [$($optional_column:literal),+]),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name<Text = String> {
            $($(#[$doc])* pub $field: $type,)+
            $($(#[$optional_doc])* pub $optional: Option<$optional_type>,)*
        }

        impl $name {
            /// The table whose rows these are.
            pub const TABLE: &'static str = $table;
            /// Its columns, in the order in which [`Self::write_row`] fills them.
            pub const COLUMNS: &'static [&'static str] = &[$($($column,)+)+ $($($optional_column,)+)*];
        }

        impl<'q> $name<&'q str> {
            /// Writes the columns.
            pub fn write_row(&'q self, row: &mut impl $crate::RowWriter<'q>) {
                use $crate::row::Columns as _;
                $(self.$field.write_to(row);)+
                $(self.$optional.write_to(row);)*
            }

            /// The same with texts of its own.
            #[must_use]
            pub fn to_owned_texts(&self) -> $name {
                use $crate::declare::ToOwnedText as _;
                $name {
                    $($field: self.$field.to_owned_text(),)+
                    $($optional: self.$optional.to_owned_text(),)*
                }
            }
        }

        $crate::declare::record! { @journal [Text] $name<Text> {
            $($field),+
        } optional {
            $($tag, $optional),*
        } }
    };
    (
        $(#[$attribute:meta])*
        pub struct $name:ident$(<$text:ident>)? {
            $($(#[$doc:meta])* $field:ident: $type:ty),+ $(,)?
        } optional {
            $($(#[$optional_doc:meta])* $tag:literal, $optional:ident: Option<$optional_type:ty>),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name$(<$text = String>)? {
            $($(#[$doc])* pub $field: $type,)+
            $($(#[$optional_doc])* pub $optional: Option<$optional_type>,)*
        }

        $crate::declare::record! { @journal [$($text)?] $name$(<$text>)? {
            $($field),+
        } optional {
            $($tag, $optional),*
        } }
    };
    (@journal [$($text:ident)?] $name:ty { $($field:ident),+ } optional { $($tag:literal, $optional:ident),* }) => {
        impl<'a $(, $text: serde::Serialize + serde::Deserialize<'a>)?> $crate::declare::JournalBody<'a> for $name {
            fn version(&self) -> u8 {
                let is_extended = false $(|| self.$optional.is_some())*;
                if is_extended { $crate::declare::EXTENDED } else { $crate::declare::PLAIN }
            }

            fn append_to(&self, bytes: Vec<u8>) -> Vec<u8> {
                $(let bytes = $crate::declare::append(bytes, &self.$field);)+
                $(let bytes = $crate::declare::append_optional(bytes, $tag, self.$optional.as_ref());)*
                bytes
            }

            fn read(kind: u8, version: u8, bytes: &'a [u8]) -> Result<Self, $crate::DecodeError> {
                let mut fields = $crate::declare::FieldReader::new(kind, version, bytes);
                $(let $field = fields.next()?;)+
                $(let mut $optional = None;)*
                while let Some((tag, _value)) = fields.next_optional()? {
                    match tag {
                        $($tag => $optional = Some(fields.value(_value)?),)*
                        tag => return Err($crate::DecodeError::UnknownField { kind, tag }),
                    }
                }
                Ok(Self { $($field,)+ $($optional,)* })
            }
        }
    };
}
pub(crate) use record;

/// Appends a value in postcard's wire format.
///
/// # Panics
/// Never: plain data into a growing vector, which postcard has no way to fail at.
pub(crate) fn append<T: Serialize>(bytes: Vec<u8>, value: &T) -> Vec<u8> {
    postcard::serialize_with_flavor(value, Growing(bytes)).expect("plain data into a growing vector")
}

/// Appends an optional field with its tag and its length, if it is set.
#[cfg_attr(not(test), allow(dead_code, reason = "no record has an optional field yet"))]
pub(crate) fn append_optional<T: Serialize>(bytes: Vec<u8>, tag: u32, value: Option<&T>) -> Vec<u8> {
    match value {
        None => bytes,
        Some(value) => {
            let encoded = append(Vec::new(), value);
            append(append(bytes, &tag), &Bytes(&encoded))
        }
    }
}

/// Serialised as bytes with a length, and not one by one.
#[cfg_attr(not(test), allow(dead_code, reason = "no record has an optional field yet"))]
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Takes what postcard writes as it comes. Its own `to_extend` takes it byte by byte.
struct Growing(Vec<u8>);

impl Flavor for Growing {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Reads a record's fields one after the other.
pub(crate) struct FieldReader<'a> {
    kind: u8,
    version: u8,
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    pub fn new(kind: u8, version: u8, bytes: &'a [u8]) -> Self {
        Self { kind, version, rest: bytes }
    }

    /// The next field of the first block.
    pub fn next<T: Deserialize<'a>>(&mut self) -> Result<T, DecodeError> {
        let (value, rest) = postcard::take_from_bytes(self.rest).map_err(|error| self.undecodable(&error))?;
        self.rest = rest;
        Ok(value)
    }

    /// The next optional field: its tag and its bytes. `None` at the end.
    pub fn next_optional(&mut self) -> Result<Option<(u32, &'a [u8])>, DecodeError> {
        match (self.rest.len(), self.version) {
            (0, _) => Ok(None),
            (left, PLAIN) => {
                let reason = format!("{left} bytes left over");
                Err(DecodeError::Body { kind: self.kind, version: self.version, reason })
            }
            _ => Ok(Some((self.next()?, self.next()?))),
        }
    }

    /// The value of an optional field.
    #[cfg_attr(not(test), allow(dead_code, reason = "no record has an optional field yet"))]
    pub fn value<T: Deserialize<'a>>(&self, bytes: &'a [u8]) -> Result<T, DecodeError> {
        postcard::from_bytes(bytes).map_err(|error| self.undecodable(&error))
    }

    fn undecodable(&self, error: &postcard::Error) -> DecodeError {
        DecodeError::Body { kind: self.kind, version: self.version, reason: error.to_string() }
    }
}

#[cfg(test)]
#[allow(dead_code, reason = "the records here are never written to a row")]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::UnixMillis;

    record! {
        /// As the first release had it.
        pub struct First<Text> in "things" {
            id: Uuid => ["id"],
            name: Option<Text> => ["name"],
            at: UnixMillis => ["at"],
        } optional {}
    }

    record! {
        /// As a later one has it.
        pub struct Later<Text> in "things" {
            id: Uuid => ["id"],
            name: Option<Text> => ["name"],
            at: UnixMillis => ["at"],
        } optional {
            1, colour: Option<Text> => ["colour"],
            7, width: Option<u16> => ["width"],
        }
    }

    const KIND: u8 = 200;

    fn first() -> First {
        First { id: Uuid::from_u128(1), name: Some("one".to_owned()), at: UnixMillis(5) }
    }

    fn later(colour: Option<&str>, width: Option<u16>) -> Later {
        let First { id, name, at } = first();
        Later { id, name, at, colour: colour.map(str::to_owned), width }
    }

    #[test]
    fn record_without_optional_field_is_written_as_first_release_wrote_it() {
        let (then, now) = (first(), later(None, None));
        assert_eq!((then.version(), now.version()), (PLAIN, PLAIN));
        let bytes = then.append_to(Vec::new());
        assert_eq!(now.append_to(Vec::new()), bytes);
        assert_eq!(Later::read(KIND, PLAIN, &bytes), Ok(now));
    }

    #[test]
    fn record_with_optional_fields_survives() {
        for record in [later(Some("red"), None), later(None, Some(3)), later(Some(""), Some(u16::MAX))] {
            assert_eq!(record.version(), EXTENDED);
            let bytes = record.append_to(Vec::new());
            assert_eq!(Later::read(KIND, EXTENDED, &bytes).as_ref(), Ok(&record));
            let borrowed: Later<&str> = Later::read(KIND, EXTENDED, &bytes).unwrap();
            assert_eq!(borrowed.to_owned_texts(), record);
        }
    }

    #[test]
    fn record_of_later_version_halts_earlier_build_by_name() {
        let bytes = later(None, Some(3)).append_to(Vec::new());
        assert_eq!(<First>::read(KIND, EXTENDED, &bytes), Err(DecodeError::UnknownField { kind: KIND, tag: 7 }));
    }

    #[test]
    fn record_with_bytes_left_over_or_missing_is_refused() {
        let mut bytes = first().append_to(Vec::new());
        assert!(matches!(<First>::read(KIND, PLAIN, &bytes[..bytes.len() - 1]), Err(DecodeError::Body { .. })));
        bytes.push(0);
        assert!(matches!(<First>::read(KIND, PLAIN, &bytes), Err(DecodeError::Body { .. })));
        let bytes = later(Some("red"), None).append_to(Vec::new());
        for cut in 1..6 {
            let read = <Later>::read(KIND, EXTENDED, &bytes[..bytes.len() - cut]);
            assert!(matches!(read, Err(DecodeError::Body { .. })), "{cut}: {read:?}");
        }
    }

    #[test]
    fn record_columns_are_those_of_its_fields_in_order() {
        assert_eq!(Later::TABLE, "things");
        assert_eq!(Later::COLUMNS, ["id", "name", "at", "colour", "width"]);
    }
}
