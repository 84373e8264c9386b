//! What happened to a session or a view that is not in the database yet: it came by way of another instance, whose journal
//! still has the session, or the session is a dead letter.
//!
//! It waits in `pending_effects`, in the order in which it came, and is applied in the transaction that brings what it waits
//! for (`fold`). A session and an effect that are committed at the same instant do not see each other: [`super::Sink::settle`]
//! looks for those every few seconds.
//! Bounds: [`PENDING_LIFETIME_MS`], and [`PENDING_MAX`] by the last count; what comes beyond is lost and counted. Only what
//! waits for an id that a server can have made is kept. Cost: while nothing waits, one statement a transaction.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use weir_domain::UnixMillis;

/// How long an effect waits.
pub const PENDING_LIFETIME_MS: i64 = 24 * 3_600_000;
/// The most effects that wait in one database.
pub const PENDING_MAX: u64 = 1_000_000;
/// How long after an effect came it is looked for again and again: a step that did not see it has ended by then.
pub(super) const RECENT_MS: i64 = 5 * 60_000;
/// How many are settled in one transaction.
pub(super) const SETTLED_AT_ONCE: i64 = 2_000;

/// What is to happen as soon as a session is there, or of a leave a view.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The view's own row is stored; it is its session that does not know of it.
    View {
        id: Uuid,
        entered_at: UnixMillis,
    },
    Leave {
        duration_seconds: f64,
        scroll_depth: Option<f64>,
    },
    Heartbeat {
        at: UnixMillis,
    },
    Identify {
        user_id: String,
    },
}

/// An effect that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingEffect {
    /// Its row; none for one of the very batch that is applied.
    pub row: Option<i64>,
    pub effect: Effect,
}

/// Effects by what they wait for, in the order in which they came.
pub type WaitingEffects = HashMap<Uuid, Vec<WaitingEffect>>;

/// An effect as columns.
#[derive(Clone, Debug, Default)]
pub(super) struct EffectColumns {
    pub kind: String,
    pub view_id: Option<Uuid>,
    pub at: Option<UnixMillis>,
    pub duration_seconds: Option<f64>,
    pub scroll_depth: Option<f64>,
    pub user_id: Option<String>,
}

impl From<&Effect> for EffectColumns {
    fn from(effect: &Effect) -> Self {
        let of = |kind: &str| Self { kind: kind.to_owned(), ..Self::default() };
        match effect {
            Effect::View { id, entered_at } => Self { view_id: Some(*id), at: Some(*entered_at), ..of("view") },
            Effect::Leave { duration_seconds, scroll_depth } => {
                Self { duration_seconds: Some(*duration_seconds), scroll_depth: *scroll_depth, ..of("leave") }
            }
            Effect::Heartbeat { at } => Self { at: Some(*at), ..of("heartbeat") },
            Effect::Identify { user_id } => Self { user_id: Some(user_id.clone()), ..of("identify") },
        }
    }
}

impl EffectColumns {
    /// `None` for what a later version has written: it stays where it is.
    fn effect(self) -> Option<Effect> {
        Some(match self.kind.as_str() {
            "view" => Effect::View { id: self.view_id?, entered_at: self.at? },
            "leave" => Effect::Leave { duration_seconds: self.duration_seconds?, scroll_depth: self.scroll_depth },
            "heartbeat" => Effect::Heartbeat { at: self.at? },
            "identify" => Effect::Identify { user_id: self.user_id? },
            _ => return None,
        })
    }
}

/// Rows in the order of their ids, by what they wait for.
pub(super) fn waiting(rows: impl IntoIterator<Item = (i64, Uuid, EffectColumns)>) -> WaitingEffects {
    let mut waiting = WaitingEffects::new();
    for (row, awaited, columns) in rows {
        if let Some(effect) = columns.effect() {
            waiting.entry(awaited).or_default().push(WaitingEffect { row: Some(row), effect });
        }
    }
    waiting
}

/// How many wait, by the last count and what came since.
#[derive(Debug, Default)]
pub(super) struct PendingBound {
    waiting: AtomicU64,
    refused: AtomicU64,
}

impl PendingBound {
    /// As many of these as there is room for.
    pub fn admit<'a, T>(&self, effects: &'a [T]) -> &'a [T] {
        let before = self.waiting.fetch_add(effects.len() as u64, Ordering::Relaxed);
        let room = usize::try_from(PENDING_MAX.saturating_sub(before)).unwrap_or(usize::MAX);
        let (admitted, refused) = effects.split_at(effects.len().min(room));
        self.refused.fetch_add(refused.len() as u64, Ordering::Relaxed);
        admitted
    }

    /// Takes in a count. How many were refused since the one before.
    pub fn counted(&self, waiting: u64) -> u64 {
        self.waiting.store(waiting, Ordering::Relaxed);
        self.refused.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_effects_beyond_bound_are_refused_and_counted() {
        let bound = PendingBound::default();
        assert_eq!(bound.counted(PENDING_MAX - 1), 0);
        assert_eq!(bound.admit(&[1, 2, 3]), [1]);
        assert_eq!(bound.counted(0), 2);
        assert_eq!(bound.admit(&[1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn pending_effect_round_trips_through_columns() {
        let (id, at) = (Uuid::from_u128(7), UnixMillis(1));
        for effect in [
            Effect::View { id, entered_at: at },
            Effect::Leave { duration_seconds: 0.5, scroll_depth: None },
            Effect::Heartbeat { at },
            Effect::Identify { user_id: "a".to_owned() },
        ] {
            assert_eq!(EffectColumns::from(&effect).effect(), Some(effect));
        }
        assert_eq!(EffectColumns { kind: "later".to_owned(), ..EffectColumns::default() }.effect(), None);
    }
}
