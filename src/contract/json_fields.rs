//! The structs that bodies are read into: declared as a list of fields with their names in JSON.

/// A struct of [`Field`](super::fields::Field)s with their names in JSON.
macro_rules! json_fields {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident { $($field:ident = $key:literal),* $(,)? }) => {
        $(#[$attribute])*
        #[derive(Debug, Default)]
        $visibility struct $name<'a> { $(pub $field: $crate::contract::Field<'a>),* }

        impl $name<'_> {
            /// The names in JSON.
            #[allow(dead_code)] // most bodies need no order of their own
            pub const NAMES: &'static [&'static str] = &[$($key),*];
        }

        /// Fills in what is found.
        impl<'de> serde::de::DeserializeSeed<'de> for &mut $name<'de> {
            type Value = ();

            fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                #[allow(non_camel_case_types)]
                enum Key { $($field,)* Unknown }

                struct KeyVisitor;
                impl serde::de::Visitor<'_> for KeyVisitor {
                    type Value = Key;
                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        formatter.write_str("a field name")
                    }
                    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                        Ok(match key { $($key => Key::$field,)* _ => Key::Unknown })
                    }
                }
                impl<'de> serde::Deserialize<'de> for Key {
                    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                        deserializer.deserialize_identifier(KeyVisitor)
                    }
                }

                struct ObjectVisitor<'o, 'de>(&'o mut $name<'de>);
                impl<'de> serde::de::Visitor<'de> for ObjectVisitor<'_, 'de> {
                    type Value = ();
                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        formatter.write_str("an object")
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
                        while let Some(found) = map.next_key::<Key>()? {
                            match found {
                                $(Key::$field => self.0.$field = map.next_value()?,)*
                                Key::Unknown => { map.next_value::<serde::de::IgnoredAny>()?; }
                            }
                        }
                        Ok(())
                    }
                }
                deserializer.deserialize_map(ObjectVisitor(self))
            }
        }
    };
}
pub(crate) use json_fields;

/// Holds the document's fields of a body against those that are read of it.
///
/// # Panics
/// When they are not the same.
#[cfg(test)]
pub fn assert_described<T: utoipa::PartialSchema>(read: &[&str]) {
    let schema = serde_json::to_value(T::schema()).unwrap();
    let mut described: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut read = read.to_vec();
    described.sort_unstable();
    read.sort_unstable();
    assert_eq!(described, read);
}
