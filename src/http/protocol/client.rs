//! Who is at the other end: the client's address and what a trusted proxy says of it.
//!
//! Invariant: a forwarding header counts only when the peer is a trusted proxy.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use percent_encoding::percent_decode_str;
use weir_domain::{ClientIp, GeoLocation, country_code};

use crate::config::{Proxies, XForwardedFor};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const CF_COUNTRY: HeaderName = HeaderName::from_static("cf-ipcountry");
const CF_CITY: HeaderName = HeaderName::from_static("cf-ipcity");
const USER_AGENT_MAX_CHARACTERS: usize = 1024;
const CITY_MAX_CHARACTERS: usize = 1024;

/// What is known of the client of a request.
#[derive(Clone, Copy, Default)]
pub struct Client {
    /// Its address, where the socket or a trusted proxy tells one.
    pub ip: Option<ClientIp>,
    /// Whether the peer's headers count.
    trusted: bool,
}

impl Client {
    /// Reads the peer address and, from a trusted proxy, the forwarding headers.
    ///
    /// `is_warned` is set with the one warning about a proxy that names no clients.
    pub fn of(peer: Option<SocketAddr>, headers: &HeaderMap, proxies: &Proxies, is_warned: &AtomicBool) -> Self {
        let peer = peer.map(|peer| peer.ip());
        let (client, forwarded) = Self::seen(peer, headers, proxies);
        if client.trusted && !forwarded && peer.is_some_and(is_private) && !is_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                headers = ?proxies.client_ip_headers,
                "a request from a private address carries no client address; if this is a proxy, all its visitors share one throttle"
            );
        }
        client
    }

    /// The client behind this peer, and whether a header told its address.
    #[must_use]
    pub fn seen(peer: Option<IpAddr>, headers: &HeaderMap, proxies: &Proxies) -> (Self, bool) {
        let trusted = peer.is_some_and(|peer| proxies.trusts(peer));
        let forwarded = if trusted { from_headers(headers, proxies) } else { None };
        (Self { ip: forwarded.or(peer.map(ClientIp::new)), trusted }, forwarded.is_some())
    }

    /// Whether the peer sends headers of a proxy and is not one that is trusted.
    #[must_use]
    pub fn is_untrusted_proxy(&self, headers: &HeaderMap, proxies: &Proxies) -> bool {
        !self.trusted && proxies.client_ip_headers.iter().any(|name| headers.contains_key(name))
    }

    /// The country and city that a trusted proxy names.
    #[must_use]
    pub fn proxy_place(&self, headers: &HeaderMap) -> GeoLocation {
        if !self.trusted {
            return GeoLocation::default();
        }
        GeoLocation { country: proxy_country(headers), city: proxy_city(headers), ..GeoLocation::default() }
    }
}

/// The `User-Agent` header, cut at a character boundary.
#[must_use]
pub fn user_agent(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let header = headers.get(USER_AGENT)?.as_bytes();
    if header.len() <= USER_AGENT_MAX_CHARACTERS
        && let Ok(user_agent) = std::str::from_utf8(header)
    {
        return Some(Cow::Borrowed(user_agent));
    }
    let header = String::from_utf8_lossy(header);
    Some(match header.char_indices().nth(USER_AGENT_MAX_CHARACTERS) {
        Some((end, _)) => Cow::Owned(header[..end].to_owned()),
        None => header,
    })
}

fn from_headers(headers: &HeaderMap, proxies: &Proxies) -> Option<ClientIp> {
    proxies.client_ip_headers.iter().find_map(|name| {
        // Entry by entry and not line by line: behind a proxy that appends to a line, a client's bytes that are no text must
        // not take the proxy's own entry with them.
        let values = headers.get_all(name).map(HeaderValue::as_bytes);
        let entries = values.flat_map(|value| value.split(|byte| *byte == b','));
        let mut entries = entries.filter_map(|entry| std::str::from_utf8(entry).ok()).filter_map(ClientIp::parse);
        if *name == X_FORWARDED_FOR && proxies.x_forwarded_for == XForwardedFor::RightmostUntrusted {
            let chain: Vec<ClientIp> = entries.collect();
            // A chain of nothing but trusted hops began at its left end.
            chain.iter().rev().find(|hop| !proxies.trusts(hop.address())).or(chain.first()).copied()
        } else {
            entries.next()
        }
    })
}

fn is_private(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(peer) => peer.is_private(),
        IpAddr::V6(peer) => peer.is_unique_local(),
    }
}

fn proxy_country(headers: &HeaderMap) -> Option<String> {
    country_code(headers.get(CF_COUNTRY)?.to_str().ok()?.trim()).map(str::to_owned)
}

