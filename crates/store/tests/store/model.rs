//! What records come to, whichever way a writer cuts them into batches: random records are applied to both databases,
//! and to a naive model one by one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use weir_domain::{HeartbeatRecord, IdSource, IdentifyRecord, LeaveRecord, PageviewRecord};
use weir_testkit::{Database, time, truth};

use super::*;

/// Sessions that records name; the last one is never begun, and no server ever made its id.
const SESSIONS: usize = 5;
/// Views that records name; the last one is never opened.
const VIEWS: usize = 10;
const CASES: u32 = 64;

/// A record by the numbers of the session or view that it is about.
#[derive(Clone, Debug)]
enum Happening {
    Session(usize),
    View(usize),
    Leave { view: usize, seconds: f64, depth: Option<f64> },
    Heartbeat { session: usize, at: i64 },
    Identify { session: usize, user: u8 },
}

/// What a case is about. A record that is repeated is repeated as it was: so what a session and a view say is fixed.
#[derive(Clone, Debug)]
struct Case {
    /// When each session's id was made, and when it began.
    sessions: Vec<(i64, i64)>,
    /// When each view's id was made, when it was opened, and in which session.
    views: Vec<(i64, i64, usize)>,
    /// What is recorded, and whether a batch ends with it.
    happenings: Vec<(Happening, bool)>,
}

/// Milliseconds after `DAY`: seconds to compare durations with, the bounds of an hour, and other days.
fn moment() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => (0_i64..20).prop_map(|step| step * 700),
        2 => Just(3_600_000_i64),
        1 => Just(3_600_001_i64),
        2 => 0_i64..20_000_000,
        1 => 86_000_000_i64..90_000_000,
    ]
}

/// Numbers that are the same in every notation.
fn eighths(most: u32) -> impl Strategy<Value = f64> {
    (0..=most * 8).prop_map(|eighths| f64::from(eighths) / 8.0)
}

fn case() -> impl Strategy<Value = Case> {
    let happening = prop_oneof![
        3 => (0..SESSIONS - 1).prop_map(Happening::Session),
        8 => (0..VIEWS - 1).prop_map(Happening::View),
        3 => (0..VIEWS, eighths(3600), proptest::option::of(eighths(100)))
            .prop_map(|(view, seconds, depth)| Happening::Leave { view, seconds, depth }),
        2 => (0..SESSIONS, moment()).prop_map(|(session, at)| Happening::Heartbeat { session, at }),
        2 => (0..SESSIONS, any::<u8>()).prop_map(|(session, user)| Happening::Identify { session, user }),
    ];
    (
        proptest::collection::vec((moment(), moment()), SESSIONS),
        proptest::collection::vec((moment(), moment(), 0..SESSIONS), VIEWS),
        proptest::collection::vec((happening, proptest::bool::weighted(0.3)), 1..50),
    )
        .prop_map(|(sessions, views, happenings)| Case { sessions, views, happenings })
}

#[derive(Clone, Debug, PartialEq)]
struct SessionRow {
    id: Uuid,
    user: Option<String>,
    page_views: i64,
    bounced: bool,
    duration: i64,
    last_activity_at: i64,
}

#[derive(Clone, Debug, PartialEq)]
struct ViewRow {
    id: Uuid,
    session: Uuid,
    entered_at: i64,
    duration: Option<f64>,
    depth: Option<f64>,
}

/// The contract, one record after the other.
#[derive(Debug, Default)]
struct Model {
    sessions: Vec<SessionRow>,
    views: Vec<ViewRow>,
    /// What waits for a session or a view, in the order in which it came.
    waiting: Vec<(Uuid, AnalyticsEvent)>,
}

