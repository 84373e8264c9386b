//! `POST /api/v1/analytics/track`: a step of a signed-in user through the funnel.

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::answer::{Wrapped, WrappedError};
use super::body;
use super::endpoint::serve;
use super::fields::{self, Field, json_fields};
use super::openapi::bodies::TrackRequest;
use super::refusal::Refusal;
use super::rules::{Rules, TEXT_MAX};
use crate::domain::{FunnelEventRecord, MainRecord, Outcome, Route};

const EVENT_MAX: usize = 255;

json_fields! {
    /// The body, in the contract's order.
    pub struct TrackBody { event = "event", session_id = "sessionId", properties = "properties" }
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
pub async fn track(request: HttpRequest, payload: Payload) -> HttpResponse {
    serve(request, payload, Route::Track, async |call| {
        let user = call.user()?;
        let body = call.body(body::MAX_BYTES).await?;
        let app = call.app;
        let Event { name, session_id, properties } = app.parsed(|| read_event(&body))?;
        if !app.settings.tracking_enabled() {
            return Ok(call.answer(Outcome::Served, Tracked { tracked: true }));
        }
        if properties.as_ref().is_some_and(|properties| properties.len() > app.settings.max_event_data_bytes()) {
            return Err(Refusal::EventDataTooLarge);
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
        let keeping = app.keep_main(&MainRecord::FunnelEvent(Box::new(record)));
        Ok(call.answer_when_durable(keeping, &Tracked { tracked: true }))
    })
    .await
}

/// What an event's body says, checked rule by rule.
///
/// # Errors
/// When it is malformed, or with every rule that it breaks.
pub fn read_event(body: &[u8]) -> Result<Event, Refusal> {
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
fn read_properties(body: &[u8], rules: &mut Rules) -> Result<Option<String>, Refusal> {
    let written = fields::raw(body, "properties")?.map_or("null", |raw| raw.get());
    let properties: Value = serde_json::from_str(written).map_err(|error| {
        // In the whole body the error has the place that the client knows.
        fields::refusal_of(&serde_json::from_slice::<Value>(body).err().unwrap_or(error))
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
