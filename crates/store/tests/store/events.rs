//! What happens within sessions, and the keys of batches' items: what each record leaves in its table, what it costs,
//! and how writers get along.

use serde_json::{Value, json};
use weir_domain::{
    BATCH_KEY_LIFETIME_MS, BatchKey, CachedResponse, HeartbeatRecord, IdempotencyEntry, IdentifyRecord, LeaveRecord,
    PageviewRecord,
};
use weir_store::StoredKey;
use weir_testkit::{Database, PATIENCE, on_both_databases, time};

use super::*;

fn later(seconds: i64) -> UnixMillis {
    UnixMillis(DAY.0 + seconds * 1000)
}

fn view_of(session: &SessionRecord, at: UnixMillis) -> PageviewRecord {
    PageviewRecord {
        id: weir_domain::IdSource::default().next(at),
        entered_at: at,
        session_id: session.id,
        url: "https://example.org/a?b=c".into(),
        path: Some("/a".into()),
        title: None,
        referrer: None,
    }
}

fn viewed(view: &PageviewRecord) -> AnalyticsRecord {
    AnalyticsEvent::Pageview(Box::new(view.clone())).into()
}

fn left(view_id: Uuid) -> AnalyticsRecord {
    AnalyticsEvent::Leave(LeaveRecord { view_id, duration_seconds: 4.25, scroll_depth: Some(80.5) }).into()
}

fn alive(session_id: Uuid, at: UnixMillis) -> AnalyticsRecord {
    AnalyticsEvent::Heartbeat(HeartbeatRecord { session_id, at }).into()
}

fn identified(session_id: Uuid, user: &str) -> AnalyticsRecord {
    AnalyticsEvent::Identify(IdentifyRecord { session_id, user_id: user.into() }).into()
}

fn keyed(record: AnalyticsRecord, key: &str, stored_at: UnixMillis) -> AnalyticsRecord {
    AnalyticsRecord { key: Some(IdempotencyEntry { key: BatchKey::new("pageview", key), stored_at }), ..record }
}

/// How long a view lasted, whichever way the engine writes a whole number.
fn duration(view: &Value) -> Option<f64> {
    view["duration"].as_f64()
}

async fn views(store: &Store) -> Vec<Value> {
    store.databases.rows(Database::Analytics, "SELECT * FROM analytics_pageviews ORDER BY id").await
}

/// Sessions and their views with something in every other field, each time another one.
fn all_kinds(count: usize) -> (Vec<AnalyticsRecord>, Vec<AnalyticsRecord>) {
    let sessions: Vec<SessionRecord> = (0..count)
        .map(|number| {
            let text = |field: usize| (number % 7 != field).then(|| format!("ü{number}\t\\N'{field}"));
            SessionRecord {
                bio_page_id: (number % 3 == 0).then(|| Uuid::from_u128(number as u128)),
                creator_id: (number % 5 == 0).then(|| Uuid::from_u128(number as u128)),
                landing_page: format!("https://example.org/{number}"),
                referrer: text(0),
                utm_source: text(1),
                utm_content: text(2),
                os_version: text(3),
                screen_width: (number % 2 == 0).then_some(u16::try_from(number).unwrap()),
                language: text(4),
                place: GeoLocation { country: text(5), timezone: text(6), ..GeoLocation::default() },
                ..session_at(later(i64::try_from(number).unwrap()))
            }
        })
        .collect();
    let views = sessions.iter().enumerate().map(|(number, session)| {
        let view = view_of(session, session.started_at);
        viewed(&PageviewRecord { title: (number % 2 == 0).then(|| format!("ü{number}")), ..view })
    });
    (sessions.iter().cloned().map(record).collect(), views.collect())
}

/// How many records a step of the second store has.
const FEW: usize = 100;

