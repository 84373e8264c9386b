//! What a batch of analytics records comes to: the contract's rules for sessions and views, applied one record after
//! the other in memory, so that a batch is a handful of statements and still ends as if every record had been a
//! transaction of its own.
//!
//! The engines load what [`WriteSet`] names, call [`Fold::of`], and write what it holds. Invariants: the result depends
//! on the records' order and on what was loaded, never on where a batch begins or ends; a session or view that is there
//! already is not made again, and counts once; what happens to one that is not there waits until it is (`pending`).
//! `tests/store/model.rs` holds it against a naive model.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::Applied;
pub use super::pending::{Effect, WaitingEffect, WaitingEffects};
use weir_domain::{
    AnalyticsEvent, AnalyticsRecord, CachedResponse, HEARTBEAT_SECONDS, IdempotencyEntry, PageviewRecord,
    SessionRecord, UnixMillis, reading_seconds,
};

/// A session's changing columns.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionState {
    pub user_id: Option<String>,
    pub page_views: i32,
    pub bounced: bool,
    pub duration_seconds: i32,
    pub last_activity_at: UnixMillis,
}

/// Views by their ids.
pub type ViewStates = HashMap<Uuid, ViewState>;

/// What is to be known of a view to change it.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewState {
    pub entered_at: UnixMillis,
    pub duration_seconds: Option<f64>,
    pub scroll_depth: Option<f64>,
}

/// A session that is to be made, as its batch leaves it.
pub type NewSession<'a> = (&'a SessionRecord<&'a str>, SessionState);
/// A view that is to be made, as its batch leaves it.
pub type NewView<'a> = (&'a PageviewRecord<&'a str>, ViewState);

/// The rows that records may change.
#[derive(Debug, Default)]
pub struct WriteSet {
    /// Sessions that something happens to beside their making.
    pub sessions: BTreeSet<Uuid>,
    /// Those of them that may begin with these very records. Their last views are to be loaded as those of sessions
    /// that are there: another instance may have been faster with a view than this one with its session.
    pub begun: BTreeSet<Uuid>,
    /// Views that are left, or may be there already.
    pub views: BTreeSet<Uuid>,
}

impl WriteSet {
    pub fn of(records: &[AnalyticsRecord<&str>]) -> Self {
        let mut write_set = Self::default();
        for record in records {
            match &record.event {
                AnalyticsEvent::Session(_) => {}
                AnalyticsEvent::Pageview(view) => {
                    write_set.sessions.insert(view.session_id);
                    write_set.views.insert(view.id);
                }
                AnalyticsEvent::Leave(leave) => _ = write_set.views.insert(leave.view_id),
                AnalyticsEvent::Heartbeat(heartbeat) => _ = write_set.sessions.insert(heartbeat.session_id),
                AnalyticsEvent::Identify(identify) => _ = write_set.sessions.insert(identify.session_id),
            }
        }
        let begun = records.iter().filter_map(|record| match &record.event {
            AnalyticsEvent::Session(session) => Some(session.id),
            _ => None,
        });
        write_set.begun = begun.filter(|id| write_set.sessions.contains(id)).collect();
        write_set
    }

    /// Takes in what waits for these very records.
    pub fn expect(&mut self, waiting: &WaitingEffects) {
        for (awaited, effects) in waiting {
            for WaitingEffect { effect, .. } in effects {
                match effect {
                    Effect::Leave { .. } => _ = self.views.insert(*awaited),
                    Effect::View { id, .. } => {
                        self.views.insert(*id);
                        self.begin(*awaited);
                    }
                    Effect::Heartbeat { .. } | Effect::Identify { .. } => self.begin(*awaited),
                }
            }
        }
    }

    fn begin(&mut self, session: Uuid) {
        self.sessions.insert(session);
        self.begun.insert(session);
    }
}

/// What of these records others may be waiting for.
pub(super) fn awaited(records: &[AnalyticsRecord<&str>]) -> Vec<Uuid> {
    let made = records.iter().filter_map(|record| record.event.answer().id);
    made.filter(|id| is_ours(*id)).collect()
}

/// Whether a server can have made it.
pub(super) fn is_ours(id: Uuid) -> bool {
    id.get_version_num() == 7
}

