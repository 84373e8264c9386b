//! Halves of surrogate pairs, as JavaScript writes them when a text was cut in the middle of an emoji: `"\ud83d"`.
//!
//! JSON allows them (RFC 8259, section 8.2), no UTF-8 text can hold them. They become U+FFFD, as in every browser that
//! encodes such a text. Cost: one search of the body for a backslash.

use actix_web::web::Bytes;

/// An escape of one UTF-16 code unit: `\uXXXX`.
const ESCAPE_BYTES: usize = 6;
const REPLACEMENT: &[u8; ESCAPE_BYTES] = b"\\ufffd";

/// The body with every half of a pair replaced. Nothing moves: places in error messages stay true.
#[must_use]
pub fn replace_lone_surrogates(body: Bytes) -> Bytes {
    let mut replaced: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &body[at..]) {
        at += found;
        match code_unit(&body[at..]) {
            Some(0xd800..=0xdbff) if matches!(code_unit(&body[at + ESCAPE_BYTES..]), Some(0xdc00..=0xdfff)) => {
                at += 2 * ESCAPE_BYTES;
            }
            Some(0xd800..=0xdfff) => {
                let copy = replaced.get_or_insert_with(|| body.to_vec());
                copy[at..at + ESCAPE_BYTES].copy_from_slice(REPLACEMENT);
                at += ESCAPE_BYTES;
            }
            Some(_) => at += ESCAPE_BYTES,
            // Whatever the backslash escapes is no backslash of its own.
            None => at = body.len().min(at + 2),
        }
    }
    replaced.map_or(body, Bytes::from)
}

fn code_unit(bytes: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = bytes else { return None };
    let digits = digits.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replaced(text: &str) -> String {
        String::from_utf8(replace_lone_surrogates(Bytes::from(text.to_owned())).to_vec()).unwrap()
    }

    #[test]
    fn surrogates_without_their_half_are_replaced_and_pairs_are_not() {
        for (written, expected) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\uDE00 \ud83d\ude00""#, r#""\ufffd \ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\u00e9\n""#, r#""\u00e9\n""#),
            (r#""\ud83"#, r#""\ud83"#),
            ("\\", "\\"),
            ("", ""),
        ] {
            assert_eq!(replaced(written), expected, "{written}");
        }
    }

    proptest! {
        #[test]
        fn text_escaped_by_javascript_can_be_read(units in proptest::collection::vec(prop_oneof![0xd7f0_u16..0xe010, any::<u16>()], 0..20)) {
            let escaped: Vec<String> = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let body = replaced(&format!("\"{}\"", escaped.concat()));
            prop_assert_eq!(serde_json::from_str::<String>(&body).unwrap(), String::from_utf16_lossy(&units));
        }

        #[test]
        fn bytes_of_any_kind_keep_their_length(bytes in proptest::collection::vec(prop_oneof![Just(b'\\'), Just(b'u'), Just(b'd'), any::<u8>()], 0..40)) {
            let length = bytes.len();
            prop_assert_eq!(replace_lone_surrogates(Bytes::from(bytes)).len(), length);
        }
    }
}
