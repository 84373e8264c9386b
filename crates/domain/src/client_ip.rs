//! The visitor's address, as a type that cannot leak.
//!
//! Invariant: a `ClientIp` has no `Display`, no `Serialize`, and a `Debug` that shows nothing. The address leaves it
//! through four doors only: the throttle's key, the GeoIP look-up, a visitor's fingerprint (a hash), and a consent record
//! that may keep it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::sha256;

/// A client's IP address, canonical: IPv4-mapped IPv6 is held as IPv4.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientIp(IpAddr);

/// What a throttle counts by: a whole IPv4 address, or an IPv6 /64 (one household has a /64 to itself, so a
/// single address of it would be no limit at all).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThrottleKey(u128);

impl ClientIp {
    /// Takes an address, unwrapping the IPv4-mapped form.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// Reads one entry of a forwarding header: white space, a port and IPv6 brackets are stripped.
    /// `None` when what is left is no IP address.
    #[must_use]
    pub fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim();
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Some(Self::new(address));
        }
        if let Ok(with_port) = entry.parse::<SocketAddr>() {
            return Some(Self::new(with_port.ip()));
        }
        let bracketed = entry.strip_prefix('[')?.strip_suffix(']')?;
        bracketed.parse::<Ipv6Addr>().ok().map(|address| Self::new(IpAddr::V6(address)))
    }

    /// The key under which requests of this address are counted together.
    #[must_use]
    pub fn throttle_key(self) -> ThrottleKey {
        match self.0 {
            IpAddr::V4(v4) => ThrottleKey(v4.to_ipv6_mapped().to_bits()),
            // A /64 prefix never collides with the mapped IPv4 range: that range was canonicalised away.
            IpAddr::V6(v6) => ThrottleKey(v6.to_bits() & !u128::from(u64::MAX)),
        }
    }

    /// The address for a GeoIP look-up and for matching against networks. The caller must not keep or print it.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0
    }

    /// SHA-256 of the canonical text directly followed by the user agent (contract, section 4, point 2). It can be
    /// searched for the address: what is kept of it must be keyed.
    #[must_use]
    pub fn fingerprint(self, user_agent: &str) -> [u8; 32] {
        sha256(&[self.0.to_string().as_bytes(), user_agent.as_bytes()])
    }

    /// The canonical text, for a consent record whose visitor agreed to analytics.
    #[must_use]
    pub fn text_for_consent(self) -> String {
        self.0.to_string()
    }
}

impl fmt::Debug for ClientIp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientIp(withheld)")
    }
}

impl fmt::Debug for ThrottleKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ThrottleKey(withheld)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(entry: &str) -> Option<String> {
        ClientIp::parse(entry).map(ClientIp::text_for_consent)
    }

    #[test]
    fn client_ip_port_brackets_and_spaces_are_stripped() {
        assert_eq!(text(" 203.0.113.9 ").as_deref(), Some("203.0.113.9"));
        assert_eq!(text("203.0.113.9:4711").as_deref(), Some("203.0.113.9"));
        assert_eq!(text("[2001:db8::1]:443").as_deref(), Some("2001:db8::1"));
        assert_eq!(text("[2001:db8::1]").as_deref(), Some("2001:db8::1"));
        assert_eq!(text("2001:DB8:0::1").as_deref(), Some("2001:db8::1"));
    }

    #[test]
    fn client_ip_mapped_ipv4_becomes_ipv4() {
        assert_eq!(text("::ffff:203.0.113.9").as_deref(), Some("203.0.113.9"));
        assert_eq!(text("[::ffff:203.0.113.9]:80").as_deref(), Some("203.0.113.9"));
    }

    #[test]
    fn client_ip_malformed_is_none() {
        for entry in [
            "",
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.9:99999",
            "[203.0.113.9]",
            "example.org",
            "1.2.3.4, 5.6.7.8",
        ] {
            assert!(ClientIp::parse(entry).is_none(), "{entry:?} was read as an address");
        }
    }

    #[test]
    fn throttle_key_within_ipv6_64_prefix_is_shared() {
        let key = |entry: &str| ClientIp::parse(entry).unwrap().throttle_key();
        assert!(key("2001:db8:1:2::1") == key("2001:db8:1:2:ffff::9"));
        assert!(key("2001:db8:1:2::1") != key("2001:db8:1:3::1"));
        assert!(key("203.0.113.9") != key("203.0.113.10"));
    }

    #[test]
    fn client_ip_debug_hides_address() {
        assert_eq!(format!("{:?}", ClientIp::parse("203.0.113.9")), "Some(ClientIp(withheld))");
    }

    proptest! {
        #[test]
        fn client_ip_in_any_notation_round_trips(bits in any::<u128>(), v4 in any::<u32>(), port in any::<u16>()) {
            let v6 = Ipv6Addr::from_bits(bits);
            let expected = Some(ClientIp::new(IpAddr::V6(v6)));
            let (plain, bracketed) = (v6.to_string(), format!("[{v6}]:{port}"));
            prop_assert!(ClientIp::parse(&plain) == expected);
            prop_assert!(ClientIp::parse(&bracketed) == expected);
            let v4 = std::net::Ipv4Addr::from_bits(v4);
            let expected = Some(ClientIp::new(IpAddr::V4(v4)));
            let (with_port, mapped) = (format!("{v4}:{port}"), v4.to_ipv6_mapped().to_string());
            prop_assert!(ClientIp::parse(&with_port) == expected);
            prop_assert!(ClientIp::parse(&mapped) == expected);
        }

        #[test]
        fn client_ip_parse_of_any_text_never_panics(entry in ".{0,80}") {
            let _ = ClientIp::parse(&entry);
        }
    }
}
