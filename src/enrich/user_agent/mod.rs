//! What a user agent says about the browser, the operating system and the device.
//!
//! Browser and system come from the expressions of the ua-parser project, which `build.rs` embeds; the device class is
//! `device_class`'s own rule. The expressions for device models are not loaded: they are more than half of all
//! expressions, and nothing here names a model.
//!
//! Invariants: no text makes [`UserAgentParser::parse`] panic; every family is non-empty; `os_version` is dotted digits
//! and at most [`MAX_OS_VERSION_BYTES`] long. The parser is immutable and is shared between threads by reference.
//!
//! Costs, measured on a 2-core x86-64 machine over 75,158 user agents of real traffic: 6 µs a user agent in release (7
//! in a dev build with optimised packages), and 11 to 44 µs for seven texts of about 1024 characters that were made up
//! to be expensive, which is no proven worst case. Loading: 47 ms (80 to 90 in dev). Memory: 11 MB once loaded, 12.6
//! after one thread and 18 after five have used it, because every expression keeps a cache for each thread.

mod device_class;
mod ios_version;

pub use device_class::DeviceClass;

use std::io::Read;

use flate2::read::GzDecoder;
use ua_parser::{Extractor, Regexes};
use weir_domain::{BotFilter, BotWord};

/// The expressions as `build.rs` left them: JSON, compressed with gzip.
const EXPRESSIONS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/user_agent_regexes.json.gz"));

/// The longest `os_version`, as in the contract's table of session fields.
pub const MAX_OS_VERSION_BYTES: usize = 20;

/// The longest name of a browser, in characters.
const MAX_BROWSER_CHARACTERS: usize = 64;

/// Apple's system on phones and tablets, as the expressions call it.
const IOS: &str = "iOS";

/// The expressions' word for "not recognised".
const UNRECOGNISED: &str = "Other";

/// Why the embedded expressions cannot be used. Any of these is a fault of the build, not of the machine.
#[derive(Debug, thiserror::Error)]
pub enum UserAgentError {
    #[error("the embedded user-agent expressions cannot be decompressed: {0}")]
    Compressed(#[source] std::io::Error),
    #[error("the embedded user-agent expressions are not the expected JSON: {0}")]
    Shape(#[source] serde_json::Error),
    #[error("the embedded user-agent expressions do not compile: {0}")]
    Expression(#[source] ua_parser::Error),
}

/// What a user agent says (the contract's session rule 4). A field that is `None` falls through to the client's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserAgentFacts {
    /// What makes it a bot's (rule 2), kept so that a known user agent is not searched again.
    pub bot: Option<BotWord>,
    pub device: Option<DeviceClass>,
    /// The browser's family, as in `Chrome Mobile`.
    pub browser: Option<Box<str>>,
    /// The operating system's family, as in `Mac OS X`.
    pub os: Option<Box<str>>,
    /// Dotted digits, as in `17.4.1`.
    pub os_version: Option<Box<str>>,
}

/// Reads user agents. Load it once.
pub struct UserAgentParser {
    extractor: Extractor<'static>,
    bots: BotFilter,
}

impl UserAgentParser {
    /// Compiles the embedded expressions, which takes long enough to be done before the service listens.
    ///
    /// # Errors
    /// When the expressions that were embedded are damaged or do not fit this version of `ua-parser`.
    pub fn new() -> Result<Self, UserAgentError> {
        Self::with_bots(BotFilter::default())
    }

    /// The same, with a filter for bots that an operator has set.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_bots(bots: BotFilter) -> Result<Self, UserAgentError> {
        let mut json = Vec::new();
        GzDecoder::new(EXPRESSIONS).read_to_end(&mut json).map_err(UserAgentError::Compressed)?;
        let regexes: Regexes<'static> = serde_json::from_slice(&json).map_err(UserAgentError::Shape)?;
        let extractor = Extractor::try_from(regexes).map_err(UserAgentError::Expression)?;
        Ok(Self { extractor, bots })
    }

    /// What `user_agent` says. The cost grows with its length, so bound that first.
    #[must_use]
    pub fn parse(&self, user_agent: &str) -> UserAgentFacts {
        let browser = self.extractor.ua.extract(user_agent);
        let browser = browser.as_ref().and_then(|value| recognised(&value.family));
        let browser = browser.filter(|family| is_browser(user_agent, family));
        let system = self.extractor.os.extract(user_agent);
        let os = system.as_ref().and_then(|value| recognised(&value.os));
        let os_version = system.as_ref().filter(|_| os.is_some()).and_then(|value| {
            dotted_digits([&value.major, &value.minor, &value.patch, &value.patch_minor].map(Option::as_deref))
        });
        let is_frozen = os == Some(IOS) && os_version.as_deref().is_some_and(ios_version::is_frozen);
        let told = if is_frozen { ios_version::told(user_agent) } else { None };
        UserAgentFacts {
            bot: self.bots.find(user_agent),
            device: device_class::of(user_agent, browser, os),
            browser: browser.map(Into::into),
            os: os.map(Into::into),
            os_version: told.or(os_version),
        }
    }
}

/// Whether a family is a browser's name. The expressions take the name of any Apple app for one, whatever it is.
fn is_browser(user_agent: &str, family: &str) -> bool {
    let is_app = || {
        let after = user_agent.strip_prefix(family).filter(|_| user_agent.contains(" CFNetwork/"));
        after.is_some_and(|after| ["/", "-iPhone/", "-iPad/"].iter().any(|next| after.starts_with(next)))
    };
    family.chars().nth(MAX_BROWSER_CHARACTERS).is_none() && !is_app()
}

fn recognised(family: &str) -> Option<&str> {
    let family = family.trim();
    (!family.is_empty() && family != UNRECOGNISED).then_some(family)
}

/// Joins the leading parts that are all digits, as many as fit: `10`, `x` is `10`, and `XP` is nothing.
fn dotted_digits(parts: [Option<&str>; 4]) -> Option<Box<str>> {
    let mut version = String::new();
    for part in parts {
        let Some(part) = part.filter(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())) else {
            break;
        };
        let dot = usize::from(!version.is_empty());
        if version.len() + dot + part.len() > MAX_OS_VERSION_BYTES {
            break;
        }
        if dot == 1 {
            version.push('.');
        }
        version.push_str(part);
    }
    (!version.is_empty()).then(|| version.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static PARSER: LazyLock<UserAgentParser> = LazyLock::new(|| UserAgentParser::new().unwrap());

    fn facts(device: DeviceClass, browser: &str, os: &str, os_version: Option<&str>) -> UserAgentFacts {
        UserAgentFacts {
            bot: None,
            device: Some(device),
            browser: Some(browser.into()),
            os: Some(os.into()),
            os_version: os_version.map(Into::into),
        }
    }

    #[test]
    fn user_agent_of_iphone_is_fully_parsed() {
        let user_agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
                          Gecko) Version/17.4.1 Mobile/15E148 Safari/604.1";
        let expected = facts(DeviceClass::Mobile, "Mobile Safari", "iOS", Some("17.4.1"));
        assert_eq!(PARSER.parse(user_agent), expected);
    }

