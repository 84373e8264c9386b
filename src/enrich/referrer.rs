//! Where a visitor came from: the referrer's host.
//!
//! Cost: a look at the host where it is plain, as nearly every one is; else one URL parse, about 0.4 µs.

use std::borrow::Cow;

use url::Url;

/// What is stored when there is no referring host.
pub const DIRECT: &str = "direct";

/// The referrer's host by the WHATWG URL standard, without one leading `www.`; `direct` when it is missing, cannot be
/// parsed or has no host.
///
/// ```
/// use weir::enrich::referrer::domain;
/// assert_eq!(domain(Some("https://www.instagram.com/alice")), "instagram.com");
/// assert_eq!(domain(Some("not a url")), "direct");
/// assert_eq!(domain(None), "direct");
/// ```
#[must_use]
pub fn domain(referrer: Option<&str>) -> Cow<'_, str> {
    if let Some(host) = referrer.and_then(plain_host) {
        return Cow::Borrowed(host.strip_prefix("www.").unwrap_or(host));
    }
    let parsed = referrer.and_then(|referrer| Url::parse(referrer).ok());
    let host = parsed.as_ref().and_then(Url::host_str).filter(|host| !host.is_empty());
    match host {
        // A host that is nothing but `www.` has nothing left to name.
        Some(host) => Cow::Owned(host.strip_prefix("www.").filter(|rest| !rest.is_empty()).unwrap_or(host).to_owned()),
        None => Cow::Borrowed(DIRECT),
    }
}

/// The host of a web address that the standard keeps as it is: nothing in it to fold, to encode or to read as a number.
fn plain_host(referrer: &str) -> Option<&str> {
    let rest = referrer.strip_prefix("https://").or_else(|| referrer.strip_prefix("http://"))?;
    let end = rest.bytes().position(|byte| !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'));
    let (host, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let ends = matches!(rest.as_bytes().first(), None | Some(b'/' | b'?' | b'#'));
    // A last label that begins with a digit may make the whole an IPv4 address; "xn--" may be no name at all.
    let named = host.rsplit('.').next()?.starts_with(|first: char| first.is_ascii_lowercase());
    (ends && named && host != "www." && !host.contains("xn--")).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn referrer_domain_drops_one_leading_www() {
        assert_eq!(domain(Some("https://www.example.org/")), "example.org");
        assert_eq!(domain(Some("https://www.www.example.org/")), "www.example.org");
        assert_eq!(domain(Some("https://shop.www.example.org/")), "shop.www.example.org");
        assert_eq!(domain(Some("https://WWW.EXAMPLE.ORG:8443/a?b#c")), "example.org");
    }

    #[test]
    fn referrer_domain_is_whatwg_host() {
        assert_eq!(domain(Some("https://bücher.example/")), "xn--bcher-kva.example");
        assert_eq!(domain(Some("http://[2001:db8::1]/")), "[2001:db8::1]");
        assert_eq!(domain(Some("  https://example.org ")), "example.org");
        assert_eq!(domain(Some("android-app://com.google.android.gm/")), "com.google.android.gm");
    }

    #[test]
    fn referrer_without_host_is_direct() {
        for referrer in ["", "about:blank", "/path", "example.org", "https://", "data:text/plain,x", "file:///x"] {
            assert_eq!(domain(Some(referrer)), DIRECT, "{referrer:?}");
        }
    }

    proptest! {
        #[test]
        fn referrer_plain_host_matches_url_parser(referrer in "(https?://)?[a-z0-9.x-]{0,12}(xn--)?[a-z0-9.-]{0,6}[/?#:@\\\\ ]?.{0,6}") {
            if let Some(host) = plain_host(&referrer) {
                let parsed = Url::parse(&referrer);
                prop_assert_eq!(parsed.as_ref().ok().and_then(Url::host_str), Some(host), "{}", referrer);
            }
        }

        #[test]
        fn referrer_domain_of_any_text_is_never_empty(referrer in ".{0,200}") {
            prop_assert!(!domain(Some(&referrer)).is_empty());
        }

        #[test]
        fn referrer_plain_host_is_returned_without_www(host in "[a-z]{1,20}\\.(org|com|net)", path in "[a-z/]{0,20}") {
            prop_assume!(!host.starts_with("www."));
            for referrer in [format!("https://{host}/{path}"), format!("http://www.{host}/{path}")] {
                prop_assert_eq!(domain(Some(&referrer)), host.as_str());
            }
        }
    }
}