impl Model {
    fn record(&mut self, record: &AnalyticsRecord) {
        match &record.event {
            AnalyticsEvent::Session(begun) => {
                if self.sessions.iter().all(|session| session.id != begun.id) {
                    self.sessions.push(SessionRow {
                        id: begun.id,
                        user: None,
                        page_views: 0,
                        bounced: true,
                        duration: 0,
                        last_activity_at: begun.started_at.0,
                    });
                    self.arrive(begun.id);
                }
            }
            AnalyticsEvent::Pageview(opened) => {
                if self.views.iter().any(|view| view.id == opened.id) {
                    return;
                }
                if self.count_view(opened) {
                    let earlier = self.views.iter_mut().filter(|view| view.session == opened.session_id);
                    end(earlier.max_by_key(|view| view.id), opened.entered_at.0);
                } else {
                    self.wait(opened.session_id, &record.event);
                }
                self.views.push(ViewRow {
                    id: opened.id,
                    session: opened.session_id,
                    entered_at: opened.entered_at.0,
                    duration: None,
                    depth: None,
                });
                self.arrive(opened.id);
            }
            AnalyticsEvent::Leave(leave) => {
                if let Some(view) = self.views.iter_mut().find(|view| view.id == leave.view_id) {
                    view.duration = Some(leave.duration_seconds);
                    if leave.scroll_depth.is_some() {
                        view.depth = leave.scroll_depth;
                    }
                } else {
                    self.wait(leave.view_id, &record.event);
                }
            }
            AnalyticsEvent::Heartbeat(heartbeat) => {
                if let Some(session) = self.sessions.iter_mut().find(|session| session.id == heartbeat.session_id) {
                    session.duration += 30;
                    session.last_activity_at = session.last_activity_at.max(heartbeat.at.0);
                } else {
                    self.wait(heartbeat.session_id, &record.event);
                }
            }
            AnalyticsEvent::Identify(identify) => {
                if let Some(session) = self.sessions.iter_mut().find(|session| session.id == identify.session_id) {
                    session.user = Some(identify.user_id.clone());
                } else {
                    self.wait(identify.session_id, &record.event);
                }
            }
        }
    }

    fn count_view(&mut self, opened: &PageviewRecord) -> bool {
        let session = self.sessions.iter_mut().find(|session| session.id == opened.session_id);
        let Some(session) = session else { return false };
        session.page_views += 1;
        session.bounced = session.page_views < 2;
        session.last_activity_at = session.last_activity_at.max(opened.entered_at.0);
        true
    }

    fn wait(&mut self, awaited: Uuid, event: &AnalyticsEvent) {
        if awaited.get_version_num() == 7 {
            self.waiting.push((awaited, event.clone()));
        }
    }

    /// What waited for it happens now. A view that waited ends the one before it by id, in whichever order they came.
    fn arrive(&mut self, id: Uuid) {
        let (arrived, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(awaited, _)| *awaited == id);
        self.waiting = waiting;
        let arrived: Vec<(Uuid, AnalyticsEvent)> = arrived;
        for (_, event) in &arrived {
            if let AnalyticsEvent::Pageview(opened) = event {
                self.count_view(opened);
                let earlier = self.views.iter_mut().filter(|view| view.session == id && view.id < opened.id);
                end(earlier.max_by_key(|view| view.id), opened.entered_at.0);
            } else {
                self.record(&event.clone().into());
            }
        }
    }
}

/// Another view of the session was opened.
fn end(view: Option<&mut ViewRow>, at: i64) {
    let Some(view) = view else { return };
    let elapsed = at - view.entered_at;
    if view.duration.is_none() && (0..=3600 * 1000).contains(&elapsed) {
        #[allow(clippy::cast_precision_loss)] // an hour of milliseconds
        let seconds = elapsed as f64 / 1000.0;
        view.duration = Some(seconds);
    }
}

/// The same case with ids that no other case has.
struct Made {
    sessions: Vec<SessionRecord>,
    views: Vec<PageviewRecord>,
}

impl Made {
    fn of(case: &Case) -> Self {
        let at = |after: i64| UnixMillis(DAY.0 + after);
        let mut sessions: Vec<SessionRecord> = case
            .sessions
            .iter()
            .map(|&(made, began)| SessionRecord { id: IdSource::default().next(at(made)), ..session_at(at(began)) })
            .collect();
        // Whatever a client makes up, it need not be of the kind that the server makes.
        sessions.last_mut().unwrap().id = Uuid::new_v4();
        let view = |&(made, entered, session): &(i64, i64, usize)| PageviewRecord {
            id: IdSource::default().next(at(made)),
            entered_at: at(entered),
            session_id: sessions[session].id,
            url: "https://example.org/a".into(),
            path: Some("/a".into()),
            title: None,
            referrer: None,
        };
        let views = case.views.iter().map(view).collect();
        Self { sessions, views }
    }

    fn record(&self, happening: &Happening) -> AnalyticsRecord {
        let event = match *happening {
            Happening::Session(session) => AnalyticsEvent::Session(Box::new(self.sessions[session].clone())),
            Happening::View(view) => AnalyticsEvent::Pageview(Box::new(self.views[view].clone())),
            Happening::Leave { view, seconds, depth } => AnalyticsEvent::Leave(LeaveRecord {
                view_id: self.views[view].id,
                duration_seconds: seconds,
                scroll_depth: depth,
            }),
            Happening::Heartbeat { session, at } => AnalyticsEvent::Heartbeat(HeartbeatRecord {
                session_id: self.sessions[session].id,
                at: UnixMillis(DAY.0 + at),
            }),
            Happening::Identify { session, user } => AnalyticsEvent::Identify(IdentifyRecord {
                session_id: self.sessions[session].id,
                user_id: format!("user '{user}' ü"),
            }),
        };
        event.into()
    }
}

