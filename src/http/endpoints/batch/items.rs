//! What a batch is made of: items, read and checked one by one.

use serde_json::value::RawValue;
use weir_domain::{BatchKey, Route};

use crate::contract::{BodyError, Cut, Detail, Field, Rules, TEXT_MAX, fields, json_fields};
use crate::http::protocol::api_error::ApiError;

const ITEMS_MAX: usize = 100;
const KEY_MAX: usize = 64;
const AGE_MAX_MS: u32 = 24 * 3_600_000;

json_fields! {
    /// An item, without its body.
    pub struct ItemFields {
        kind = "type",
        key = "key",
        age_ms = "ageMs",
        id = "id",
        session_ref = "sessionRef",
        view_ref = "viewRef",
    }
}

/// What an item can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    Session,
    Pageview,
    Leave,
    Heartbeat,
}

impl ItemKind {
    pub const ALL: [Self; 4] = [Self::Session, Self::Pageview, Self::Leave, Self::Heartbeat];

    /// Its name in a batch, and its route's.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.route().label()
    }

    /// The route whose throttle it passes.
    #[must_use]
    pub fn route(self) -> Route {
        match self {
            Self::Session => Route::Session,
            Self::Pageview => Route::Pageview,
            Self::Leave => Route::Leave,
            Self::Heartbeat => Route::Heartbeat,
        }
    }
}

/// An item, checked.
pub struct Item<'a> {
    pub kind: ItemKind,
    pub key: Option<BatchKey>,
    pub age_ms: i64,
    pub id: Option<String>,
    pub session_ref: Option<usize>,
    pub view_ref: Option<usize>,
    pub body: &'a [u8],
}

/// The items of a batch, each for itself.
///
/// # Errors
/// When there is no list of 1 to 100 of them.
pub fn read_items(body: &[u8]) -> Result<Vec<&RawValue>, ApiError> {
    let items = fields::raw(body, "items")?;
    let of_items =
        |rule: &str| ApiError::Validation(vec![Detail { field: Some("items"), message: format!("items {rule}") }]);
    let items: Vec<&RawValue> = match items.map(|items| serde_json::from_str(items.get())) {
        Some(Ok(items)) => items,
        _ => return Err(of_items("must be an array")),
    };
    match items.len() {
        0 => Err(of_items("must contain at least 1 elements")),
        1..=ITEMS_MAX => Ok(items),
        _ => Err(of_items(&format!("must contain no more than {ITEMS_MAX} elements"))),
    }
}

/// What an item says, but for its body.
///
/// # Errors
/// With every rule that it breaks, and its kind where that is known.
pub fn read_item(item: &RawValue) -> Result<Item<'_>, (Option<ItemKind>, ApiError)> {
    let text = item.get().as_bytes();
    let unreadable = |error: BodyError| (None, error.into());
    let found: ItemFields<'_> = fields::parse(text).map_err(unreadable)?;
    let body = fields::raw(text, "body").map_err(unreadable)?.filter(|body| body.get() != "null");
    let mut rules = Rules::default();
    let kind = match &found.kind {
        Field::Text(text) => ItemKind::ALL.into_iter().find(|kind| kind.label() == text),
        _ => None,
    };
    if kind.is_none() {
        rules.refuse("type", "must be one of the following values: session, pageview, leave, heartbeat");
    }
    let key = rules.optional_text("key", &found.key, KEY_MAX);
    let age_ms = rules.optional_number("ageMs", &found.age_ms).unwrap_or(0.0);
    let id = rules.optional_text("id", &found.id, TEXT_MAX).map(str::to_owned);
    let mut reference = |name, field| rules.optional_integer(name, &field, 0, 99).map(|index| index as usize);
    let (session_ref, view_ref) = (reference("sessionRef", found.session_ref), reference("viewRef", found.view_ref));
    rules.finish(&mut Cut::default()).map_err(|error| (kind, error.into()))?;
    let Some(kind) = kind else { return Err((None, ApiError::Validation(Vec::new()))) };
    let key = key.map(|key| BatchKey::new(kind.label(), key));
    let body = body.map_or(&b""[..], |body| body.get().as_bytes());
    // Clients measure in fractions, and their clocks step back.
    #[allow(clippy::cast_possible_truncation)] // at most a day
    let age_ms = age_ms.clamp(0.0, f64::from(AGE_MAX_MS)) as i64;
    Ok(Item { kind, key, age_ms, id, session_ref, view_ref, body })
}