    #[test]
    fn user_agent_of_windows_desktop_is_fully_parsed() {
        let user_agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                          Chrome/137.0.0.0 Safari/537.36";
        assert_eq!(PARSER.parse(user_agent), facts(DeviceClass::Desktop, "Chrome", "Windows", Some("10")));
    }

    #[test]
    fn ios_version_frozen_in_its_token_is_the_one_told_elsewhere() {
        let phone = |token: &str, rest: &str| {
            format!(
                "Mozilla/5.0 (iPhone; CPU iPhone OS {token} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) {rest}"
            )
        };
        for (user_agent, expected) in [
            (phone("18_7", "Version/26.2 Mobile/15E148 Safari/604.1"), "26.2"),
            (phone("18_6", "Version/26.0.1 Mobile/15E148 Safari/604.1"), "26.0.1"),
            (phone("18_6", "Version/18.6 Mobile/15E148 Safari/604.1"), "18.6"),
            (phone("18_5", "Version/26.2 Mobile/15E148 Safari/604.1"), "18.5"),
            (phone("18_7", "Mobile/22H Instagram 400.0 (iPhone17,1; iOS 26_1; en_US; scale=3.00)"), "26.1"),
            (phone("18_7", "Mobile/22H [FBAN/FBIOS;FBAV/530.0;FBDV/iPhone17,1;FBSN/iOS;FBSV/26.1;FBSS/3]"), "26.1"),
            (phone("18_7_1", "Mobile/15E148"), "18.7.1"),
            (phone("18_7", "Version/26"), "26"),
            (phone("18_7", "Version/999999999999.1 Mobile"), "18.7"),
        ] {
            assert_eq!(PARSER.parse(&user_agent).os_version.as_deref(), Some(expected), "{user_agent}");
        }
        let tablet = "Mozilla/5.0 (iPad; CPU OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 \
                      Safari/604.1";
        assert_eq!(PARSER.parse(tablet).os_version.as_deref(), Some("26.1"));
    }

