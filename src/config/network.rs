//! Where Weir listens, whom it believes, and which origins may call it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use actix_web::http::header::HeaderName;
use ipnet::IpNet;

use super::Values;

/// Which entry of `X-Forwarded-For` is the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XForwardedFor {
    /// The first address: right behind a proxy that rewrites the header.
    First,
    /// From the right, the first address that is no trusted proxy: right behind one that appends to it.
    RightmostUntrusted,
}

/// Whose forwarding headers count, and which.
#[derive(Clone, Debug)]
pub struct Proxies {
    pub trusted: Vec<IpNet>,
    /// The first one that yields an address wins.
    pub client_ip_headers: Vec<HeaderName>,
    pub x_forwarded_for: XForwardedFor,
}

impl Proxies {
    /// Whether this address is a trusted proxy's.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

/// Which origins a browser may call from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    Any,
    Only(Vec<OriginPattern>),
}

/// An origin that may call: an exact one, or all below a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// As browsers write it: `https://example.org:8443`, `capacitor://localhost`, `null`.
    Exact(String),
    /// `https://*.example.org:8443`, which is not `https://example.org:8443` itself.
    Below { scheme: String, domain: String },
}

impl OriginPattern {
    /// `None` for what no browser would send.
    fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Exact(text.to_owned()));
        }
        let (scheme, rest) = text.split_once("://")?;
        if let Some(domain) = rest.strip_prefix("*.") {
            let is_domain = domain.starts_with(|first: char| first.is_ascii_alphanumeric());
            let is_origin =
                is_domain && ["http", "https"].contains(&scheme) && is_origin(&format!("{scheme}://x.{domain}"));
            return is_origin.then(|| Self::Below { scheme: scheme.to_owned(), domain: format!(".{domain}") });
        }
        let is_app = !["http", "https", "ws", "wss", "ftp", "file"].contains(&scheme) && is_app_origin(scheme, rest);
        (is_app || is_origin(text)).then(|| Self::Exact(text.to_owned()))
    }

    /// Whether an `Origin` header names it.
    #[must_use]
    pub fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == origin,
            Self::Below { scheme, domain } => {
                let rest = origin.strip_prefix(scheme.as_bytes()).and_then(|rest| rest.strip_prefix(b"://"));
                let label = rest.and_then(|rest| rest.strip_suffix(domain.as_bytes()));
                label.is_some_and(|label| !label.is_empty() && label.iter().all(|byte| is_in_host(*byte)))
            }
        }
    }
}

fn is_in_host(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
}

fn is_origin(text: &str) -> bool {
    !text.contains('*') && url::Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text)
}

/// What web views of apps call themselves: a scheme of their own, and a host.
fn is_app_origin(scheme: &str, host: &str) -> bool {
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| is_in_host(byte) || byte == b'+');
    is_scheme && !host.is_empty() && host.bytes().all(is_in_host)
}

/// Everything about connections.
#[derive(Clone, Debug)]
pub struct Network {
    pub listen: SocketAddr,
    /// A listener of its own for `/metrics`; without one it is served beside everything else.
    pub metrics_listen: Option<SocketAddr>,
    /// How many connections of clients there may be; without it, as many as the limit of open files allows.
    pub max_connections: Option<u32>,
    pub proxies: Proxies,
    pub cors_origins: Origins,
}

impl Network {
    pub(super) fn take(values: &mut Values) -> Self {
        const ADDRESS: &str = "an address with a port such as 127.0.0.1:8080";
        Self {
            listen: values.parse("listen", ADDRESS).unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
            metrics_listen: values.parse("metrics_listen", ADDRESS),
            max_connections: take_max_connections(values),
            proxies: Proxies {
                trusted: values
                    .list::<NetworkOrAddress>("trusted_proxies", "an address or a network such as 10.0.0.0/8")
                    .map_or_else(private_networks, |networks| networks.into_iter().map(|network| network.0).collect()),
                client_ip_headers: take_headers(values),
                x_forwarded_for: values
                    .choice(
                        "x_forwarded_for",
                        &[("first", XForwardedFor::First), ("rightmost-untrusted", XForwardedFor::RightmostUntrusted)],
                    )
                    .unwrap_or(XForwardedFor::First),
            },
            cors_origins: take_origins(values),
        }
    }
}

