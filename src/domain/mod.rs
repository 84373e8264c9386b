//! What Weir speaks of: records, identifiers, time, outcomes. No I/O, and no import of any other part of Weir.

mod batch_key;
mod client_ip;
mod clock;
mod consent;
mod digest;
mod funnel;
mod outcome;
mod record;
mod session;
mod url_path;
mod view;
mod visitor;

pub use batch_key::{BATCH_KEY_LIFETIME_MS, BatchKey, KeyMark, KeyedAnswer};
pub use client_ip::{ClientIp, ThrottleKey};
pub use clock::{Clock, IdSource, UnixMillis, lowest_id, parse_uuid};
pub use consent::{ConsentPreferences, ConsentRecord};
pub use digest::{HmacKey, sha256};
pub use funnel::FunnelEventRecord;
pub use outcome::{Outcome, Route};
pub use record::{AnalyticsEvent, AnalyticsRecord, DecodeError, JournalRecord, MainRecord};
pub use session::{Place, SessionRecord, VisitorHash};
pub use url_path::url_path;
pub use view::{HeartbeatRecord, IdentifyRecord, LeaveRecord, PageviewRecord};
pub use visitor::{Attributes, FINGERPRINT_LIFETIME_MS, Fingerprint, VisitorFillRecord, VisitorRecord, VisitorToken};
