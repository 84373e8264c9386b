//! What becomes of a batch's items: appended, durable, answered.

use serde::Serialize;
use utoipa::ToSchema;
use weir_domain::{
    AnalyticsEvent, AnalyticsRecord, BatchKey, CachedResponse, IdempotencyEntry, JournalRecord, Outcome, UnixMillis,
};
use weir_journal::Ack;

use super::items::ItemKind;
use super::schema::BatchItemData;
use crate::http::endpoints::pageview::Viewed;
use crate::http::endpoints::session::{Created, Done};
use crate::http::middleware::RequestId;
use crate::http::protocol::api_error::ApiError;
use crate::http::protocol::envelope::ErrorBody;
use crate::http::state::AppState;
use crate::idempotency::InFlight;

#[derive(Serialize)]
#[serde(untagged)]
enum ItemData {
    Session(Created),
    Pageview(Viewed),
    Done(Done),
}

impl ItemData {
    fn of(kind: ItemKind, answer: CachedResponse) -> Self {
        match kind {
            ItemKind::Session => Self::Session(answer.into()),
            ItemKind::Pageview => Self::Pageview(answer.into()),
            ItemKind::Leave | ItemKind::Heartbeat => Self::Done(Done::OK),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ItemResult {
    status: u16,
    #[schema(value_type = BatchItemData, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<ItemData>,
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

/// The result of an item, as far as it is known.
pub enum Slot {
    /// Appended, not yet known to be durable.
    Waiting {
        kind: ItemKind,
        answer: CachedResponse,
        durable: Durable,
    },
    /// Stored, or not stored and answered as if all were well.
    Answered {
        kind: ItemKind,
        answer: CachedResponse,
        outcome: Outcome,
    },
    Refused {
        kind: Option<ItemKind>,
        error: ApiError,
    },
}

/// What tells that an item is durable.
pub enum Durable {
    Plain(Ack),
    Keyed(BatchKey, InFlight<CachedResponse>),
}

/// Appends an event, and does not wait until it is durable.
pub fn append(app: &AppState, kind: ItemKind, key: Option<BatchKey>, event: AnalyticsEvent, now: UnixMillis) -> Slot {
    let answer = event.answer();
    let record = AnalyticsRecord { key: key.map(|key| IdempotencyEntry { key, stored_at: now }), event };
    let append = || app.analytics.appender.append(record.encode());
    let (answer, durable) = match key {
        None => (answer, append().map(Durable::Plain).ok()),
        Some(key) => match app.batch_keys.begin(key, || append().map(|ack| (answer, ack))) {
            Ok(pending) => (pending.value(), Some(Durable::Keyed(key, pending))),
            Err(_) => (answer, None),
        },
    };
    match durable {
        Some(durable) => Slot::Waiting { kind, answer, durable },
        None => unavailable(kind),
    }
}

/// The result of an item that cannot be stored. Sessions and views say it with their null id, the others have no other way
/// than an error.
pub fn unavailable(kind: ItemKind) -> Slot {
    match kind {
        ItemKind::Session | ItemKind::Pageview => {
            Slot::Answered { kind, answer: CachedResponse::default(), outcome: Outcome::Unavailable }
        }
        ItemKind::Leave | ItemKind::Heartbeat => Slot::Refused { kind: Some(kind), error: ApiError::Unavailable },
    }
}

/// Waits until it is known whether an item is durable.
pub async fn settle(app: &AppState, slot: Slot) -> Slot {
    let Slot::Waiting { kind, answer, durable } = slot else { return slot };
    let durable = match durable {
        Durable::Plain(ack) => ack.await,
        Durable::Keyed(key, pending) => app.batch_keys.settle(key, pending).await,
    };
    match durable {
        Ok(()) => Slot::Answered { kind, answer, outcome: Outcome::Accepted },
        Err(_) => unavailable(kind),
    }
}

impl Slot {
    /// What the item is, where that is known.
    pub fn kind(&self) -> Option<ItemKind> {
        match self {
            Self::Waiting { kind, .. } | Self::Answered { kind, .. } => Some(*kind),
            Self::Refused { kind, .. } => *kind,
        }
    }

    /// Under what it is counted.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Waiting { .. } => Outcome::Failed,
            Self::Answered { outcome, .. } => *outcome,
            Self::Refused { error, .. } => error.spec().outcome,
        }
    }

    /// As it stands in the answer to the request with this id.
    pub fn into_result(self, id: &RequestId) -> ItemResult {
        match self {
            Self::Answered { kind, answer, .. } => {
                ItemResult { status: 200, data: Some(ItemData::of(kind, answer)), error: None }
            }
            // Nobody may hear of what is not known to be durable.
            Self::Waiting { .. } => Self::Refused { kind: None, error: ApiError::Unavailable }.into_result(id),
            Self::Refused { error, .. } => {
                ItemResult { status: error.spec().status.as_u16(), data: None, error: Some(ErrorBody::new(id, error)) }
            }
        }
    }
}
