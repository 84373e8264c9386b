//! What happens within a session, as the journal carries it.

use uuid::Uuid;

use super::UnixMillis;
use super::declare::record;

record! {
    /// A page was opened: one row of `analytics_pageviews`, and the session's counters. Read back from the journal, its texts
    /// are borrowed.
    pub struct PageviewRecord<Text> in "analytics_pageviews" {
        id: Uuid => ["id"],
        entered_at: UnixMillis => ["entered_at"],
        session_id: Uuid => ["session_id"],
        url: Text => ["url"],
        path: Option<Text> => ["path"],
        title: Option<Text> => ["title"],
        referrer: Option<Text> => ["referrer"],
    } optional {}
}

record! {
    /// A page was left.
    pub struct LeaveRecord {
        view_id: Uuid,
        /// 0 to 3600 seconds.
        duration_seconds: f64,
        /// 0 to 100 percent.
        scroll_depth: Option<f64>,
    } optional {}
}

record! {
    /// The visitor is still there.
    #[derive(Eq)]
    pub struct HeartbeatRecord {
        session_id: Uuid,
        at: UnixMillis,
    } optional {}
}

record! {
    /// The visitor signed in.
    #[derive(Eq)]
    pub struct IdentifyRecord<Text> {
        session_id: Uuid,
        user_id: Text,
    } optional {}
}
