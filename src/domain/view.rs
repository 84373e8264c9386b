//! What happens within a session, as the journal carries it. Field order is the journal's format: append, never reorder
//! (see `record`).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::UnixMillis;

/// A page was opened: one row of `analytics_pageviews`, and the session's counters. Read back from the journal, its texts are
/// borrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageviewRecord<Text = String> {
    pub id: Uuid,
    pub entered_at: UnixMillis,
    pub session_id: Uuid,
    pub url: Text,
    pub path: Option<Text>,
    pub title: Option<Text>,
    pub referrer: Option<Text>,
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
