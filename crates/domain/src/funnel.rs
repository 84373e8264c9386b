//! A funnel event as it is stored: one row of `funnel_events`.

use uuid::Uuid;

use super::UnixMillis;
use super::declare::record;

record! {
    /// One step of a signed-in user.
    #[derive(Eq)]
    pub struct FunnelEventRecord {
        id: Uuid,
        created_at: UnixMillis,
        user_id: String,
        event: String,
        session_id: Option<String>,
        /// A JSON object in its compact form.
        properties: Option<String>,
    } optional {}
}