    #[test]
    fn browser_name_of_an_unknown_app_or_without_end_is_none() {
        for user_agent in
            ["MyNotes/1.2 CFNetwork/1335.0.3 Darwin/21.6.0", "My Notes-iPhone/1 CFNetwork/1335.0.3 Darwin/21.6.0"]
        {
            let facts = PARSER.parse(user_agent);
            assert_eq!((facts.browser.as_deref(), facts.os.as_deref()), (None, Some("iOS")), "{user_agent}");
        }
        assert!(!is_browser("x", &"n".repeat(65)) && is_browser("x", &"ü".repeat(64)));
    }

    #[test]
    fn os_version_not_numeric_is_dropped() {
        let user_agent = "Mozilla/5.0 (Windows NT 5.1; rv:52.0) Gecko/20100101 Firefox/52.0";
        assert_eq!(PARSER.parse(user_agent), facts(DeviceClass::Desktop, "Firefox", "Windows", None));
    }

    #[test]
    fn user_agent_of_foreign_text_yields_nothing() {
        for user_agent in ["", " ", "x", "\u{0}", "Mozilla/5.0", "日本語"] {
            assert_eq!(PARSER.parse(user_agent), UserAgentFacts::default(), "{user_agent:?}");
        }
    }

    #[test]
    fn os_version_keeps_leading_numeric_parts() {
        let cases = [
            ([Some("17"), Some("4"), Some("1"), None], Some("17.4.1")),
            ([Some("1"), Some("2"), Some("3"), Some("4")], Some("1.2.3.4")),
            ([Some("2"), Some("1"), Some("update1"), Some("4")], Some("2.1")),
            ([Some("2"), None, Some("3"), None], Some("2")),
            ([Some("2"), Some(""), Some("3"), None], Some("2")),
            ([Some("XP"), Some("1"), None, None], None),
            ([Some("１"), None, None, None], None),
            ([None, Some("1"), None, None], None),
            ([None; 4], None),
        ];
        for (parts, expected) in cases {
            assert_eq!(dotted_digits(parts).as_deref(), expected, "{parts:?}");
        }
    }

    #[test]
    fn os_version_too_long_loses_trailing_parts() {
        let cases = [
            ([Some("1234567890"), Some("123456789"), None, None], Some("1234567890.123456789")),
            ([Some("1234567890"), Some("1234567890"), Some("1"), None], Some("1234567890")),
            ([Some("12345678901234567890"), Some("1"), None, None], Some("12345678901234567890")),
            ([Some("123456789012345678901"), None, None, None], None),
        ];
        for (parts, expected) in cases {
            assert_eq!(dotted_digits(parts).as_deref(), expected, "{parts:?}");
        }
    }

    fn holds_its_invariants(user_agent: &str) {
        let facts = PARSER.parse(user_agent);
        for family in [&facts.browser, &facts.os].into_iter().flatten() {
            assert!(!family.is_empty() && &**family != UNRECOGNISED);
        }
        if let Some(version) = &facts.os_version {
            assert!(facts.os.is_some() && version.len() <= MAX_OS_VERSION_BYTES);
            assert!(version.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())));
        }
        if facts.browser.is_some() || facts.os.is_some() {
            assert!(facts.device.is_some());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn user_agent_of_any_text_holds_invariants(user_agent in proptest::collection::vec(any::<char>(), 0..=1024)) {
            holds_its_invariants(&user_agent.into_iter().collect::<String>());
        }

        // Arbitrary characters hardly ever reach an expression; fragments of user agents in any order do.
        #[test]
        fn user_agent_of_mixed_fragments_holds_invariants(
            fragments in proptest::collection::vec(
                prop_oneof![
                    proptest::sample::select(&[
                        "Mozilla/5.0 ", "(Linux; Android ", "iPhone OS ", "Windows NT ", "CPU OS 17_4", "Mobile",
                        " Safari/", "Chrome/", "Version/", "Build/", "; ", ") ", "like Gecko", "Opera Mini/", "iPad",
                        "CFNetwork/", "Darwin/", "HbbTV/1.1.1 (; ", "Other", "İ", "ſ", "\u{212a}",
                    ][..]).prop_map(String::from),
                    "[0-9._]{1,24}",
                    any::<char>().prop_map(String::from),
                ],
                0..64,
            )
        ) {
            holds_its_invariants(&fragments.concat().chars().take(1024).collect::<String>());
        }
    }
}
