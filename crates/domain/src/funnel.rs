//! A funnel event as it is stored: one row of `funnel_events`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::UnixMillis;

/// One step of a signed-in user. Field order is the journal's format: append, never reorder (see `record`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunnelEventRecord {
    pub id: Uuid,
    pub created_at: UnixMillis,
    pub user_id: String,
    pub event: String,
    pub session_id: Option<String>,
    /// A JSON object in its compact form.
    pub properties: Option<String>,
}
