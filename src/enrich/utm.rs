//! What a landing page's own address says of the campaign that led to it (contract, session rule 8).
//!
//! Cost: a search for `utm_`; where the page has such fields, one pass over its query.

use std::borrow::Cow;

use url::form_urlencoded;

use crate::contract::TEXT_MAX;

const PREFIX: &str = "utm_";

/// The five fields of a campaign; empty ones are none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Utm<'a> {
    pub source: Option<Cow<'a, str>>,
    pub medium: Option<Cow<'a, str>>,
    pub campaign: Option<Cow<'a, str>>,
    pub term: Option<Cow<'a, str>>,
    pub content: Option<Cow<'a, str>>,
}

impl<'a> Utm<'a> {
    /// What stands in the query of an address, absolute or not. The first of several counts.
    #[must_use]
    pub fn of(address: &'a str) -> Self {
        let mut utm = Self::default();
        if !address.contains(PREFIX) {
            return utm;
        }
        let address = address.split_once('#').map_or(address, |(before, _)| before);
        let Some((_, query)) = address.split_once('?') else { return utm };
        for pair in query.split('&') {
            let Some((name, value)) = pair.strip_prefix(PREFIX).and_then(|pair| pair.split_once('=')) else { continue };
            let field = match name {
                "source" => &mut utm.source,
                "medium" => &mut utm.medium,
                "campaign" => &mut utm.campaign,
                "term" => &mut utm.term,
                "content" => &mut utm.content,
                _ => continue,
            };
            let value = decoded(pair, value);
            if field.is_none() && !value.is_empty() && !value.contains('\0') {
                *field = Some(cut(value));
            }
        }
        utm
    }
}

/// Hardly any value is encoded: what is not stays where it stands.
fn decoded<'a>(pair: &'a str, value: &'a str) -> Cow<'a, str> {
    if value.bytes().any(|byte| byte == b'%' || byte == b'+') {
        form_urlencoded::parse(pair.as_bytes()).next().map_or(Cow::Borrowed(""), |(_, value)| value)
    } else {
        Cow::Borrowed(value)
    }
}

fn cut(value: Cow<'_, str>) -> Cow<'_, str> {
    // Bytes are an upper bound of characters.
    if value.len() <= TEXT_MAX {
        return value;
    }
    match value.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => Cow::Owned(value[..end].to_owned()),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utm_fields_of_a_landing_page_are_read_from_its_query() {
        let utm = Utm::of(
            "https://example.org/?utm_source=news&utm_medium=e%2Dmail+1&x=y&utm_campaign=%C3%BC&utm_source=b#c",
        );
        assert_eq!(utm.source.as_deref(), Some("news"));
        assert_eq!(utm.medium.as_deref(), Some("e-mail 1"));
        assert_eq!(utm.campaign.as_deref(), Some("ü"));
        assert_eq!((utm.term, utm.content), (None, None));
        assert_eq!(Utm::of("/about?utm_term=a").term.as_deref(), Some("a"));
    }

    #[test]
    fn utm_fields_that_say_nothing_are_none() {
        for address in [
            "https://example.org/utm_source=a",
            "https://example.org/#?utm_source=a",
            "https://example.org/?utm_source=",
            "https://example.org/?utm_source=%00",
            "https://example.org/?utm_source",
            "https://example.org/?UTM_SOURCE=a",
            "",
        ] {
            assert_eq!(Utm::of(address), Utm::default(), "{address}");
        }
    }

    #[test]
    fn utm_field_too_long_is_cut() {
        let address = format!("/?utm_source={}", "ü".repeat(TEXT_MAX + 1));
        assert_eq!(Utm::of(&address).source.unwrap(), "ü".repeat(TEXT_MAX));
    }
}
