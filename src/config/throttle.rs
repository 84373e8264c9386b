//! The `throttle` section: one limit a route, `"10/60s"`, `"0"` turns it off.

use std::str::FromStr;
use std::time::Duration;

use super::Values;
use crate::limit::Limit;
use weir_domain::Route;

/// The route whose setting also holds for this one, in windows of its own.
fn limited_like(route: Route) -> Route {
    if route == Route::AuthExternal { Route::AuthVerify } else { route }
}

/// Whether requests to this route are limited, unless the operator turns that off.
#[must_use]
pub fn throttled(route: Route) -> bool {
    limited_like(route).default_limit().is_some()
}

pub(super) fn take(values: &mut Values) -> Vec<(Route, Limit)> {
    let mut limits = Vec::new();
    for &route in Route::ALL {
        let Some((requests, seconds)) = route.default_limit() else { continue };
        let given = values.parse(&format!("throttle.{}", route.label()), "a limit such as 10/60s, or 0 for none");
        let default = Given(Some(Limit { requests, window: Duration::from_secs(seconds) }));
        if let Given(Some(limit)) = given.unwrap_or(default) {
            let same = Route::ALL.iter().filter(|other| limited_like(**other) == route);
            limits.extend(same.map(|&same| (same, limit)));
        }
    }
    limits
}

struct Given(Option<Limit>);

impl FromStr for Given {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "0" {
            return Ok(Self(None));
        }
        let (requests, window) = text.split_once('/').ok_or(())?;
        let seconds: u64 = window.trim().strip_suffix('s').ok_or(())?.parse().map_err(|_| ())?;
        let requests = requests.trim().parse().map_err(|_| ())?;
        if requests == 0 || seconds == 0 || seconds > 86_400 {
            return Err(());
        }
        Ok(Self(Some(Limit { requests, window: Duration::from_secs(seconds) })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_section_overrides_defaults_and_zero_disables() {
        let mut values = Values::from_toml("[throttle]\nsession = \"3/10s\"\nconsent = 0");
        let limits = take(&mut values);
        let of = |route| limits.iter().find(|(limited, _)| *limited == route).map(|(_, limit)| *limit);
        assert_eq!(of(Route::Session), Some(Limit { requests: 3, window: Duration::from_secs(10) }));
        assert_eq!(of(Route::Consent), None);
        assert_eq!(of(Route::Heartbeat), Some(Limit { requests: 5, window: Duration::from_secs(30) }));
        assert_eq!(of(Route::AuthExternal), of(Route::AuthVerify));
        assert_eq!(limits.len(), 11, "one of eleven is off, one is twice there");
    }

    #[test]
    fn throttle_limit_malformed_is_refused() {
        for text in ["", "10", "10/60", "0/60s", "10/0s", "-1/60s", "10/60m", "1/99999s"] {
            assert!(text.parse::<Given>().is_err(), "{text:?}");
        }
    }
}
