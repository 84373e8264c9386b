//! What Weir speaks of: records, identifiers, time, outcomes. No I/O, and no import of any other part of Weir.

mod client_ip;
mod clock;
mod consent;
mod outcome;
mod record;
mod session;

pub use client_ip::{ClientIp, ThrottleKey};
pub use clock::{Clock, IdSource, UnixMillis};
pub use consent::{ConsentPreferences, ConsentRecord};
pub use outcome::{Outcome, Route};
pub use record::{AnalyticsRecord, DecodeError, JournalRecord, MainRecord};
pub use session::{Place, SessionRecord, VisitorHash};
