//! The contract's validation rules, in class-validator's words, every violation listed in the order of the fields.
//!
//! Lengths count Unicode scalar values. A NUL is refused in any string: no database column may ever see one.

use super::body_error::{BodyError, Detail};
use super::fields::Field;

/// The maximum of strings for which the contract gives no other.
pub const TEXT_MAX: usize = 1024;
/// The maximum of URLs and referrers.
pub const URL_MAX: usize = 8192;

/// The fields whose texts were cut, by their names in JSON.
#[derive(Debug, Default)]
pub struct Cut(Vec<&'static str>);

impl Cut {
    /// The fields, once for each text.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }
}

/// Collects violations, and what was cut.
#[derive(Default)]
pub struct Rules {
    details: Vec<Detail>,
    cut: Cut,
}

impl Rules {
    /// A string that must be there and not be empty.
    pub fn required_text<'a>(&mut self, name: &'static str, field: &'a Field<'_>, max: usize) -> &'a str {
        match field {
            Field::Text(text) if text.is_empty() => {
                self.violated(name, format_args!("should not be empty"));
                ""
            }
            Field::Text(text) => self.checked_text(name, text, max),
            Field::Absent | Field::Null => {
                self.violated(name, format_args!("should not be empty"));
                self.violated(name, format_args!("must be a string"));
                ""
            }
            _ => {
                self.violated(name, format_args!("must be a string"));
                ""
            }
        }
    }

    /// A string that must be there, and may be empty.
    pub fn required_string<'a>(&mut self, name: &'static str, field: &'a Field<'_>, max: usize) -> &'a str {
        if let Field::Text(text) = field {
            return self.checked_text(name, text, max);
        }
        self.violated(name, format_args!("must be a string"));
        ""
    }

    /// A string that may be missing, null or empty, each of which is none. One that is too long is cut at a character.
    pub fn cut_text<'a>(&mut self, name: &'static str, field: &'a Field<'_>, max: usize) -> Option<&'a str> {
        let text = self.optional_text(name, field, usize::MAX)?;
        // Bytes are an upper bound of characters, as below.
        if text.len() <= max {
            return Some(text);
        }
        let Some((end, _)) = text.char_indices().nth(max) else { return Some(text) };
        self.cut.0.push(name);
        Some(&text[..end])
    }

    /// A string that may be missing, null or empty, each of which is none.
    pub fn optional_text<'a>(&mut self, name: &'static str, field: &'a Field<'_>, max: usize) -> Option<&'a str> {
        match field {
            Field::Absent | Field::Null => None,
            Field::Text(text) if text.is_empty() => None,
            Field::Text(text) => Some(self.checked_text(name, text, max)),
            _ => {
                self.violated(name, format_args!("must be a string"));
                None
            }
        }
    }

    /// A number that must be there.
    pub fn required_number(&mut self, name: &'static str, field: &Field<'_>) -> f64 {
        if let Field::Number(value) = field {
            return *value;
        }
        self.violated(name, format_args!("must be a number conforming to the specified constraints"));
        0.0
    }

    /// A number that may be missing or null.
    pub fn optional_number(&mut self, name: &'static str, field: &Field<'_>) -> Option<f64> {
        match field {
            Field::Absent | Field::Null => None,
            present => Some(self.required_number(name, present)),
        }
    }

    /// Notes a rule of an endpoint's own that is violated.
    pub fn refuse(&mut self, name: &'static str, rule: &str) {
        self.violated(name, format_args!("{rule}"));
    }

    /// A number within bounds that may be missing or null.
    pub fn optional_number_within(&mut self, name: &'static str, field: &Field<'_>, min: u32, max: u32) -> Option<f64> {
        let before = self.details.len();
        let value = self.number_between(name, field, min, max)?;
        if value.is_nan() {
            self.violated(name, format_args!("must be a number conforming to the specified constraints"));
        }
        (self.details.len() == before).then_some(value)
    }

    /// A whole number within bounds that may be missing or null.
    pub fn optional_integer(&mut self, name: &'static str, field: &Field<'_>, min: u32, max: u32) -> Option<u32> {
        let before = self.details.len();
        let value = self.number_between(name, field, min, max)?;
        if value.fract() != 0.0 {
            self.violated(name, format_args!("must be an integer number"));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole and within u32, checked above
        (self.details.len() == before).then_some(value as u32)
    }

    /// What is no number is NaN, and breaks every rule, as it does with class-validator.
    fn number_between(&mut self, name: &'static str, field: &Field<'_>, min: u32, max: u32) -> Option<f64> {
        let value = match field {
            Field::Absent | Field::Null => return None,
            Field::Number(value) => *value,
            _ => f64::NAN,
        };
        if value.is_nan() || value > f64::from(max) {
            self.violated(name, format_args!("must not be greater than {max}"));
        }
        if value.is_nan() || value < f64::from(min) {
            self.violated(name, format_args!("must not be less than {min}"));
        }
        Some(value)
    }

    /// `true` or `false`, nothing else.
    pub fn required_boolean(&mut self, name: &'static str, field: &Field<'_>) -> bool {
        if let Field::Boolean(value) = field {
            return *value;
        }
        self.violated(name, format_args!("must be a boolean value"));
        false
    }

    /// The end of the checks. What was cut is added to `cut`.
    ///
    /// # Errors
    /// With every violation, when there is one.
    pub fn finish(self, cut: &mut Cut) -> Result<(), BodyError> {
        cut.0.extend(self.cut.0);
        if self.details.is_empty() { Ok(()) } else { Err(BodyError::Validation(self.details)) }
    }

    /// The same, where some rules were checked after those of later fields: violations are told in the order of `names`.
    ///
    /// # Errors
    /// With every violation, when there is one.
    pub fn finish_in_order(mut self, names: &[&str], cut: &mut Cut) -> Result<(), BodyError> {
        self.details.sort_by_key(|detail| names.iter().position(|name| detail.field == Some(name)));
        self.finish(cut)
    }

    fn checked_text<'a>(&mut self, name: &'static str, text: &'a str, max: usize) -> &'a str {
        // Bytes are an upper bound of characters: nearly every text is short enough without counting.
        if text.len() > max && text.chars().count() > max {
            self.violated(name, format_args!("must be shorter than or equal to {max} characters"));
        }
        if text.contains('\0') {
            self.violated(name, format_args!("must not contain a NUL character"));
        }
        text
    }

    fn violated(&mut self, name: &'static str, rule: std::fmt::Arguments<'_>) {
        self.details.push(Detail { field: Some(name), message: format!("{name} {rule}") });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages(check: impl FnOnce(&mut Rules)) -> Vec<String> {
        let mut rules = Rules::default();
        check(&mut rules);
        match rules.finish(&mut Cut::default()) {
            Err(BodyError::Validation(details)) => details.into_iter().map(|detail| detail.message).collect(),
            _ => Vec::new(),
        }
    }

    fn text(value: &str) -> Field<'_> {
        Field::Text(value.into())
    }

    #[test]
    fn violations_are_told_in_class_validators_words() {
        assert_eq!(
            messages(|rules| _ = rules.required_text("visitorId", &Field::Number(1.0), 9)),
            ["visitorId must be a string"]
        );
        assert_eq!(
            messages(|rules| _ = rules.required_text("visitorId", &text(""), 9)),
            ["visitorId should not be empty"]
        );
        assert_eq!(
            messages(|rules| _ = rules.required_text("visitorId", &Field::Null, 9)),
            ["visitorId should not be empty", "visitorId must be a string"]
        );
        assert_eq!(
            messages(|rules| _ = rules.optional_text("osVersion", &text("123456789012345678901"), 20)),
            ["osVersion must be shorter than or equal to 20 characters"]
        );
        assert_eq!(
            messages(|rules| _ = rules.optional_text("os", &text("a\0b"), 20)),
            ["os must not contain a NUL character"]
        );
        assert_eq!(
            messages(|rules| _ = rules.required_boolean("analytics", &text("true"))),
            ["analytics must be a boolean value"]
        );
    }

    #[test]
    fn integers_within_bounds_pass() {
        let check = |field: Field<'_>| messages(|rules| _ = rules.optional_integer("screenWidth", &field, 0, 7680));
        for value in [0.0, -0.0, 390.0, 7680.0] {
            assert!(check(Field::Number(value)).is_empty(), "{value}");
        }
        assert_eq!(check(Field::Number(7681.0)), ["screenWidth must not be greater than 7680"]);
        assert_eq!(check(Field::Number(-1.0)), ["screenWidth must not be less than 0"]);
        assert_eq!(check(Field::Number(1.5)), ["screenWidth must be an integer number"]);
        assert_eq!(check(text("390")).len(), 3);
        assert_eq!(check(Field::Number(1e300)), ["screenWidth must not be greater than 7680"]);
    }

    #[test]
    fn optional_text_that_is_empty_is_none() {
        let mut rules = Rules::default();
        assert_eq!((rules.optional_text("os", &text(""), 9), rules.cut_text("os", &text(""), 9)), (None, None));
        assert!(rules.finish(&mut Cut::default()).is_ok());
    }

    proptest! {
        #[test]
        fn text_too_long_for_weir_alone_is_cut_at_a_character(value in "\\PC{1,30}", max in 1_usize..30) {
            let (mut rules, mut cut) = (Rules::default(), Cut::default());
            let field = text(&value);
            let kept = rules.cut_text("title", &field, max).unwrap().to_owned();
            prop_assert!(rules.finish(&mut cut).is_ok());
            prop_assert_eq!(&kept, &value.chars().take(max).collect::<String>());
            prop_assert_eq!(cut.fields().count(), usize::from(value.chars().count() > max));
        }

        #[test]
        fn text_length_counts_characters(value in "\\PC{0,30}", max in 1_usize..30) {
            let too_long = value.chars().count() > max;
            let found = messages(|rules| _ = rules.optional_text("city", &text(&value), max));
            prop_assert_eq!(!found.is_empty(), too_long);
        }

        #[test]
        fn integer_in_range_is_kept(value in 0_u32..=7680) {
            let mut rules = Rules::default();
            let kept = rules.optional_integer("screenWidth", &Field::Number(f64::from(value)), 0, 7680);
            prop_assert_eq!(kept, Some(value));
        }
    }
}
