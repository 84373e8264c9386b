//! `POST /api/v1/analytics/track`: a step of a signed-in user through the funnel.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use weir_domain::{FunnelEventRecord, JournalRecord, MainRecord, Outcome};

use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::{Wrapped, WrappedError};
use crate::http::protocol::fields::{self, Field};
use crate::http::protocol::json_fields::json_fields;
use crate::http::protocol::reply::Reply;
use crate::http::protocol::rules::{Rules, TEXT_MAX};

const EVENT_MAX: usize = 255;

json_fields! {
    /// The body, in the contract's order.
    pub struct TrackBody { event = "event", session_id = "sessionId", properties = "properties" }
}

/// A step through the funnel.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)] // never made: its schema is its purpose
#[serde(rename_all = "camelCase")]
pub struct TrackRequest {
    #[schema(min_length = 1, max_length = 255)]
    event: String,
    #[schema(max_length = 1024)]
    session_id: Option<String>,
    /// As many bytes as the setting `analytics.max_event_data_bytes` allows.
    properties: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Serialize, ToSchema)]
pub struct Tracked {
    tracked: bool,
}

/// An event as the client tells it.
pub struct Event {
    pub name: String,
    pub session_id: Option<String>,
    /// Compact.
    pub properties: Option<String>,
}

/// Track a step through the funnel
#[utoipa::path(
    post, path = "/api/v1/analytics/track", operation_id = "track", tag = "users", security(("bearer" = [])),
    request_body = TrackRequest,
    responses(
        (status = 200, body = Wrapped<Tracked>, description = "Durable, or tracking is switched off"),
        (status = 401, body = WrappedError, description = "No bearer, or a bad one")
    )
)]
pub async fn track(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let user = call.user()?;
    let body = call.body().await?;
    let app = call.app;
    let Event { name, session_id, properties } = call.parsed(|| read_event(&body))?;
    if !app.settings.tracking_enabled() {
        return Ok(call.reply(Outcome::Served, &Tracked { tracked: true }));
    }
    if properties.as_ref().is_some_and(|properties| properties.len() > app.settings.max_event_data_bytes()) {
        return Err(ApiError::EventDataTooLarge);
    }
    let now = app.clock.now();
    let record = FunnelEventRecord {
        id: app.ids.next(now),
        created_at: now,
        user_id: user.0,
        event: name,
        session_id,
        properties,
    };
    let commit = app.main.append(MainRecord::FunnelEvent(Box::new(record)).encode());
    Ok(call.reply_after(commit, &Tracked { tracked: true }))
}

/// What an event's body says, checked rule by rule.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_event(body: &[u8]) -> Result<Event, ApiError> {
    let fields: TrackBody<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let name = rules.required_text("event", &fields.event, EVENT_MAX);
    let session_id = rules.optional_text("sessionId", &fields.session_id, TEXT_MAX);
    let properties = match fields.properties {
        Field::Absent | Field::Null => None,
        Field::Structure => read_properties(body, &mut rules)?,
        _ => {
            rules.refuse("properties", "must be an object");
            None
        }
    };
    rules.finish()?;
    Ok(Event { name: name.to_owned(), session_id: session_id.map(str::to_owned), properties })
}

/// The one field whose value is kept as it is. Whatever is in a field that nobody knows is no reason to refuse the event.
fn read_properties(body: &[u8], rules: &mut Rules) -> Result<Option<String>, ApiError> {
    let written = fields::raw(body, "properties")?.map_or("null", |raw| raw.get());
    let properties: Value = serde_json::from_str(written).map_err(|error| {
        // In the whole body the error has the place that the client knows.
        fields::error_of(&serde_json::from_slice::<Value>(body).err().unwrap_or(error))
    })?;
    if !properties.is_object() {
        rules.refuse("properties", "must be an object");
    }
    if holds_nul(&properties) {
        rules.refuse("properties", "must not contain a NUL character");
    }
    Ok(Some(properties.to_string()))
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::protocol::json_fields::assert_described;

    #[test]
    fn document_of_the_body_has_the_fields_that_are_read() {
        assert_described::<TrackRequest>(TrackBody::FIELDS);
    }
}