/// Rows as the database has them before a batch.
#[derive(Debug, Default)]
pub struct PreImage {
    pub sessions: HashMap<Uuid, SessionState>,
    pub views: ViewStates,
    /// By session, its view with the highest id: the one that was recorded last. It is among the views.
    pub last_views: HashMap<Uuid, Uuid>,
    /// What waits for the records of the batch.
    pub waiting: WaitingEffects,
    /// By view that waits for its session, the view before it; only where the session is there.
    pub previous_views: HashMap<Uuid, Uuid>,
}

/// What a batch comes to. Rows that change are in the order of their ids, so that no two writers wait for each other in
/// a circle.
#[derive(Debug, Default)]
pub struct Fold<'a> {
    pub new_sessions: Vec<NewSession<'a>>,
    pub changed_sessions: Vec<(Uuid, SessionState)>,
    pub new_views: Vec<NewView<'a>>,
    pub changed_views: Vec<(Uuid, ViewState)>,
    pub keys: Vec<(IdempotencyEntry, CachedResponse)>,
    /// What is to wait, by what it waits for.
    pub waiting: Vec<(Uuid, Effect)>,
    /// Rows of what has waited long enough.
    pub arrived: Vec<i64>,
    /// Sessions whose state has such an effect in it.
    revived: BTreeSet<Uuid>,
}

impl<'a> Fold<'a> {
    /// `pre_image` is what the database has of what `write_set` names, which is [`WriteSet::of`] these records.
    pub fn of(records: &'a [AnalyticsRecord<&'a str>], write_set: &'a WriteSet, pre_image: PreImage) -> Self {
        FoldState::new(&write_set.begun, pre_image).fold(records)
    }

    /// What these records make, before their turn, when nobody knows what the database will have then: as if a view's session
    /// were there already, where it does not begin before it, and had no other views. That changes how long views are read;
    /// sessions that begin here, and which rows are new, are no speculate.
    pub fn speculate(records: &'a [AnalyticsRecord<&'a str>], write_set: &'a WriteSet) -> Self {
        FoldState { presumes_sessions: true, ..FoldState::new(&write_set.begun, PreImage::default()) }.fold(records)
    }

    /// Applies what has waited for sessions and views that are there: `pre_image` has all of them.
    pub fn settle(pre_image: PreImage) -> Self {
        const NONE_BEGUN: &BTreeSet<Uuid> = &BTreeSet::new();
        let mut fold = FoldState::new(NONE_BEGUN, pre_image);
        let there = |id: &Uuid| fold.pre_image.sessions.contains_key(id) || fold.pre_image.views.contains_key(id);
        let mut awaited: Vec<Uuid> = fold.pre_image.waiting.keys().copied().filter(there).collect();
        awaited.sort_unstable();
        for id in awaited {
            fold.arrive(id);
        }
        fold.finish(Vec::new())
    }

    /// New views, as they are written.
    pub fn view_states(&self) -> ViewStates {
        self.new_views.iter().map(|(view, state)| (view.id, state.clone())).collect()
    }

    /// New rows were written as a [`Self::speculate`] has them: those that come to something else are changed. Views do where
    /// their session is not there, or has a view with a higher id; sessions do where something has waited for them.
    pub fn reconcile(&mut self, written: &ViewStates) {
        let revived = self.new_sessions.iter().filter(|(session, _)| self.revived.contains(&session.id));
        self.changed_sessions.extend(revived.map(|(session, state)| (session.id, state.clone())));
        self.changed_sessions.sort_by_key(|(id, _)| *id);
        let differ = |(view, state): &&NewView<'_>| written.get(&view.id).is_some_and(|was| was != state);
        let differing = self.new_views.iter().filter(differ);
        self.changed_views.extend(differing.map(|(view, state)| (view.id, state.clone())));
        self.changed_views.sort_by_key(|(id, _)| *id);
    }

    /// What is written, by table.
    pub fn applied(&self) -> Applied {
        Applied::of([
            ("analytics_sessions", self.new_sessions.len() + self.changed_sessions.len()),
            ("analytics_pageviews", self.new_views.len() + self.changed_views.len()),
            ("batch_keys", self.keys.len()),
            ("pending_effects", self.waiting.len()),
        ])
    }
}

/// The state between two records.
struct FoldState<'a> {
    /// Sessions that have a state beside their record.
    begun: &'a BTreeSet<Uuid>,
    /// Whether a view ends the one before it though their session is not known to be there.
    presumes_sessions: bool,
    pre_image: PreImage,
    new_sessions: Vec<&'a SessionRecord<&'a str>>,
    new_views: Vec<&'a PageviewRecord<&'a str>>,
    /// Rows that are to be written, those that are new among them.
    changed_sessions: BTreeSet<Uuid>,
    changed_views: BTreeSet<Uuid>,
    arrived: Vec<i64>,
    revived: BTreeSet<Uuid>,
}