on_both_databases! {
    async fn large_batch_stores_same_rows_as_small_batches(backend) {
        let (sessions, views) = all_kinds(MANY);
        let (at_once, in_steps) = (Store::fresh(backend).await, Store::fresh(backend).await);
        for (number, batch) in (0..).zip([&sessions, &views]) {
            at_once.analytics.apply(&at_once.step(number, number + 1), batch).await.unwrap();
        }
        for (number, batch) in (0..).zip(sessions.chunks(FEW).chain(views.chunks(FEW))) {
            in_steps.analytics.apply(&in_steps.step(number, number + 1), batch).await.unwrap();
        }
        for table in ["analytics_sessions", "analytics_pageviews"] {
            let all = format!("SELECT * FROM {table} ORDER BY id");
            let rows = at_once.databases.rows(Database::Analytics, &all).await;
            assert_eq!(rows.len(), MANY);
            assert_eq!(rows, in_steps.databases.rows(Database::Analytics, &all).await);
        }
    }

    async fn pageview_row_keeps_every_field(backend) {
        let store = Store::fresh(backend).await;
        let session = session_at(DAY);
        let full = PageviewRecord {
            url: "https://example.org/'\"; DROP TABLE x; --?𝕏=ü".into(),
            path: Some("/\\N".into()),
            title: Some(String::new()),
            referrer: Some("a\tb\nc".into()),
            ..view_of(&session, later(7))
        };
        let bare = PageviewRecord { path: None, ..view_of(&session, later(8)) };
        store.analytics.apply(&store.step(0, 3), &[viewed(&full), viewed(&bare), left(full.id)]).await.unwrap();
        let rows = views(&store).await;
        assert_eq!(rows.len(), 2);
        for (row, view) in rows.iter().zip([&full, &bare]) {
            assert_eq!(row.as_object().unwrap().len(), 9, "{row}");
            assert_eq!(row["id"], json!(view.id));
            assert_eq!(row["session_id"], json!(view.session_id));
            let texts = (&view.path, &view.title, &view.referrer);
            assert_eq!((&row["url"], &row["path"]), (&json!(view.url), &json!(texts.0)));
            assert_eq!((&row["title"], &row["referrer"]), (&json!(texts.1), &json!(texts.2)));
            assert_eq!(time(&row["entered_at"]).timestamp_millis(), view.entered_at.0);
        }
        assert_eq!((&rows[0]["duration"], &rows[0]["scroll_depth"]), (&json!(4.25), &json!(80.5)));
        assert_eq!((&rows[1]["duration"], &rows[1]["scroll_depth"]), (&json!(null), &json!(null)));
    }

    async fn records_with_foreign_ids_change_no_session(backend) {
        let store = Store::fresh(backend).await;
        // The last two are of the server's kind, of the first moment and of the last.
        let (first, last) = (Uuid::from_u128(7 << 76), Uuid::from_u128(u128::MAX ^ (8 << 76)));
        let foreign = [Uuid::nil(), Uuid::max(), Uuid::new_v4(), first, last];
        let mut batch = vec![record(session_at(DAY))];
        for id in foreign {
            let stray = PageviewRecord { session_id: id, ..view_of(&session_at(DAY), DAY) };
            batch.extend([viewed(&stray), left(id), alive(id, later(9)), identified(id, "alice")]);
        }
        store.analytics.apply(&store.step(0, 21), &batch).await.unwrap();
        let sessions = store.databases.rows(Database::Analytics, "SELECT * FROM analytics_sessions").await;
        assert_eq!(sessions.len(), 1);
        let counters = (&sessions[0]["page_views"], &sessions[0]["duration"], &sessions[0]["user_id"]);
        assert_eq!(counters, (&json!(0), &json!(0), &json!(null)));
        let strays = views(&store).await;
        assert_eq!(strays.len(), foreign.len());
        assert!(strays.iter().all(|view| view["duration"].is_null()), "{strays:?}");
    }

    async fn pageview_across_midnight_closes_previous_view(backend) {
        let store = Store::fresh(backend).await;
        // A visit over midnight: 2026-04-30T23:59:50Z to ten seconds past.
        let session = session_at(later(50_390));
        let (before, after) = (view_of(&session, later(50_390)), view_of(&session, later(50_410)));
        store.analytics.apply(&store.step(0, 2), &[record(session.clone()), viewed(&before)]).await.unwrap();
        store.analytics.apply(&store.step(2, 4), &[viewed(&after), alive(session.id, later(50_440))]).await.unwrap();
        let rows = views(&store).await;
        assert_eq!((duration(&rows[0]), duration(&rows[1])), (Some(20.0), None));
        let stored = store.databases.rows(Database::Analytics, "SELECT * FROM analytics_sessions").await;
        assert_eq!((&stored[0]["page_views"], &stored[0]["duration"]), (&json!(2), &json!(30)));
        assert_eq!(time(&stored[0]["last_activity_at"]).timestamp_millis(), later(50_440).0);
    }

    async fn pageview_stored_before_session_counts_and_is_closed_by_next(backend) {
        // Two instances: the one that took the view was faster than the one that took the session.
        for cuts in [[3, 3, 3], [1, 3, 3], [2, 3, 3], [1, 2, 3]] {
            let store = Store::fresh(backend).await;
            let session = session_at(DAY);
            let (stray, next) = (view_of(&session, later(1)), view_of(&session, later(6)));
            let records = [viewed(&stray), record(session.clone()), viewed(&next)];
            let mut from = 0;
            for cut in cuts {
                let step = store.step(from as u64, cut as u64);
                if cut > from {
                    store.analytics.apply(&step, &records[from..cut]).await.unwrap();
                }
                from = cut;
            }
            let rows = views(&store).await;
            assert_eq!((duration(&rows[0]), duration(&rows[1])), (Some(5.0), None), "{cuts:?}");
            let stored = store.databases.rows(Database::Analytics, "SELECT * FROM analytics_sessions").await;
            assert_eq!(stored[0]["page_views"], json!(2), "{cuts:?}");
        }
    }

    async fn idempotency_keys_are_stored_with_items_and_read_back(backend) {
        let store = Store::fresh(backend).await;
        let session = session_at(DAY);
        let view = view_of(&session, later(1));
        let begun = keyed(record(session.clone()), "session", later(2));
        let seen = keyed(viewed(&view), "view", later(3));
        let done = keyed(alive(session.id, later(1)), "alive", later(4));
        store.analytics.apply(&store.step(0, 3), &[begun, seen, done]).await.unwrap();
        let stored = |name, id, created_at, stored_at| StoredKey {
            key: BatchKey::new("pageview", name),
            answer: CachedResponse { id, created_at },
            stored_at,
        };
        let expected = [
            stored("alive", None, None, later(4)),
            stored("view", Some(view.id), None, later(3)),
            stored("session", Some(session.id), Some(DAY), later(2)),
        ];
        assert_eq!(store.keys.batch_keys(DAY, 100, None).await.unwrap(), expected);
        assert_eq!(store.keys.batch_keys(later(3), 100, None).await.unwrap(), expected[..2], "since a time");
        assert_eq!(store.keys.batch_keys(DAY, 1, None).await.unwrap(), expected[..1], "the newest first");
        // The position goes back, and the step comes again: nothing is doubled, the key says the same.
        let again = keyed(viewed(&view), "view", later(3));
        store.analytics.apply(&store.step(3, 5), &[again.clone(), again]).await.unwrap();
        assert_eq!(store.keys.batch_keys(DAY, 100, None).await.unwrap(), expected);
        assert_eq!(views(&store).await.len(), 1);
    }

    async fn idempotency_key_of_refused_step_is_not_stored(backend) {
        let store = Store::fresh(backend).await;
        store.databases.refuse_poison().await;
        let poison = SessionRecord { landing_page: "poison".to_owned(), ..session_at(DAY) };
        let batch = [keyed(record(session_at(DAY)), "good", DAY), keyed(record(poison), "poison", DAY)];
        let refused = store.analytics.apply(&store.step(0, 2), &batch).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
        assert_eq!(store.keys.batch_keys(DAY, 100, None).await.unwrap(), []);
    }

    async fn idempotency_keys_older_than_one_day_are_deleted(backend) {
        let store = Store::fresh(backend).await;
        let now = UnixMillis(DAY.0 + BATCH_KEY_LIFETIME_MS);
        let batch: Vec<_> = [-1, 0, 1]
            .iter()
            .map(|ms| keyed(record(session_at(DAY)), &ms.to_string(), UnixMillis(DAY.0 + ms)))
            .collect();
        store.analytics.apply(&store.step(0, 3), &batch).await.unwrap();
        let done = store.analytics.maintain(now, 0).await.unwrap();
        assert_eq!(done.rows_deleted, 1, "{done:?}");
        let kept = store.keys.batch_keys(UnixMillis(0), 100, None).await.unwrap();
        assert_eq!(kept.iter().map(|key| key.stored_at.0 - DAY.0).collect::<Vec<_>>(), [1, 0]);
        let sessions = "SELECT count(*) AS n FROM analytics_sessions";
        assert_eq!(store.databases.count(Database::Analytics, sessions).await, 3, "items outlive their keys");
    }
}

