//! `POST /api/v1/analytics/batch`: what happened while a client was offline, in one request.
//!
//! Invariants: items are appended in their order, so what refers to an earlier item comes after it in the journal too;
//! one bad item does not spoil the others; an item whose key is known gets its first answer, before its throttle is
//! asked: a batch that is sent again must not use up the limit that its rest is waiting for.
//! Cost: one fsync for the whole batch, one more for each item that another one refers to; past a million keys a look-up
//! for each key that memory does not know.

pub mod items;
mod schema;
mod slot;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;
use weir_domain::{AnalyticsEvent, CachedResponse, HeartbeatRecord, Outcome, UnixMillis, parse_uuid};

use self::items::{Item, ItemKind, read_item, read_items};
use self::schema::BatchRequest;
use self::slot::{ItemResult, Slot, append, settle, unavailable};
use super::pageview;
use super::session::{self, Enriched};
use crate::contract::{Cut, Detail};
use crate::enrich::EventTime;
use crate::http::call::Call;
use crate::http::middleware::RateLimit;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::Wrapped;
use crate::http::protocol::reply::Reply;
use crate::http::state::AppState;
use crate::idempotency::KeyView;
use crate::telemetry::{UNKNOWN_ITEM, name};

#[derive(Serialize, ToSchema)]
pub struct BatchAnswer {
    results: Vec<ItemResult>,
}

/// Bring many events at once
///
/// Items refer to earlier ones by index, are idempotent by `key`, and may have happened up to a day ago. Each passes its
/// own route's throttle and gets its own result.
#[utoipa::path(
    post, path = "/api/v1/analytics/batch", operation_id = "createBatch", tag = "analytics",
    request_body = BatchRequest, responses((status = 200, body = Wrapped<BatchAnswer>, description = "One result an item"))
)]
pub async fn batch(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let body = call.body().await?;
    let items = call.parsed(|_| read_items(&body))?;
    // The client told all ages at one moment, and so they count back from one.
    let now = call.app.clock.now();
    let mut keys = call.app.batch_keys.view();
    let mut slots: Vec<Slot> = Vec::with_capacity(items.len());
    for item in items {
        let slot = match take(call, item, &mut slots, &mut keys, now).await {
            Ok(slot) => slot,
            Err((kind, error)) => Slot::Refused { kind, error },
        };
        slots.push(slot);
    }
    let mut outcome = Outcome::Served;
    let mut results = Vec::with_capacity(slots.len());
    for slot in slots {
        let slot = settle(call.app, slot).await;
        if slot.outcome() == Outcome::Accepted {
            outcome = Outcome::Accepted;
        }
        call.app.telemetry.count(
            name::BATCH_ITEMS,
            &[("type", slot.kind().map_or(UNKNOWN_ITEM, ItemKind::label)), ("outcome", slot.outcome().label())],
            1,
        );
        results.push(slot.into_result(call.request_id()));
    }
    Ok(call.reply(outcome, &BatchAnswer { results }))
}

/// Checks an item and appends what is to be stored of it.
async fn take(
    call: &Call<'_>,
    item: &RawValue,
    earlier: &mut [Slot],
    keys: &mut KeyView<'_>,
    now: UnixMillis,
) -> Result<Slot, (Option<ItemKind>, ApiError)> {
    let item = read_item(item)?;
    let kind = item.kind;
    let known = match item.key {
        Some(key) => keys.answer(key).await,
        None => Ok(None),
    };
    if let Ok(Some(answer)) = known {
        return Ok(Slot::Answered { kind, answer, outcome: Outcome::Served });
    }
    let refused = |error| (Some(kind), error);
    if let Some(error) = RateLimit::check(call.app, kind.route(), call.client.ip).error() {
        return Err(refused(error));
    }
    let key = item.key;
    match event(call, item, earlier, now).await.map_err(refused)? {
        // It may be stored already: not a second time.
        Ok(_) if known.is_err() => Ok(unavailable(kind)),
        Ok(event) => Ok(append(call.app, kind, key, event, now)),
        Err(outcome) => Ok(Slot::Answered { kind, answer: CachedResponse::default(), outcome }),
    }
}

/// What an item says happened; in the inner error, why there is nothing to store.
async fn event(
    call: &Call<'_>,
    item: Item<'_>,
    earlier: &mut [Slot],
    now: UnixMillis,
) -> Result<Result<AnalyticsEvent, Outcome>, ApiError> {
    let app = call.app;
    let at = UnixMillis(now.0 - item.age_ms);
    match item.kind {
        ItemKind::Session => {
            let record = match session::read_and_enrich(call, item.body, EventTime { now, age_ms: item.age_ms })? {
                Enriched::Now(record) => record,
                Enriched::Later(parsing) => parsing.await,
            };
            Ok(record.map(|record| AnalyticsEvent::Session(Box::new(record))).map_err(Outcome::from))
        }
        ItemKind::Pageview => {
            let of_session = refer(app, earlier, "sessionRef", item.session_ref, ItemKind::Session).await?;
            let mut cut = Cut::default();
            let view = pageview::read_view(item.body, of_session, &mut cut)?;
            call.count_cut(&cut);
            let record = view.into_record(call.is_bot(), app.ids.next(now), at);
            Ok(record.map(|record| AnalyticsEvent::Pageview(Box::new(record))))
        }
        ItemKind::Leave => {
            let of_view = refer(app, earlier, "viewRef", item.view_ref, ItemKind::Pageview).await?;
            let id = named(of_view, item.id)?;
            let leave = pageview::read_leave(item.body, &mut Cut::default())?;
            Ok(id.map(|view_id| AnalyticsEvent::Leave(leave.into_record(view_id))).ok_or(Outcome::Served))
        }
        ItemKind::Heartbeat => {
            let of_session = refer(app, earlier, "sessionRef", item.session_ref, ItemKind::Session).await?;
            let id = named(of_session, item.id)?;
            let heartbeat = |session_id| AnalyticsEvent::Heartbeat(HeartbeatRecord { session_id, at });
            Ok(id.map(heartbeat).ok_or(Outcome::Served))
        }
    }
}

/// The id that an earlier item of this kind got.
async fn refer(
    app: &AppState,
    earlier: &mut [Slot],
    name: &'static str,
    reference: Option<usize>,
    kind: ItemKind,
) -> Result<Option<Uuid>, ApiError> {
    let Some(index) = reference else { return Ok(None) };
    if let Some(slot) = earlier.get_mut(index) {
        let nothing = Slot::Refused { kind: None, error: ApiError::Unavailable };
        *slot = settle(app, std::mem::replace(slot, nothing)).await;
    }
    match earlier.get(index) {
        Some(Slot::Answered { kind: found, answer: CachedResponse { id: Some(id), .. }, .. }) if *found == kind => {
            Ok(Some(*id))
        }
        _ => {
            let message = format!("{name} must be the index of an earlier {} item that was stored", kind.label());
            Err(ApiError::Validation(vec![Detail { field: Some(name), message }]))
        }
    }
}

/// The id that an item is about, by reference or by name; `None` when the name is no UUID, and so nobody's.
fn named(referred: Option<Uuid>, id: Option<String>) -> Result<Option<Uuid>, ApiError> {
    match (referred, id) {
        (Some(id), _) => Ok(Some(id)),
        (None, Some(id)) => Ok(parse_uuid(&id)),
        (None, None) => {
            let message = "id must be a string".to_owned();
            Err(ApiError::Validation(vec![Detail { field: Some("id"), message }]))
        }
    }
}
