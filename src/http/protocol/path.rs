//! A request's path, and the patterns that routes are found by.

use std::borrow::Cow;

use actix_web::dev::Url;
use actix_web::http::Uri;

/// A path as it is routed: `%61` and `a` are one, and one slash at its end says nothing.
#[must_use]
pub fn routed_path(uri: &Uri) -> Cow<'_, str> {
    if uri.path().contains('%') {
        Cow::Owned(without_slash(Url::new(uri.clone()).path()).to_owned())
    } else {
        Cow::Borrowed(without_slash(uri.path()))
    }
}

fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path)
}

/// A path in which one part may be anything: `/session/{id}/identify`.
#[derive(Clone, Copy, Debug)]
pub struct PathPattern {
    /// As it stands in the table.
    pub text: &'static str,
    /// What is before and behind the part in braces, where there is one.
    around: Option<(&'static str, &'static str)>,
}

impl PathPattern {
    /// Reads a pattern.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        let mut open = 0;
        while open < bytes.len() && bytes[open] != b'{' {
            open += 1;
        }
        if open == bytes.len() {
            return Self { text, around: None };
        }
        let mut close = open;
        while bytes[close] != b'}' {
            close += 1;
        }
        Self { text, around: Some((text.split_at(open).0, text.split_at(close + 1).1)) }
    }

    /// Whether a routed path is one of these.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        if self.around.is_some() { self.part(path).is_some() } else { path == self.text }
    }

    /// What stands in the place of the braces.
    #[must_use]
    pub fn part<'a>(&self, path: &'a str) -> Option<&'a str> {
        let (before, behind) = self.around?;
        let part = path.strip_prefix(before)?.strip_suffix(behind)?;
        (!part.is_empty() && !part.contains('/')).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_without_braces_matches_itself_only() {
        let pattern = PathPattern::new("/track/init");
        assert!(pattern.matches("/track/init"));
        for other in ["/track/init/", "/track/ini", "/track/initx", "", "/"] {
            assert!(!pattern.matches(other), "{other}");
        }
    }

    #[test]
    fn pattern_with_braces_matches_one_part_that_is_not_empty() {
        let pattern = PathPattern::new("/session/{id}/identify");
        assert_eq!(pattern.part("/session/7/identify"), Some("7"));
        for other in
            ["/session//identify", "/session/7/8/identify", "/session/7", "/session/7/identify/", "/session/identify"]
        {
            assert!(!pattern.matches(other), "{other}");
        }
        let last = PathPattern::new("/docs/{file}");
        assert_eq!(last.part("/docs/a.css"), Some("a.css"));
        assert!(!last.matches("/docs/") && !last.matches("/docs/a/b"));
    }

    #[test]
    fn path_escaped_in_any_way_is_routed_as_one() {
        let routed = |path: &'static str| routed_path(&Uri::from_static(path)).into_owned();
        assert_eq!(routed("/%61pi/v1"), "/api/v1");
        assert_eq!(routed("/api/v1?%61"), "/api/v1");
        assert_eq!(routed("/a%2Fb%25"), "/a%2Fb%25");
    }
}
