//! The model: every record that was acknowledged, at its position, and the rows that those up to some position come to.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use weir_domain::{AnalyticsEvent, AnalyticsRecord, HeartbeatRecord, IdSource, PageviewRecord, SessionRecord};
use weir_log::{DeadLetterReason, Position};

use super::What;
use weir_testkit::store::{DAY, session_at};

const POISON: &str = "https://example.org/poison";

/// A session's row: its views and its seconds.
pub type Counts = (i64, i64);

/// What the database holds of a ledger, or should.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub sessions: BTreeMap<Uuid, Counts>,
    pub views: BTreeSet<Uuid>,
}

#[derive(Default)]
pub struct Ledger {
    ids: IdSource,
    sessions: Vec<Uuid>,
    records: Vec<(Position, AnalyticsEvent)>,
    damaged: BTreeSet<Position>,
}

impl Ledger {
    /// A record of this kind, not acknowledged yet. `None` when there is no session for it.
    pub fn make(&mut self, what: What) -> Option<AnalyticsRecord> {
        let event = match what {
            What::Session | What::Poison => {
                let mut session = SessionRecord { id: self.ids.next(DAY), ..session_at(DAY) };
                if matches!(what, What::Poison) {
                    POISON.clone_into(&mut session.landing_page);
                }
                self.sessions.push(session.id);
                AnalyticsEvent::Session(Box::new(session))
            }
            What::View(_) | What::Heartbeat(_) if self.sessions.is_empty() => return None,
            What::View(session) => AnalyticsEvent::Pageview(Box::new(PageviewRecord {
                id: self.ids.next(DAY),
                entered_at: DAY,
                session_id: *session.get(&self.sessions),
                url: "https://example.org/a".to_owned(),
                path: Some("/a".to_owned()),
                title: None,
                referrer: None,
            })),
            What::Heartbeat(session) => {
                AnalyticsEvent::Heartbeat(HeartbeatRecord { session_id: *session.get(&self.sessions), at: DAY })
            }
        };
        Some(event.into())
    }

    /// The record is durable at this position.
    pub fn acknowledged(&mut self, position: Position, record: AnalyticsRecord) {
        self.records.push((position, record.event));
    }

    /// The record at this position cannot be read any more, and was not read before.
    pub fn damaged(&mut self, position: Position) {
        self.damaged.insert(position);
    }

    /// Of the records after a position only these are left.
    pub fn forget(&mut self, after: Position, left: impl Fn(Position) -> bool) {
        self.records.retain(|(at, _)| *at <= after || left(*at));
    }

    /// The position of the last record but one.
    pub fn last_but_one(&self) -> Position {
        self.records[self.records.len() - 2].0
    }

    fn up_to(&self, position: Position) -> impl Iterator<Item = &AnalyticsEvent> {
        let up_to = self.records.iter().take_while(move |(at, _)| *at <= position);
        up_to.filter(|(at, _)| !self.damaged.contains(at)).map(|(_, event)| event)
    }

    /// What the records up to a position come to, one after the other.
    pub fn rows(&self, position: Position) -> Rows {
        let mut rows = Rows::default();
        for event in self.up_to(position) {
            match event {
                AnalyticsEvent::Session(session) if session.landing_page == POISON => {}
                AnalyticsEvent::Session(session) => _ = rows.sessions.insert(session.id, (0, 0)),
                AnalyticsEvent::Pageview(view) => {
                    rows.views.insert(view.id);
                    if let Some((views, _)) = rows.sessions.get_mut(&view.session_id) {
                        *views += 1;
                    }
                }
                AnalyticsEvent::Heartbeat(heartbeat) => {
                    if let Some((_, seconds)) = rows.sessions.get_mut(&heartbeat.session_id) {
                        *seconds += 30;
                    }
                }
                other => unreachable!("{other:?}"),
            }
        }
        rows
    }

    /// What must be set aside by the time that all is applied, and why.
    pub fn letters(&self) -> Vec<(Position, DeadLetterReason)> {
        let letter = |(at, event): &(Position, AnalyticsEvent)| match event {
            _ if self.damaged.contains(at) => Some((*at, DeadLetterReason::Corrupt)),
            AnalyticsEvent::Session(session) if session.landing_page == POISON => {
                Some((*at, DeadLetterReason::Refused))
            }
            _ => None,
        };
        self.records.iter().filter_map(letter).collect()
    }

    /// Every id that was ever made, for a look at what is there of them.
    pub fn ids(&self) -> (Vec<Uuid>, Vec<Uuid>) {
        let views = self.records.iter().filter_map(|(_, event)| match event {
            AnalyticsEvent::Pageview(view) => Some(view.id),
            _ => None,
        });
        (self.sessions.clone(), views.collect())
    }
}
