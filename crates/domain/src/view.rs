//! What happens within a session, as the journal carries it.

use serde::{Deserialize, Serialize};
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

/// A page was left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaveRecord {
    pub view_id: Uuid,
    /// 0 to 3600 seconds.
    pub duration_seconds: f64,
    /// 0 to 100 percent.
    pub scroll_depth: Option<f64>,
}

/// The visitor is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatRecord {
    pub session_id: Uuid,
    pub at: UnixMillis,
}

/// The visitor signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentifyRecord<Text = String> {
    pub session_id: Uuid,
    pub user_id: Text,
}
