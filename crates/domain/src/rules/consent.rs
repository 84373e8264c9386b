//! What consent allows (contract, section 2, rule 3, and section 6).

use crate::{ClientIp, ConsentPreferences};

/// Whether a session's body says that its visitor agreed to analytics. Anything but this one word is no consent.
#[must_use]
pub fn analytics_is_granted(consent: Option<&str>) -> bool {
    consent == Some("granted")
}

/// What a saved choice keeps of the address that it came from: all of it where analytics was agreed to, else nothing.
#[must_use]
pub fn kept_address(preferences: ConsentPreferences, client: Option<ClientIp>) -> Option<String> {
    client.filter(|_| preferences.analytics).map(ClientIp::text_for_consent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn analytics_consent_other_than_granted_is_none() {
        assert!(analytics_is_granted(Some("granted")));
        for other in [None, Some(""), Some("denied"), Some("Granted"), Some("granted "), Some("true")] {
            assert!(!analytics_is_granted(other), "{other:?}");
        }
    }

    #[test]
    fn consent_without_analytics_keeps_no_address() {
        let preferences = |analytics| ConsentPreferences { analytics, marketing: true, functional: true };
        let client = ClientIp::parse("203.0.113.9");
        assert_eq!(kept_address(preferences(true), client).as_deref(), Some("203.0.113.9"));
        assert_eq!(kept_address(preferences(false), client), None);
        assert_eq!(kept_address(preferences(true), None), None);
    }
}
