//! What a row of a GeoIP file says, in either of the two layouts that files have.
//!
//! - Nested, as MaxMind's own: `country.iso_code`, `city.names.en`, `subdivisions[0]`, `continent.code`, `location.time_zone`.
//! - Flat, as ip-location-db's: `country_code`, `city`, `state1`, `timezone`.
//!
//! Invariants: of a row only what is stored is decoded. A value that says nothing (`-`, a code that names no country, an
//! offset in place of a time zone) is none: the contract's rules are in [`weir_domain::country_code`] and here.

use std::fmt;

use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use weir_domain::{GeoLocation, country_code, has_one_time_zone};

/// How many rows are looked at for their layout.
const SAMPLED_ROWS: usize = 256;

/// A file in memory.
pub type Rows = Reader<Vec<u8>>;

/// How a file's rows are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Nested,
    Flat,
}

/// A place, and whether its time zone is that of the visitor rather than of the middle of a country.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub location: GeoLocation,
    pub is_time_zone_certain: bool,
}

impl Place {
    /// A place whose time zone, if it has one, gives way to the client's own.
    #[must_use]
    pub fn without_certainty(location: GeoLocation) -> Self {
        Self { location, is_time_zone_certain: false }
    }
}

impl Layout {
    /// The layout of a file.
    ///
    /// # Errors
    /// With what its rows have instead, when they have neither.
    pub fn of(rows: &Rows) -> Result<Self, String> {
        let kind = &rows.metadata().database_type;
        let sample = rows.networks(WithinOptions::default().skip_empty_values()).map_err(|error| error.to_string())?;
        let mut fields = None;
        for row in sample.flatten().take(SAMPLED_ROWS) {
            if row.decode::<NestedRow<'_>>().is_ok_and(|nested| nested.is_some_and(|nested| nested.says_something())) {
                return Ok(Self::Nested);
            }
            let Ok(Some(FieldNames(names))) = row.decode() else { continue };
            if names.split(", ").any(|name| name == "country_code") {
                return Ok(Self::Flat);
            }
            fields.get_or_insert(names);
        }
        match fields {
            Some(fields) => Err(format!(
                "rows of its type {kind} have {fields}: neither country.iso_code, city.names nor country_code is there"
            )),
            // A file without rows has no layout; its type has to do.
            None if ["City", "Country", "Enterprise"].iter().any(|word| kind.contains(word)) => Ok(Self::Nested),
            None => Err(format!("its type is {kind}, not one with cities or countries")),
        }
    }

    /// What a row says; `None` without a row.
    ///
    /// # Errors
    /// When the row is none of this layout.
    pub fn read(self, row: &LookupResult<'_, Vec<u8>>) -> Result<Option<Place>, MaxMindDbError> {
        Ok(match self {
            Self::Nested => row.decode::<NestedRow<'_>>()?.map(|row| row.place()),
            Self::Flat => row.decode::<FlatRow<'_>>()?.map(|row| row.place()),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NestedRow<'a> {
    #[serde(borrow)]
    city: Named<'a>,
    #[serde(borrow)]
    continent: Continent<'a>,
    #[serde(borrow)]
    country: Country<'a>,
    #[serde(borrow)]
    registered_country: Country<'a>,
    #[serde(borrow)]
    location: Location<'a>,
    #[serde(borrow)]
    subdivisions: First<Named<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Continent<'a> {
    code: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Country<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Location<'a> {
    time_zone: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    names: Names<'a>,
}

impl NestedRow<'_> {
    fn says_something(&self) -> bool {
        let codes = [self.country.iso_code, self.registered_country.iso_code, self.continent.code];
        codes.iter().any(Option::is_some) || self.city.names.0.is_some()
    }

    fn place(&self) -> Place {
        let country = self.country.iso_code.and_then(country_code);
        let registered = || self.registered_country.iso_code.and_then(country_code);
        place(
            country.or_else(registered),
            self.city.names.0,
            self.subdivisions.0.as_ref().and_then(|subdivision| subdivision.names.0),
            self.continent.code,
            self.location.time_zone,
        )
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FlatRow<'a> {
    country_code: Option<&'a str>,
    city: Option<&'a str>,
    state1: Option<&'a str>,
    timezone: Option<&'a str>,
}

impl FlatRow<'_> {
    fn place(&self) -> Place {
        place(self.country_code.and_then(country_code), self.city, self.state1, None, self.timezone)
    }
}

fn place(
    country: Option<&str>,
    city: Option<&str>,
    region: Option<&str>,
    continent: Option<&str>,
    time_zone: Option<&str>,
) -> Place {
    let (city, region) = (city.filter(|name| is_name(name)), region.filter(|name| is_name(name)));
    let is_time_zone_certain = city.is_some() || region.is_some() || country.is_some_and(has_one_time_zone);
    let continent = continent.filter(|code| ["AF", "AN", "AS", "EU", "NA", "OC", "SA"].contains(code));
    let time_zone = time_zone.filter(|zone| is_time_zone(zone));
    let text = |value: Option<&str>| value.map(str::to_owned);
    let location = GeoLocation {
        country: text(country),
        city: text(city),
        region: text(region),
        continent: text(continent),
        timezone: text(time_zone),
    };
    Place { location, is_time_zone_certain }
}

/// A file is foreign data: `-` stands for "none" in some, a bare language code in others, and no column may ever see a NUL.
fn is_name(name: &str) -> bool {
    let is_language = name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_lowercase());
    !is_language && !name.contains('\0') && name.chars().any(char::is_alphanumeric)
}

/// Whether it is a name such as `Europe/Vienna`, and not an offset such as `+01:00`.
fn is_time_zone(zone: &str) -> bool {
    let is_in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    zone == "UTC"
        || (zone.contains('/')
            && zone.starts_with(|first: char| first.is_ascii_alphabetic())
            && zone.bytes().all(is_in_names))
}

/// A name by language: the English one, else the first that the file has.
#[derive(Default)]
struct Names<'a>(Option<&'a str>);

