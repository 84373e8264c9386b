//! The labels of metrics, each with every value that it may have: bounded sets, never an id, an address or a URL.
//!
//! Tests hold what servers tell, under every kind of request and with a panic in every actor, against them.

use std::iter;

use weir_domain::{BotWord, Outcome, Route};

/// A label and its values.
pub struct BoundedLabel {
    pub name: &'static str,
    pub values: fn() -> Vec<&'static str>,
}

/// The statuses that Weir answers with, as labels; anything else counts as the last.
pub(super) const STATUSES: [(u16, &str); 16] = [
    (200, "200"),
    (204, "204"),
    (400, "400"),
    (401, "401"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (413, "413"),
    (415, "415"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (500, "500"),
    (503, "503"),
    (0, "other"),
];

/// A batch's item whose type is none.
pub const UNKNOWN_ITEM: &str = "unknown";

macro_rules! labels {
    ($($constant:ident = $name:literal, $values:expr;)*) => {
        $(pub static $constant: BoundedLabel = BoundedLabel { name: $name, values: $values };)*
    };
}

labels! {
    ROUTE = "route", || Route::ALL.iter().map(|route| route.label()).collect();
    OUTCOME = "outcome", || Outcome::ALL.iter().map(|outcome| outcome.label()).collect();
    STATUS = "status", || STATUSES.iter().map(|(_, label)| *label).collect();
    STAGE = "stage", || vec!["parse", "enrich", "journal"];
    BOT_WORD = "word", BotWord::all;
    CUT_FIELD = "field", || vec![
        "acquiredViaCreatorId",
        "bioPageId",
        "browser",
        "creatorId",
        "device",
        "invitedBy",
        "landingUrl",
        "language",
        "os",
        "path",
        "referrer",
        "sessionId",
        "title",
        "token",
        "trackingToken",
        "userAgent",
        "utmCampaign",
        "utmContent",
        "utmMedium",
        "utmSource",
        "utmTerm",
    ];
    LOOKUP_RESULT = "result", || vec!["hit", "miss", "refused"];
    RELOAD_RESULT = "result", || vec!["loaded", "refused"];
    MAIL_RESULT = "result", || vec!["sent", "failed", "expired", "refused"];
    ITEM_TYPE = "type", || {
        let items = [Route::Session, Route::Pageview, Route::Leave, Route::Heartbeat];
        items.iter().map(|item| item.label()).chain(iter::once(UNKNOWN_ITEM)).collect()
    };
    MAILBOX = "actor", || vec!["user_agent_parser", "mailer"];
    ACTOR = "actor", || vec![
        "user_agent_parser",
        "warmer",
        "geoip",
        "settings",
        "sweeper",
        "mailer",
        "analytics_journal",
        "main_journal",
        "analytics_segment_collector",
        "main_segment_collector",
        "analytics_writer",
        "main_writer",
        "analytics_maintenance",
        "main_maintenance",
    ];
    CAUSE = "cause", || vec!["panic", "died"];
    JOURNAL = "journal", || vec!["analytics", "main"];
    DATABASE = "database", || vec!["analytics", "main"];
    TABLE = "table", || vec![
        "analytics_sessions",
        "analytics_pageviews",
        "batch_keys",
        "pending_effects",
        "consent_records",
        "funnel_events",
        "visitors",
        "users",
    ];
    PENDING_RESULT = "result", || vec!["applied", "expired", "refused"];
    PIPELINED_RESULT = "result", || vec!["committed", "failed"];
    ERROR_KIND = "kind", || vec!["unavailable", "refused", "rejected", "unlinked", "repeated", "moved", "schema", "url"];
    REASON = "reason", || vec!["refused", "damaged", "undecodable"];
    VERSION = "version", || vec![env!("CARGO_PKG_VERSION")];
}