fn take_max_connections(values: &mut Values) -> Option<u32> {
    const MOST: u32 = 1_000_000;
    let expected = format!("a number from 1 to {MOST}");
    let given = values.parse("max_connections", &expected)?;
    if !(1..=MOST).contains(&given) {
        values.problem(format!("max_connections = {given} is not {expected}"));
    }
    Some(given)
}

/// A network, or a single address as one.
struct NetworkOrAddress(IpNet);

impl std::str::FromStr for NetworkOrAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| address()).map(|network| Self(network.trunc())).map_err(|_| ())
    }
}

/// Loopback and the private ranges (RFC 1918, RFC 4193), link-local ones included.
fn private_networks() -> Vec<IpNet> {
    [
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    ]
    .iter()
    .map(|network| network.parse().expect("a literal network"))
    .collect()
}

fn take_headers(values: &mut Values) -> Vec<HeaderName> {
    const DEFAULT: [HeaderName; 2] =
        [HeaderName::from_static("cf-connecting-ip"), HeaderName::from_static("x-forwarded-for")];
    let Some(headers) = values.list::<String>("client_ip_headers", "a header name") else { return DEFAULT.to_vec() };
    let mut names = Vec::with_capacity(headers.len());
    for header in headers {
        let plain = header.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        match HeaderName::from_bytes(header.as_bytes()) {
            Ok(name) if plain => names.push(name),
            _ => values.problem(format!("client_ip_headers: {header:?} is not a header name")),
        }
    }
    names
}

fn take_origins(values: &mut Values) -> Origins {
    let Some(origins) = values.list::<String>("cors_origins", "an origin") else { return Origins::Any };
    if origins.iter().any(|origin| origin == "*") {
        return Origins::Any;
    }
    let mut patterns = Vec::with_capacity(origins.len());
    for origin in &origins {
        match OriginPattern::parse(origin) {
            Some(pattern) => patterns.push(pattern),
            None => values.problem(format!(
                "cors_origins: {origin:?} is not an origin such as https://example.org or https://*.example.org"
            )),
        }
    }
    Origins::Only(patterns)
}

#[cfg(test)]
mod origin_tests {
    use super::*;

    #[test]
    fn origin_pattern_matches_what_it_names_and_nothing_else() {
        for (pattern, origin, expected) in [
            ("https://example.org", "https://example.org", true),
            ("https://example.org", "https://www.example.org", false),
            ("https://*.example.org", "https://www.example.org", true),
            ("https://*.example.org", "https://a.b.example.org", true),
            ("https://*.example.org", "https://example.org", false),
            ("https://*.example.org", "https://.example.org", false),
            ("https://*.example.org", "http://www.example.org", false),
            ("https://*.example.org", "https://www.example.org:8443", false),
            ("https://*.example.org", "https://evil.example/www.example.org", false),
            ("https://*.example.org", "https://evilexample.org", false),
            ("https://*.example.org:8443", "https://www.example.org:8443", true),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("null", "null", true),
            ("null", "", false),
        ] {
            let pattern = OriginPattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(origin.as_bytes()), expected, "{pattern:?} {origin}");
        }
    }

    #[test]
    fn origin_that_could_match_nothing_is_none() {
        for text in [
            "",
            "example.org",
            "https://example.org/",
            "https://example.org:443",
            "https://EXAMPLE.org",
            "https://*",
            "https://*.",
            "https://*.example.org/",
            "https://www.*.org",
            "ftp://*.example.org",
            "file://x",
            "capacitor://",
            "capacitor://*.x",
            "Capacitor://localhost",
            "nullable",
        ] {
            assert_eq!(OriginPattern::parse(text), None, "{text}");
        }
    }
}