impl<'a> FoldState<'a> {
    fn new(begun: &'a BTreeSet<Uuid>, pre_image: PreImage) -> Self {
        Self {
            begun,
            presumes_sessions: false,
            pre_image,
            new_sessions: Vec::new(),
            new_views: Vec::new(),
            changed_sessions: BTreeSet::new(),
            changed_views: BTreeSet::new(),
            arrived: Vec::new(),
            revived: BTreeSet::new(),
        }
    }

    fn fold(mut self, records: &'a [AnalyticsRecord<&'a str>]) -> Fold<'a> {
        let mut keys = Vec::new();
        for record in records {
            if let Some(mark) = record.key {
                keys.push((mark, record.event.answer()));
            }
            self.apply(&record.event);
        }
        self.finish(keys)
    }

    fn apply(&mut self, event: &'a AnalyticsEvent<&'a str>) {
        match event {
            AnalyticsEvent::Session(session) => self.begin(session),
            AnalyticsEvent::Pageview(view) => self.view(view),
            AnalyticsEvent::Leave(leave) => {
                if !self.leave(leave.view_id, leave.duration_seconds, leave.scroll_depth) {
                    let (duration_seconds, scroll_depth) = (leave.duration_seconds, leave.scroll_depth);
                    self.wait(leave.view_id, Effect::Leave { duration_seconds, scroll_depth });
                }
            }
            AnalyticsEvent::Heartbeat(heartbeat) => {
                if !self.heartbeat(heartbeat.session_id, heartbeat.at) {
                    self.wait(heartbeat.session_id, Effect::Heartbeat { at: heartbeat.at });
                }
            }
            AnalyticsEvent::Identify(identify) => {
                let user_id = identify.user_id;
                if !self.change_session(identify.session_id, |session| session.user_id = Some(user_id.to_owned())) {
                    self.wait(identify.session_id, Effect::Identify { user_id: user_id.to_owned() });
                }
            }
        }
    }

    fn wait(&mut self, awaited: Uuid, effect: Effect) {
        if is_ours(awaited) {
            self.pre_image.waiting.entry(awaited).or_default().push(WaitingEffect { row: None, effect });
        }
    }

    /// Applies what has waited for a session or a view that is there now, in the order in which it came. A view ends the one
    /// before it by id, in whichever order they came.
    fn arrive(&mut self, awaited: Uuid) {
        let Some(effects) = self.pre_image.waiting.remove(&awaited) else { return };
        let view = |waiting: &WaitingEffect| match waiting.effect {
            Effect::View { id, .. } => Some(id),
            _ => None,
        };
        let views: BTreeSet<Uuid> = effects.iter().filter_map(view).collect();
        for WaitingEffect { row, effect } in effects {
            if let Some(row) = row {
                self.arrived.push(row);
                self.revived.insert(awaited);
            }
            match effect {
                Effect::View { id, entered_at } => {
                    self.change_session(awaited, |session| session.viewed(entered_at));
                    let before = views.range(..id).next_back().max(self.pre_image.previous_views.get(&id)).copied();
                    if let Some(previous) = before {
                        self.end_view(previous, entered_at);
                    }
                }
                Effect::Leave { duration_seconds, scroll_depth } => {
                    self.leave(awaited, duration_seconds, scroll_depth);
                }
                Effect::Heartbeat { at } => _ = self.heartbeat(awaited, at),
                Effect::Identify { user_id } => {
                    self.change_session(awaited, |session| session.user_id = Some(user_id));
                }
            }
        }
    }

    fn leave(&mut self, id: Uuid, duration_seconds: f64, scroll_depth: Option<f64>) -> bool {
        let Some(view) = self.pre_image.views.get_mut(&id) else { return false };
        view.duration_seconds = Some(duration_seconds);
        view.scroll_depth = scroll_depth.or(view.scroll_depth);
        self.changed_views.insert(id);
        true
    }

    fn heartbeat(&mut self, session: Uuid, at: UnixMillis) -> bool {
        self.change_session(session, |session| {
            session.duration_seconds = session.duration_seconds.saturating_add(HEARTBEAT_SECONDS);
            session.active_at(at);
        })
    }

    /// A view that nobody has left ends when the next one is opened.
    fn end_view(&mut self, id: Uuid, at: UnixMillis) {
        if let Some(state) = self.pre_image.views.get_mut(&id)
            && state.duration_seconds.is_none()
            && let Some(seconds) = reading_seconds(state.entered_at, at)
        {
            state.duration_seconds = Some(seconds);
            self.changed_views.insert(id);
        }
    }

    fn begin(&mut self, session: &'a SessionRecord<&'a str>) {
        if self.pre_image.sessions.contains_key(&session.id) {
            return;
        }
        // Most sessions of a batch are only begun in it, and need no place in a map.
        if self.begun.contains(&session.id) {
            self.pre_image.sessions.insert(session.id, SessionState::begun(session.started_at));
            self.arrive(session.id);
        }
        self.new_sessions.push(session);
    }

    fn view(&mut self, view: &'a PageviewRecord<&'a str>) {
        if self.pre_image.views.contains_key(&view.id) {
            return;
        }
        let state = ViewState { entered_at: view.entered_at, duration_seconds: None, scroll_depth: None };
        self.pre_image.views.insert(view.id, state);
        self.new_views.push(view);
        let previous = self.pre_image.last_views.get(&view.session_id).copied();
        self.pre_image.last_views.insert(view.session_id, previous.map_or(view.id, |previous| previous.max(view.id)));
        let counts = self.change_session(view.session_id, |session| session.viewed(view.entered_at));
        if let Some(previous) = previous.filter(|_| counts || self.presumes_sessions) {
            self.end_view(previous, view.entered_at);
        }
        if !counts {
            self.wait(view.session_id, Effect::View { id: view.id, entered_at: view.entered_at });
        }
        self.arrive(view.id);
    }

    /// Changes a session, if there is one with this id.
    fn change_session(&mut self, id: Uuid, change: impl FnOnce(&mut SessionState)) -> bool {
        let Some(session) = self.pre_image.sessions.get_mut(&id) else { return false };
        change(session);
        self.changed_sessions.insert(id);
        true
    }

    fn finish(mut self, keys: Vec<(IdempotencyEntry, CachedResponse)>) -> Fold<'a> {
        let (mut sessions, mut views) = (self.pre_image.sessions, self.pre_image.views);
        let mut waiting: Vec<(Uuid, Effect)> = Vec::new();
        for (awaited, effects) in self.pre_image.waiting {
            let new = effects.into_iter().filter(|waiting| waiting.row.is_none());
            waiting.extend(new.map(|waiting| (awaited, waiting.effect)));
        }
        // Stable: what waits for the same stays in its order.
        waiting.sort_by_key(|(awaited, _)| *awaited);
        // Stable: of two records with one id the first one counts.
        self.new_sessions.sort_by_key(|session| session.id);
        self.new_sessions.dedup_by_key(|session| session.id);
        self.new_views.sort_by_key(|view| view.id);
        let is_new_session = |id: &Uuid| self.new_sessions.binary_search_by_key(id, |session| session.id).is_ok();
        let is_new_view = |id: &Uuid| self.new_views.binary_search_by_key(id, |view| view.id).is_ok();
        Fold {
            changed_sessions: self
                .changed_sessions
                .into_iter()
                .filter(|id| !is_new_session(id))
                .filter_map(|id| Some((id, sessions.remove(&id)?)))
                .collect(),
            changed_views: self
                .changed_views
                .into_iter()
                .filter(|id| !is_new_view(id))
                .filter_map(|id| Some((id, views.remove(&id)?)))
                .collect(),
            new_sessions: self
                .new_sessions
                .iter()
                .map(|&session| {
                    let state = sessions.remove(&session.id);
                    (session, state.unwrap_or_else(|| SessionState::begun(session.started_at)))
                })
                .collect(),
            new_views: self.new_views.iter().filter_map(|&view| Some((view, views.remove(&view.id)?))).collect(),
            keys,
            waiting,
            arrived: self.arrived,
            revived: self.revived,
        }
    }
}

impl SessionState {
    fn begun(started_at: UnixMillis) -> Self {
        Self { user_id: None, page_views: 0, bounced: true, duration_seconds: 0, last_activity_at: started_at }
    }

    fn viewed(&mut self, at: UnixMillis) {
        self.page_views = self.page_views.saturating_add(1);
        self.bounced = self.page_views < 2;
        self.active_at(at);
    }

    /// What a batch reports late does not take back what was seen since.
    fn active_at(&mut self, at: UnixMillis) {
        self.last_activity_at = self.last_activity_at.max(at);
    }
}
