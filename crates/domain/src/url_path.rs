//! The path of a page.

/// The path of a URL, whole or relative to its site, without query and fragment; of anything else none.
#[must_use]
pub fn url_path(url: &str) -> Option<String> {
    match url::Url::parse(url) {
        Ok(url) if !url.cannot_be_a_base() => Some(url.path().to_owned()),
        _ if url.starts_with('/') => url.split(['?', '#']).next().map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_path_drops_query_and_fragment() {
        for (url, path) in [
            ("https://example.org/a/b?c=d#e", Some("/a/b")),
            ("https://example.org", Some("/")),
            ("https://example.org/?utm_source=x", Some("/")),
            ("/landing?x=1", Some("/landing")),
            ("/", Some("/")),
            ("about:blank", None),
            ("a/b", None),
            ("", None),
        ] {
            assert_eq!(url_path(url).as_deref(), path, "{url:?}");
        }
    }
}