impl<'de: 'a, 'a> Deserialize<'de> for Names<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByLanguage;

        impl<'de> Visitor<'de> for ByLanguage {
            type Value = Names<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("names by language")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut english, mut first) = (None, None);
                while let Some(language) = map.next_key::<&str>()? {
                    if language == "en" {
                        english = Some(map.next_value()?);
                    } else if first.is_none() {
                        first = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Names(english.or(first)))
            }
        }

        deserializer.deserialize_map(ByLanguage)
    }
}

/// The first of a list; what comes after it is not decoded.
#[derive(Default)]
struct First<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = First<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let first = list.next_element()?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }

        deserializer.deserialize_seq(List(std::marker::PhantomData))
    }
}

/// The names of a row's fields, for the message that says why a file is refused.
struct FieldNames(String);

impl<'de> Deserialize<'de> for FieldNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = FieldNames;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a row with fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<&str, IgnoredAny>()? {
                    names.push(name);
                }
                Ok(FieldNames(names.join(", ")))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Takes the district off a city's name, as DB-IP writes it: `Seoul (Toegye-ro)`.
#[must_use]
pub fn without_district(city: &str) -> &str {
    match city.strip_suffix(')').and_then(|city| city.rsplit_once(" (")) {
        Some((name, _)) if is_name(name) => name,
        _ => city,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_zone_that_is_no_name_is_none() {
        for zone in ["Europe/Vienna", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "UTC"] {
            assert!(is_time_zone(zone), "{zone}");
        }
        for zone in ["", "-", "+01:00", "-05:00", "de", "CET", "1/2", "Europe/Vienna\0", "Europe / Vienna"] {
            assert!(!is_time_zone(zone), "{zone}");
        }
    }

    #[test]
    fn city_that_is_no_name_is_none() {
        for name in ["Å", "Y", "Linköping", "東京", "Ii", "A Coruña", "1770"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-", "--", " ", "en", "de", "a\0b"] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn city_with_district_loses_the_district_alone() {
        for (city, expected) in [
            ("Seoul (Toegye-ro)", "Seoul"),
            ("Seoul", "Seoul"),
            ("Halle (Saale) (Mitte)", "Halle (Saale)"),
            ("(Mitte)", "(Mitte)"),
            (" (Mitte)", " (Mitte)"),
            ("Seoul (Toegye-ro", "Seoul (Toegye-ro"),
        ] {
            assert_eq!(without_district(city), expected);
        }
    }
}