/// A batch of `count` records of every kind: `count / 5` sessions, each viewed, left, alive and identified.
fn mixed(count: usize) -> Vec<AnalyticsRecord> {
    let visits: Vec<_> =
        (0..count / 5).map(|_| session_at(DAY)).map(|session| (view_of(&session, DAY), session)).collect();
    let mut batch = Vec::new();
    for (number, (view, session)) in visits.iter().enumerate() {
        batch.push(record(session.clone()));
        batch.push(keyed(viewed(view), &format!("{number} of {count}"), DAY));
        batch.extend([left(view.id), alive(session.id, later(1)), identified(session.id, "alice")]);
    }
    batch
}

#[tokio::test]
async fn batch_statement_count_is_independent_of_size() {
    let store = Store::fresh(Backend::Postgres).await;
    store.analytics.apply(&store.step(0, 100), &mixed(100)).await.unwrap();
    let name = store.databases.analytics_url.rsplit('/').next().unwrap().to_owned();
    // From the next connection on, the server writes down what this database is asked.
    store.databases.execute(Database::Main, &format!("ALTER DATABASE {name} SET log_statement = 'all'")).await;
    let data = std::env::var("TEST_POSTGRES_DATA").expect("TEST_POSTGRES_DATA is not set: run scripts/test");
    let log = std::path::Path::new(&data).with_file_name("server.log");
    let mut counts = Vec::new();
    let mut from = 100;
    for size in [10, 1000, 1000] {
        let (sink, _) = open_analytics_of(&store.databases);
        let step = store.step(from, from + 1);
        // What a connection asks when it is made, and what partitions are there, is none of the batch's.
        sink.apply(&step, &mixed(10)).await.unwrap();
        let before = std::fs::read_to_string(&log).unwrap().len();
        let applied = sink.apply(&store.step(from + 1, from + 2), &mixed(size)).await.unwrap();
        assert_eq!(applied.rows[0], ("analytics_sessions", size as u64 / 5));
        let said = std::fs::read_to_string(&log).unwrap()[before..].to_owned();
        assert!(said.contains("INSERT INTO analytics_pageviews"), "{said}");
        counts.push(
            said.lines().filter(|line| line.contains("LOG:  execute") || line.contains("LOG:  statement")).count(),
        );
        from += 2;
    }
    assert!(counts[0] > 5 && counts[0] < 16, "{counts:?}");
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

#[tokio::test]
async fn concurrent_writers_in_opposite_order_do_not_deadlock() {
    const ROUNDS: u64 = 25;
    let store = Store::fresh(Backend::Postgres).await;
    let visits: Vec<_> = (0..60).map(|_| session_at(DAY)).map(|session| (view_of(&session, DAY), session)).collect();
    let made = visits.iter().flat_map(|(view, session)| [record(session.clone()), viewed(view)]).collect::<Vec<_>>();
    store.analytics.apply(&store.step(0, 1), &made).await.unwrap();
    // Both of them with the same keys, as when a client that saw no answer turns to the other instance.
    let happenings = |round: u64| {
        let all = visits.iter().enumerate().flat_map(move |(number, (view, session))| {
            let key = format!("{round}/{number}");
            [
                viewed(&view_of(session, later(i64::try_from(round).unwrap() + 1))),
                keyed(left(view.id), &key, DAY),
                alive(session.id, later(2)),
            ]
        });
        all.collect::<Vec<_>>()
    };
    let write = async |backwards: bool| {
        let (sink, _) = open_analytics_of(&store.databases);
        let journal = JournalId(Uuid::new_v4());
        sink.positions().register(journal, store.writer, DAY).await.unwrap();
        for round in 0..ROUNDS {
            let mut batch = happenings(round);
            if backwards {
                batch.reverse();
            }
            let step = Step { journal, ..store.step(round, round + 1) };
            sink.apply(&step, &batch).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    };
    let both = async { tokio::join!(write(false), write(true)) };
    tokio::time::timeout(PATIENCE, both).await.expect("they wait for each other");
    let rows = store.databases.rows(Database::Analytics, "SELECT * FROM analytics_sessions").await;
    assert_eq!(rows.len(), visits.len());
    for row in rows {
        assert_eq!((&row["page_views"], &row["duration"]), (&json!(1 + 2 * ROUNDS), &json!(2 * 30 * ROUNDS)), "{row}");
    }
    let deadlocks = "SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(store.databases.count(Database::Analytics, deadlocks).await, 0);
}

#[tokio::test]
async fn concurrent_writers_with_same_keys_do_not_deadlock() {
    let store = Store::fresh(Backend::Postgres).await;
    // A client that saw no answer turns to another instance: one batch, two journals.
    let batch: Vec<_> = (0..300).map(|number| keyed(alive(Uuid::new_v4(), DAY), &number.to_string(), DAY)).collect();
    let write = async || {
        let (sink, _) = open_analytics_of(&store.databases);
        let journal = JournalId(Uuid::new_v4());
        sink.positions().register(journal, store.writer, DAY).await.unwrap();
        for round in 0..10 {
            let step = Step { journal, ..store.step(round, round + 1) };
            sink.apply(&step, &batch).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    };
    let both = async { tokio::join!(write(), write()) };
    tokio::time::timeout(PATIENCE, both).await.expect("they wait for each other");
    assert_eq!(store.keys.batch_keys(DAY, 1000, None).await.unwrap().len(), 300);
}
