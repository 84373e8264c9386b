//! A batch as the `OpenAPI` document describes it.

use serde::Serialize;
use utoipa::ToSchema;

/// What happened while a client was offline, in its order.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
pub struct BatchRequest {
    /// Each item is judged by itself: one that breaks a rule gets its own error, and the others go on.
    #[schema(value_type = Vec<BatchItem>, min_items = 1, max_items = 100)]
    items: Vec<BatchItem>,
}

/// One event of a batch. What it breaks is told in its result.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
#[serde(rename_all = "camelCase")]
pub struct BatchItem {
    /// `session`, `pageview`, `leave` or `heartbeat`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Makes the item idempotent for 24 hours; 1 to 64 characters. The same key of another client is the same key: use a
    /// random one.
    key: Option<String>,
    /// How long ago it happened by the client's own clock: 0 to 86400000.
    age_ms: Option<f64>,
    /// The session of a heartbeat, the view of a leave.
    id: Option<String>,
    /// The index of an earlier session item, instead of its id.
    session_ref: Option<f64>,
    /// The index of an earlier pageview item, instead of its id.
    view_ref: Option<f64>,
    /// The body of the item's own route.
    body: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What an item of a batch is answered with; which of these, its type tells.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
#[serde(rename_all = "camelCase")]
pub struct BatchItemData {
    #[schema(format = "uuid")]
    id: Option<String>,
    #[schema(format = "date-time", nullable = false)]
    created_at: Option<String>,
    #[schema(nullable = false)]
    ok: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::assert_described;
    use crate::http::endpoints::batch::items::ItemFields;

    #[test]
    fn document_of_an_item_has_the_fields_that_are_read() {
        assert_described::<BatchItem>(&[ItemFields::NAMES, &["body"]].concat());
    }
}
