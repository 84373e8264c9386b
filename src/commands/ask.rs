//! Asking a running Weir over HTTP, as `health` and `top` do.
//!
//! Plain HTTP only, and no proxy, whatever the environment says: it is the Weir itself that is asked, not who stands
//! before it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::outcome::{Failure, wrong};

/// A Weir at an address.
pub struct Server {
    url: String,
    agent: ureq::Agent,
}

impl Server {
    /// The one at this URL, which is asked for at most this long.
    ///
    /// # Errors
    /// When the URL is none that can be asked.
    pub fn at(url: &str, patience: Duration) -> Result<Self, Failure> {
        let url = url.trim_end_matches('/');
        let parsed = url::Url::parse(url).map_err(|error| wrong(format!("{url:?} is no URL: {error}")))?;
        if parsed.scheme() != "http" || parsed.host().is_none() {
            return Err(wrong(format!("{url:?} is not the URL of a Weir: http://host:port")));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong(format!("{url:?} says more than where a Weir is: http://host:port")));
        }
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(patience))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { url: url.to_owned(), agent })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its answer's status and body, or why there is none.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        let answer = self.agent.get(format!("{}{path}", self.url)).call();
        let mut answer = answer.map_err(|error| error.to_string())?;
        let body = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        Ok((answer.status().as_u16(), body))
    }
}

/// The URL of a Weir that listens there.
///
/// # Errors
/// When nobody can tell which port it got.
pub fn url_of(key: &str, listen: SocketAddr) -> Result<String, Failure> {
    if listen.port() == 0 {
        return Err(wrong(format!("{key} = \"{listen}\" is another port at every start: say --url http://host:port")));
    }
    let host = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        given => given,
    };
    Ok(format!("http://{}", SocketAddr::new(host, listen.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_url_of_unspecified_listen_address_is_loopback() {
        let url = |listen: &str| url_of("listen", listen.parse().unwrap()).map_err(|failure| failure.message);
        assert_eq!(url("0.0.0.0:8080"), Ok("http://127.0.0.1:8080".to_owned()));
        assert_eq!(url("[::]:8080"), Ok("http://[::1]:8080".to_owned()));
        assert_eq!(url("10.1.2.3:80"), Ok("http://10.1.2.3:80".to_owned()));
        assert!(url("127.0.0.1:0").unwrap_err().contains("--url"));
    }

    #[test]
    fn server_url_malformed_or_not_http_is_refused() {
        let taken = |url: &str| Server::at(url, Duration::from_secs(1)).map(|server| server.url).ok();
        assert_eq!(taken("http://weir.internal:8080/"), Some("http://weir.internal:8080".to_owned()));
        assert_eq!(taken("http://gateway/weir"), Some("http://gateway/weir".to_owned()));
        for url in
            ["", "127.0.0.1:8080", "https://127.0.0.1:8080", "http://", "http://h/?metrics", "file:///etc/passwd"]
        {
            assert_eq!(taken(url), None, "{url}");
        }
    }
}
