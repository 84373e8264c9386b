//! `POST /api/v1/analytics/track`: a step of a signed-in user through the funnel.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use weir_domain::{FunnelEventRecord, JournalRecord, MainRecord, Outcome};

use crate::contract::kinds::{CheckedByEndpoint, CutText, Text, or_null};
use crate::contract::{Cut, Field, Rule, Rules, TEXT_MAX, fields, request_body};
use crate::http::call::Call;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::{Wrapped, WrappedError};
use crate::http::protocol::reply::Reply;

const EVENT_MAX: usize = 255;

request_body! {
    /// A step through the funnel.
    pub struct Step from StepFields as TrackRequest {
        event: "event" => Text<EVENT_MAX>,
        session_id: "sessionId" => CutText<TEXT_MAX>,
        /// As many bytes as the setting `analytics.max_event_data_bytes` allows.
        properties: "properties" => CheckedByEndpoint<OptionalObject>,
    }
}

/// An object of any values, which may be missing or null.
pub struct OptionalObject;

impl Rule for OptionalObject {
    type Value<'a> = bool;
    const REQUIRED: bool = false;

    fn check(rules: &mut Rules, name: &'static str, field: &Field<'_>) -> bool {
        match field {
            Field::Absent | Field::Null => false,
            Field::Structure => true,
            _ => {
                rules.refuse(name, "must be an object");
                false
            }
        }
    }

    fn schema() -> ObjectBuilder {
        ObjectBuilder::new()
            .schema_type(or_null(Type::Object))
            .property_names(Some(ObjectBuilder::new().schema_type(Type::String)))
            .additional_properties(Some(ObjectBuilder::new().schema_type(SchemaType::AnyValue)))
    }
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
    let Event { name, session_id, properties } = call.parsed(|cut| read_event(&body, cut))?;
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
pub fn read_event(body: &[u8], cut: &mut Cut) -> Result<Event, ApiError> {
    let fields: StepFields<'_> = fields::parse(body)?;
    let mut rules = Rules::default();
    let Step { event, session_id, properties } = Step::check(&fields, &mut rules);
    let has_properties = OptionalObject::check(&mut rules, "properties", properties);
    let properties = if has_properties { read_properties(body, &mut rules)? } else { None };
    rules.finish(cut)?;
    Ok(Event { name: event.to_owned(), session_id: session_id.map(str::to_owned), properties })
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
