//! One event, one outcome.
//!
//! Invariant: every request ends in exactly one `Outcome` and is counted once, so the outcomes sum to the requests.

/// What became of a request. The name is the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Durable: the answer's id is a record on disk.
    Accepted,
    /// Answered from what is known; nothing was to be stored.
    Served,
    /// Over the route's limit for this address.
    Throttled,
    /// Broke a rule of the body: validation, malformed JSON, wrong type, wrong encoding, too large.
    Invalid,
    /// The body did not arrive whole: too slow, or the connection ended.
    Incomplete,
    /// No or bad credentials.
    Unauthorized,
    /// The user agent is a crawler's or a tool's.
    Bot,
    /// Analytics consent is not `granted`.
    NoConsent,
    /// A bio page without its valid tracking token.
    BadToken,
    /// Could not be made durable: a full queue, a full disk, a failed write.
    Unavailable,
    /// No such route.
    NotFound,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// A CORS preflight.
    Preflight,
    /// The client went away before it was answered.
    Abandoned,
    /// A defect of Weir's own.
    Failed,
}

impl Outcome {
    /// Every outcome, in the order of their discriminants.
    pub const ALL: [Self; 15] = [
        Self::Accepted,
        Self::Served,
        Self::Throttled,
        Self::Invalid,
        Self::Incomplete,
        Self::Unauthorized,
        Self::Bot,
        Self::NoConsent,
        Self::BadToken,
        Self::Unavailable,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Preflight,
        Self::Abandoned,
        Self::Failed,
    ];

    /// The label in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Served => "served",
            Self::Throttled => "throttled",
            Self::Invalid => "invalid",
            Self::Incomplete => "incomplete",
            Self::Unauthorized => "unauthorized",
            Self::Bot => "bot",
            Self::NoConsent => "no_consent",
            Self::BadToken => "bad_token",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Preflight => "preflight",
            Self::Abandoned => "abandoned",
            Self::Failed => "failed",
        }
    }
}

/// Defines the routes once: the variants, their list, their labels and their limits cannot part.
macro_rules! routes {
    ($($variant:ident = $label:literal $(limited $requests:literal per $seconds:literal s)?),* $(,)?) => {
        /// The routes, as metrics, throttles and logs name them: a bounded set, never the path itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Route { $($variant),* }

        impl Route {
            /// Every route, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The label in metrics, logs, `RateLimit` headers and the `throttle` section.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),* }
            }

            /// The contract's limit for one address, as requests and the seconds in which they may come; none for a route
            /// that is not limited. An operator sets another one in the `throttle` section.
            #[must_use]
            pub fn default_limit(self) -> Option<(u32, u64)> {
                $($(if self == Self::$variant {
                    return Some(($requests, $seconds));
                })?)*
                None
            }
        }
    };
}

routes! {
    Session = "session" limited 10 per 60 s,
    Identify = "identify",
    Heartbeat = "heartbeat" limited 5 per 30 s,
    Pageview = "pageview" limited 30 per 60 s,
    Leave = "leave" limited 10 per 60 s,
    Batch = "batch" limited 30 per 60 s,
    Track = "track" limited 60 per 60 s,
    Attribution = "attribution",
    ConsentHistory = "consent_history",
    Consent = "consent" limited 10 per 60 s,
    ConsentStatus = "consent_status" limited 10 per 60 s,
    ConsentPolicy = "consent_policy",
    TrackInit = "track_init" limited 30 per 60 s,
    AuthCode = "auth_code" limited 5 per 60 s,
    AuthVerify = "auth_verify" limited 10 per 60 s,
    AuthExternal = "auth_external",
    InternalUsers = "internal_users",
    Health = "health",
    Metrics = "metrics",
    Documentation = "documentation",
    Other = "other",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_and_route_lists_match_enum_order() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
        }
        for (index, route) in Route::ALL.iter().enumerate() {
            assert_eq!(*route as usize, index);
        }
    }
}
