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
    Only(Vec<String>),
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
    for origin in &origins {
        let exact = url::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin);
        if !exact {
            values.problem(format!("cors_origins: {origin:?} is not an origin such as https://example.org"));
        }
    }
    Origins::Only(origins)
}