fn list(ids: impl Iterator<Item = Uuid>) -> String {
    ids.map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ")
}

async fn stored_sessions(store: &Store, made: &Made) -> Vec<SessionRow> {
    let ids = list(made.sessions.iter().map(|session| session.id));
    let sql = format!("SELECT * FROM analytics_sessions WHERE id IN ({ids}) ORDER BY id");
    let rows = store.databases.rows(Database::Analytics, &sql).await;
    rows.iter()
        .map(|row| SessionRow {
            id: row["id"].as_str().unwrap().parse().unwrap(),
            user: row["user_id"].as_str().map(str::to_owned),
            page_views: row["page_views"].as_i64().unwrap(),
            bounced: truth(&row["bounced"]),
            duration: row["duration"].as_i64().unwrap(),
            last_activity_at: time(&row["last_activity_at"]).timestamp_millis(),
        })
        .collect()
}

async fn stored_views(store: &Store, made: &Made) -> Vec<ViewRow> {
    let ids = list(made.views.iter().map(|view| view.id));
    let sql = format!("SELECT * FROM analytics_pageviews WHERE id IN ({ids}) ORDER BY id");
    let rows = store.databases.rows(Database::Analytics, &sql).await;
    rows.iter()
        .map(|row| ViewRow {
            id: row["id"].as_str().unwrap().parse().unwrap(),
            session: row["session_id"].as_str().unwrap().parse().unwrap(),
            entered_at: time(&row["entered_at"]).timestamp_millis(),
            duration: row["duration"].as_f64(),
            depth: row["scroll_depth"].as_f64(),
        })
        .collect()
}

/// How a writer goes about its batches.
#[derive(Clone, Copy)]
enum ApplyMode {
    Sequential,
    Prepared,
}

async fn follow(
    store: &Store,
    position: &AtomicU64,
    way: ApplyMode,
    early: &AtomicUsize,
    case: &Case,
) -> Result<(), TestCaseError> {
    let made = Made::of(case);
    let mut model = Model::default();
    let (mut steps, mut batch) = (Vec::new(), Vec::new());
    let last = case.happenings.len() - 1;
    for (index, (happening, ends)) in case.happenings.iter().enumerate() {
        let record = made.record(happening);
        model.record(&record);
        batch.push(record.encode());
        if *ends || index == last {
            let records = u64::try_from(batch.len()).unwrap();
            let from = position.fetch_add(records, Ordering::Relaxed);
            steps.push((store.step(from, from + records), std::mem::take(&mut batch)));
        }
    }
    match way {
        ApplyMode::Sequential => {
            for (step, records) in &steps {
                store.analytics.apply_encoded(step, records).await.unwrap();
            }
        }
        ApplyMode::Prepared => {
            early.fetch_add(store.analytics.apply_pipelined(&steps).await.unwrap(), Ordering::Relaxed);
        }
    }
    model.sessions.sort_by_key(|session| session.id);
    model.views.sort_by_key(|view| view.id);
    prop_assert_eq!(stored_sessions(store, &made).await, model.sessions);
    prop_assert_eq!(stored_views(store, &made).await, model.views);
    let awaited = list(made.sessions.iter().map(|session| session.id).chain(made.views.iter().map(|view| view.id)));
    let sql = format!("SELECT * FROM pending_effects WHERE awaited IN ({awaited})");
    prop_assert_eq!(store.databases.rows(Database::Analytics, &sql).await.len(), model.waiting.len());
    Ok(())
}

/// How many batches were begun early.
fn batches_match_model(backend: Backend, way: ApplyMode) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(Store::fresh(backend));
    let (position, early) = (AtomicU64::new(0), AtomicUsize::new(0));
    let persistence =
        FileFailurePersistence::Direct(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proptest-regressions/store.txt"));
    let config = Config {
        cases: CASES,
        max_shrink_iters: 400,
        failure_persistence: Some(Box::new(persistence)),
        ..Config::default()
    };
    let followed =
        TestRunner::new(config).run(&case(), |case| runtime.block_on(follow(&store, &position, way, &early, &case)));
    followed.unwrap_or_else(|error| panic!("{error}"));
    early.into_inner()
}

#[test]
fn analytics_batches_match_model_on_sqlite() {
    batches_match_model(Backend::Sqlite, ApplyMode::Sequential);
}

#[test]
fn analytics_batches_match_model_on_postgres() {
    batches_match_model(Backend::Postgres, ApplyMode::Sequential);
}

#[test]
fn pipelined_batches_match_model_on_postgres() {
    let early = batches_match_model(Backend::Postgres, ApplyMode::Prepared);
    assert!(early > 50, "only {early} were");
}
