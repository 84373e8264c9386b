//! What Weir speaks of: records, identifiers, time, outcomes. No I/O, and no import of any other part of Weir.

mod account;
mod batch_key;
mod client_ip;
mod clock;
mod consent;
mod declare;
mod decode_error;
mod digest;
mod funnel;
mod number;
mod outcome;
mod record;
mod row;
mod rules;
mod session;
mod url_path;
mod view;
mod visitor;

pub use account::{
    AccountRecord, Attribution, CODE_LIMITS, CodeLimits, CodeRequest, CreateUser, CreateUserOutcome, Credential,
    NewUser, RecentVisitor, SignIn, SignInOutcome, SignedIn, StoredConsent, User, UserIdentity, UserOrigin, UserRow,
    VisitorProfile,
};
pub use batch_key::{BATCH_KEY_LIFETIME_MS, BatchKey, CachedResponse, IdempotencyEntry};
pub use client_ip::{ClientIp, ThrottleKey};
pub use clock::{Clock, IdSource, UnixMillis, lowest_id, parse_uuid};
pub use consent::{ConsentPreferences, ConsentRecord};
pub use decode_error::DecodeError;
pub use digest::{HmacKey, sha256};
pub use funnel::FunnelEventRecord;
pub use number::approximate;
pub use outcome::{Outcome, Route};
pub use record::{AnalyticsEvent, AnalyticsRecord, JournalRecord, MainRecord};
pub use row::RowWriter;
pub use rules::{
    BotFilter, BotRule, BotWord, FreesCrawler, HEARTBEAT_SECONDS, analytics_is_granted, clamp_duration_seconds,
    clamp_scroll_depth, country_code, has_one_time_zone, kept_address, reading_seconds,
};
pub use session::{GeoLocation, SessionRecord, VisitorHash};
pub use url_path::url_path;
pub use view::{HeartbeatRecord, IdentifyRecord, LeaveRecord, PageviewRecord};
pub use visitor::{Attributes, FINGERPRINT_LIFETIME_MS, Fingerprint, VisitorFillRecord, VisitorRecord, VisitorToken};