fn proxy_city(headers: &HeaderMap) -> Option<String> {
    let header: &HeaderValue = headers.get(CF_CITY)?;
    let raw = String::from_utf8_lossy(header.as_bytes());
    let city = percent_decode_str(raw.trim()).decode_utf8().ok()?.into_owned();
    let fits = !city.is_empty() && !city.contains('\0') && city.chars().count() <= CITY_MAX_CHARACTERS;
    fits.then_some(city)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn forwarded_bytes_that_are_no_text_cost_their_own_entry_only() {
        for mode in [XForwardedFor::First, XForwardedFor::RightmostUntrusted] {
            let mut headers = headers(&[("x-forwarded-for", "unknown")]);
            let line = HeaderValue::from_bytes(b"\xff, \xc3\xbc, 203.0.113.1").unwrap();
            headers.append("x-forwarded-for".parse().unwrap(), line);
            let found = from_headers(&headers, &proxies(mode)).map(ClientIp::text_for_consent);
            assert_eq!(found.as_deref(), Some("203.0.113.1"), "{mode:?}");
        }
        // The last line is the one that the proxy appended to.
        let mut forged = headers(&[("x-forwarded-for", "6.6.6.6")]);
        let line = HeaderValue::from_bytes(b"\xff, 203.0.113.1").unwrap();
        forged.append("x-forwarded-for".parse().unwrap(), line);
        let found = from_headers(&forged, &proxies(XForwardedFor::RightmostUntrusted));
        assert_eq!(found.map(ClientIp::text_for_consent).as_deref(), Some("203.0.113.1"));
    }

    fn proxies(x_forwarded_for: XForwardedFor) -> Proxies {
        Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.0/8".parse().unwrap()],
            client_ip_headers: vec![HeaderName::from_static("cf-connecting-ip"), X_FORWARDED_FOR],
            x_forwarded_for,
        }
    }

    fn client(pairs: &[(&str, &str)], mode: XForwardedFor) -> Option<String> {
        from_headers(&headers(pairs), &proxies(mode)).map(ClientIp::text_for_consent)
    }

    #[test]
    fn forwarded_entry_that_is_an_address_first_wins() {
        let first = |pairs: &[(&str, &str)]| client(pairs, XForwardedFor::First);
        assert_eq!(first(&[("x-forwarded-for", " 203.0.113.1 , 10.0.0.1")]).as_deref(), Some("203.0.113.1"));
        assert_eq!(first(&[("x-forwarded-for", "unknown, 203.0.113.1:99")]).as_deref(), Some("203.0.113.1"));
        assert_eq!(
            first(&[("x-forwarded-for", "unknown"), ("x-forwarded-for", "203.0.113.2")]).as_deref(),
            Some("203.0.113.2")
        );
        assert_eq!(
            first(&[("x-forwarded-for", "203.0.113.1"), ("cf-connecting-ip", "[2001:db8::1]:443")]).as_deref(),
            Some("2001:db8::1")
        );
        assert_eq!(
            first(&[("cf-connecting-ip", "nonsense"), ("x-forwarded-for", "203.0.113.1")]).as_deref(),
            Some("203.0.113.1")
        );
        assert_eq!(first(&[("x-forwarded-for", "")]), None);
        assert_eq!(first(&[]), None);
    }

    #[test]
    fn rightmost_untrusted_behind_a_client_s_own_entries_ignores_them() {
        let right = |value: &str| client(&[("x-forwarded-for", value)], XForwardedFor::RightmostUntrusted);
        assert_eq!(right("6.6.6.6, 203.0.113.1, 10.0.0.7").as_deref(), Some("203.0.113.1"));
        assert_eq!(right("203.0.113.1").as_deref(), Some("203.0.113.1"));
        assert_eq!(right("10.0.0.9, 10.0.0.7").as_deref(), Some("10.0.0.9"));
    }

    #[test]
    fn proxy_country_and_city_that_are_none_are_ignored() {
        let place = |pairs: &[(&str, &str)]| Client { ip: None, trusted: true }.proxy_place(&headers(pairs));
        let found = place(&[("cf-ipcountry", "tr"), ("cf-ipcity", "%C4%B0stanbul")]);
        assert_eq!((found.country.as_deref(), found.city.as_deref()), (Some("TR"), Some("İstanbul")));
        for country in ["XX", "ZZ", "EU", "AP", "T1", "TUR", ""] {
            assert_eq!(place(&[("cf-ipcountry", country)]).country, None, "{country:?}");
        }
        assert_eq!(place(&[("cf-ipcity", "a%00b")]).city, None);
        assert_eq!(place(&[("cf-ipcity", "%ff")]).city, None);
        let untrusted = Client { ip: None, trusted: false };
        assert_eq!(untrusted.proxy_place(&headers(&[("cf-ipcountry", "TR")])), GeoLocation::default());
    }

    #[test]
    fn user_agent_too_long_is_cut_at_a_character() {
        let long = "ü".repeat(2000);
        let headers = headers(&[("user-agent", &long)]);
        let cut = user_agent(&headers).unwrap();
        assert_eq!(cut, "ü".repeat(1024));
    }

    proptest! {
        #[test]
        fn client_behind_an_appending_proxy_cannot_choose_its_address(
            forged in proptest::collection::vec("[0-9a-f.:, ]{0,20}", 0..4), last in any::<u32>()
        ) {
            let real = std::net::Ipv4Addr::from_bits(last);
            prop_assume!(!proxies(XForwardedFor::First).trusts(real.into()));
            let chain = [forged.join(","), real.to_string(), "10.1.2.3".to_owned()].join(", ");
            let expected = real.to_string();
            prop_assert_eq!(client(&[("x-forwarded-for", &chain)], XForwardedFor::RightmostUntrusted), Some(expected));
        }
    }
}
