//! The client's address, and the other headers of a request that are read.
//!
//! The first line of an input is the way in which `X-Forwarded-For` is read (`F`irst or `R`ightmost untrusted), followed
//! by the peer's address; the others are headers.

use std::net::IpAddr;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use weir::config::{Proxies, XForwardedFor};
use weir::http::protocol::client::{Client, user_agent};
use weir_domain::{ClientIp, GeoLocation};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Reads one input.
///
/// # Panics
/// When an invariant does not hold.
pub fn client_ip(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let Some((mode, peer)) = first.split_first() else { return };
    let peer: Option<IpAddr> = std::str::from_utf8(peer).ok().and_then(|peer| peer.parse().ok());
    let mut headers = HeaderMap::new();
    for line in lines.take(32) {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or_default();
        // An entry by itself, as the parser below the headers sees it.
        if let Some(address) = std::str::from_utf8(value).ok().and_then(ClientIp::parse) {
            assert_canonical(address);
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    let proxies = Proxies {
        trusted: ["127.0.0.0/8", "10.0.0.0/8", "::1/128", "fc00::/7"]
            .map(|network| network.parse().expect("a network"))
            .into(),
        client_ip_headers: vec![
            HeaderName::from_static("cf-connecting-ip"),
            HeaderName::from_static("x-forwarded-for"),
        ],
        x_forwarded_for: if *mode == b'R' { XForwardedFor::RightmostUntrusted } else { XForwardedFor::First },
    };
    look(peer, &headers, &proxies);
    if let Some(user_agent) = user_agent(&headers) {
        assert!(user_agent.chars().count() <= 1024);
    }
}

fn look(peer: Option<IpAddr>, headers: &HeaderMap, proxies: &Proxies) {
    let (client, forwarded) = Client::seen(peer, headers, proxies);
    let place = client.proxy_place(headers);
    let Some(peer) = peer.map(ClientIp::new) else {
        assert!(client.ip.is_none() && !forwarded && place == GeoLocation::default(), "nobody is at the other end");
        return;
    };
    let found = client.ip.expect("whoever has a peer has an address");
    assert_canonical(found);
    if !proxies.trusts(peer.address()) {
        assert!(found == peer && !forwarded, "a header of somebody untrusted counts");
        assert_eq!(place, GeoLocation::default());
        return;
    }
    assert_place(&place);
    let named = |name: &str| entries(headers, name);
    let (by_proxy, chain) = (named("cf-connecting-ip"), named("x-forwarded-for"));
    let expected = by_proxy.first().copied().or_else(|| match proxies.x_forwarded_for {
        XForwardedFor::First => chain.first().copied(),
        XForwardedFor::RightmostUntrusted => {
            let untrusted = chain.iter().rev().find(|hop| !proxies.trusts(hop.address()));
            untrusted.or(chain.first()).copied()
        }
    });
    assert!(found == expected.unwrap_or(peer), "not the address that the contract names");
    assert_eq!(forwarded, expected.is_some());
    if by_proxy.is_empty() && proxies.x_forwarded_for == XForwardedFor::RightmostUntrusted {
        assert_unforgeable(peer, headers, proxies);
    }
}

/// The addresses of a header, entry by entry, in order. What is no address is skipped, whatever it is.
fn entries(headers: &HeaderMap, name: &str) -> Vec<ClientIp> {
    let values = headers.get_all(name).map(HeaderValue::as_bytes);
    let entries = values.flat_map(|value| value.split(|byte| *byte == b','));
    entries.filter_map(|entry| ClientIp::parse(&String::from_utf8_lossy(entry))).collect()
}

/// Behind a proxy that appends the address that it sees, whatever else is in the headers changes nothing.
fn assert_unforgeable(peer: ClientIp, headers: &HeaderMap, proxies: &Proxies) {
    let real = "198.51.100.7";
    let seen = |headers: &HeaderMap| Client::seen(Some(peer.address()), headers, proxies).0.ip;
    let mut appended = HeaderMap::new();
    let mut values: Vec<Vec<u8>> = headers.get_all(X_FORWARDED_FOR).map(|value| value.as_bytes().to_vec()).collect();
    // To the last line, as one proxy does it.
    let mut last = values.pop().unwrap_or_default();
    if !last.is_empty() {
        last.extend(b", ");
    }
    last.extend(real.as_bytes());
    values.push(last);
    for value in &values {
        appended.append(X_FORWARDED_FOR, HeaderValue::from_bytes(value).expect("made of header values"));
    }
    assert!(seen(&appended) == ClientIp::parse(real), "a client chose its own address");
    // In a line of its own, as another does it; and one more trusted hop.
    let mut added = headers.clone();
    added.append(X_FORWARDED_FOR, HeaderValue::from_static("198.51.100.7"));
    added.append(X_FORWARDED_FOR, HeaderValue::from_static("10.1.2.3"));
    assert!(seen(&added) == ClientIp::parse(real), "a client chose its own address");
}

/// One address has one form, one throttle and no way into a log.
fn assert_canonical(address: ClientIp) {
    let text = address.text_for_consent();
    assert!(ClientIp::parse(&text) == Some(address), "{text} is not read back");
    assert!(ClientIp::new(address.address().to_canonical()) == address);
    assert_eq!(format!("{address:?}{:?}", address.throttle_key()), "ClientIp(withheld)ThrottleKey(withheld)");
    match address.address() {
        IpAddr::V4(v4) => {
            assert!(ClientIp::new(IpAddr::V6(v4.to_ipv6_mapped())) == address);
            assert!(ClientIp::new(IpAddr::V4((v4.to_bits() ^ 1).into())).throttle_key() != address.throttle_key());
        }
        IpAddr::V6(v6) => {
            assert!(v6.to_ipv4_mapped().is_none());
            let neighbour = ClientIp::new(IpAddr::V6((v6.to_bits() ^ 1).into()));
            // The neighbour of a mapped address may be one, and no address of a /64 with mapped ones is in them.
            assert!(neighbour.throttle_key() == address.throttle_key());
            let stranger = ClientIp::new(IpAddr::V6((v6.to_bits() ^ (1 << 64)).into()));
            assert!(stranger.throttle_key() != address.throttle_key());
        }
    }
}

fn assert_place(place: &GeoLocation) {
    assert!(place.country.as_ref().is_none_or(|country| {
        country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase()) && country != "XX"
    }));
    assert!(
        place
            .city
            .as_ref()
            .is_none_or(|city| { !city.is_empty() && !city.contains('\0') && city.chars().count() <= 1024 })
    );
    assert!(place.region.is_none() && place.continent.is_none() && place.timezone.is_none());
}
