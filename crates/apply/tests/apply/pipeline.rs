//! Steps that are begun before their turn, on the engine that can.

use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use weir_domain::{HeartbeatRecord, LeaveRecord, PageviewRecord};
use weir_log::DeadLetterQueue as _;
use weir_store::postgres::{PostgresAnalytics, PreparedRows};
use weir_store::{Applied, Maintained, MigrationObserver, Positions};
use weir_testkit::Database;

use super::*;

const SESSIONS: &str = "SELECT count(*) AS n FROM analytics_sessions";
/// Transactions of this database that are open and wait for their client.
const OPEN: &str = "SELECT count(*) AS n FROM pg_stat_activity
    WHERE datname = current_database() AND state LIKE 'idle in transaction%'";

async fn fresh() -> (Store, PostgresAnalytics) {
    let store = Store::fresh(Backend::Postgres).await;
    let sink = PostgresAnalytics::open(&store.databases.analytics_url).unwrap();
    (store, sink)
}

/// Waits until no transaction is open; after thirty seconds the server would end them by itself.
async fn all_are_ended(store: &Store) {
    let look = async {
        while store.databases.count(Database::Analytics, OPEN).await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), look).await.expect("a transaction is open that nobody will end");
}

/// Records as a writer has them: their texts lie in bytes of the journal.
struct Encoded(Vec<Vec<u8>>);

impl Encoded {
    fn of(records: &[AnalyticsRecord]) -> Self {
        Self(records.iter().map(JournalRecord::encode).collect())
    }

    fn records(&self) -> Vec<AnalyticsRecord<&str>> {
        self.0.iter().map(|bytes| AnalyticsRecord::decode(bytes).unwrap()).collect()
    }
}

fn alive(session: Uuid) -> AnalyticsRecord {
    AnalyticsEvent::Heartbeat(HeartbeatRecord { session_id: session, at: DAY }).into()
}

pub(super) fn viewed(session: Uuid) -> AnalyticsRecord {
    view_at(session, weir_domain::IdSource::default().next(DAY), DAY)
}

fn view_at(session: Uuid, id: Uuid, at: UnixMillis) -> AnalyticsRecord {
    let view = PageviewRecord {
        id,
        session_id: session,
        url: "https://example.org/a".to_owned(),
        path: None,
        title: None,
        referrer: None,
        entered_at: at,
    };
    AnalyticsEvent::Pageview(Box::new(view)).into()
}

#[tokio::test]
async fn pipelined_step_is_invisible_until_committed_with_position() {
    let (store, sink) = fresh().await;
    for size in [3, MANY] {
        let at = store.analytics_position().await;
        let before = store.databases.count(Database::Analytics, SESSIONS).await;
        let (first, second) = (Encoded::of(&sessions(size)), Encoded::of(&sessions(size)));
        let second_begun = sink.prepare(&second.records()).await.unwrap().expect("there are sessions");
        let first_begun = sink.prepare(&first.records()).await.unwrap().expect("there are sessions");
        assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, before);
        assert_eq!(store.databases.count(Database::Analytics, OPEN).await, 2);

        let applied = sink.commit_prepared(&store.step(at, at + 3), &first.records(), first_begun).await.unwrap();
        assert_eq!(applied.rows, [("analytics_sessions", size as u64)]);
        assert_eq!(store.analytics_position().await, at + 3);
        let size = i64::try_from(size).unwrap();
        assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, before + size);

        sink.commit_prepared(&store.step(at + 3, at + 6), &second.records(), second_begun).await.unwrap();
        assert_eq!(store.analytics_position().await, at + 6);
        assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, before + 2 * size);
    }
}

#[tokio::test]
async fn pipelined_step_dropped_rolls_back() {
    let (store, sink) = fresh().await;
    let batch = Encoded::of(&sessions(MANY));
    drop(sink.prepare(&batch.records()).await.unwrap().expect("there are sessions"));
    // Its ids are free again: whoever writes them waits until the server has noticed.
    sink.apply(&store.step(0, 1), &batch.records()).await.unwrap();
    assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, i64::try_from(MANY).unwrap());
    all_are_ended(&store).await;
}

#[tokio::test]
async fn pipelined_step_out_of_turn_stores_nothing() {
    let (store, sink) = fresh().await;
    let batch = Encoded::of(&sessions(3));
    let begun = sink.prepare(&batch.records()).await.unwrap().expect("there are sessions");
    let moved = sink.commit_prepared(&store.step(1, 4), &batch.records(), begun).await;
    assert!(matches!(moved, Err(StoreError::Moved { .. })), "{moved:?}");
    assert_eq!(store.analytics_position().await, 0);
    sink.apply(&store.step(0, 3), &batch.records()).await.unwrap();
    assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 3);
}

#[tokio::test]
async fn pipelined_prepare_of_unsuitable_records_leaves_no_transaction() {
    let (store, sink) = fresh().await;
    store.databases.refuse_poison().await;
    let (known, known_view) = (session_at(DAY), viewed(session_at(DAY).id));
    store.analytics.apply(&store.step(0, 1), &[record(known.clone()), known_view.clone()]).await.unwrap();
    let nothing = sink.prepare(&Encoded::of(&[alive(known.id)]).records()).await.unwrap();
    assert!(nothing.is_none());
    let poison = record(SessionRecord { landing_page: "poison".to_owned(), ..session_at(DAY) });
    for (last, kind) in [(record(known), "repeated"), (known_view, "repeated"), (poison, "refused")] {
        for size in [3, MANY] {
            let mut batch = sessions(size);
            batch.push(last.clone());
            let begun = sink.prepare(&Encoded::of(&batch).records()).await.map(|_| "begun");
            assert_eq!(begun.expect_err("it cannot be").kind(), kind);
        }
    }
    assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 1);
    assert_eq!(store.databases.count(Database::Analytics, OPEN).await, 0, "a connection is kept with its transaction");
}

fn left(view: Uuid, duration_seconds: f64) -> AnalyticsRecord {
    AnalyticsEvent::Leave(LeaveRecord { view_id: view, duration_seconds, scroll_depth: None }).into()
}

#[tokio::test]
async fn pipelined_step_stores_same_rows_as_direct_apply() {
    let after = |seconds: i64| UnixMillis(DAY.0 + seconds * 1_000);
    // Each from a source of its own: one source never goes back.
    let id_at = |seconds| weir_domain::IdSource::default().next(after(seconds));
    let view_in = |session: &SessionRecord, seconds| view_at(session.id, id_at(seconds), after(seconds));
    let [first, second, third] = [0, 10, 30].map(id_at);
    let (known, new, slow) = (session_at(DAY), session_at(DAY), session_at(DAY));
    let (unknown, late) = (session_at(DAY), session_at(DAY));
    let (slow_first, unknown_first, late_first) = (id_at(6), id_at(1), id_at(2));
    let before = [
        record(known.clone()),
        view_at(known.id, first, after(0)),
        // Another instance was faster with views of these than this one with their sessions, for which they wait.
        view_in(&new, 0),
        view_in(&slow, 60),
    ];
    let batch = [
        record(new.clone()),
        record(slow.clone()),
        view_at(known.id, second, after(10)),
        view_at(known.id, third, after(30)),
        alive(known.id),
        left(first, 4.0),
        left(third, 5.0),
        view_in(&new, 3),
        alive(new.id),
        // Both have lower ids than the one that is there: neither ends the other.
        view_at(slow.id, slow_first, after(6)),
        view_in(&slow, 9),
        // There is no such session, so that nobody reads.
        view_at(unknown.id, unknown_first, after(1)),
        view_in(&unknown, 2),
        // There is none yet: they wait for it, and count as soon as it is there.
        view_at(late.id, late_first, after(2)),
        view_in(&late, 4),
        record(late.clone()),
        view_in(&late, 5),
    ];
    let mut comes_to = Vec::new();
    for filled_up_to in [0, MANY] {
        let mut batch = batch.to_vec();
        batch.extend((0..filled_up_to).map(|_| viewed(session_at(DAY).id)));
        let batch = Encoded::of(&batch);
        for is_begun in [true, false] {
            let (store, sink) = fresh().await;
            store.analytics.apply(&store.step(0, 1), &before).await.unwrap();
            let step = store.step(1, 2);
            if is_begun {
                let begun = sink.prepare(&batch.records()).await.unwrap().expect("there are new rows");
                sink.commit_prepared(&step, &batch.records(), begun).await.unwrap();
            } else {
                sink.apply(&step, &batch.records()).await.unwrap();
            }
            let mut rows = Vec::new();
            for table in ["analytics_sessions", "analytics_pageviews"] {
                let sql = format!("SELECT * FROM {table} ORDER BY id");
                rows.extend(store.databases.rows(Database::Analytics, &sql).await);
            }
            assert_eq!(rows.len(), 4 + 13 + filled_up_to);
            comes_to.push(rows);
        }
    }
    assert_eq!(comes_to[0], comes_to[1]);
    assert_eq!(comes_to[2], comes_to[3]);
    let of = |id: Uuid, column: &str| {
        let row = comes_to[0].iter().find(|row| row["id"] == id.to_string()).expect("it is there");
        row[column].clone()
    };
    for (session, views, seconds) in [(&known, 3, 30), (&new, 2, 30), (&slow, 3, 0), (&late, 3, 0)] {
        assert_eq!((of(session.id, "page_views"), of(session.id, "duration")), (views.into(), seconds.into()));
    }
    let read = [first, second, third, slow_first, unknown_first, late_first].map(|view| of(view, "duration").as_i64());
    assert_eq!(read, [Some(4), Some(20), Some(5), None, None, Some(2)]);
}

#[tokio::test]
async fn pipelined_step_with_foreign_key_blocks_no_earlier_step() {
    let (store, sink) = fresh().await;
    let known = session_at(DAY);
    store.analytics.apply(&store.step(0, 1), &[record(known.clone())]).await.unwrap();
    let key = "ALTER TABLE analytics_pageviews ADD FOREIGN KEY (session_id) REFERENCES analytics_sessions (id)";
    store.databases.execute(Database::Analytics, key).await;
    let (first, second) = (Encoded::of(&[alive(known.id)]), Encoded::of(&[viewed(known.id)]));
    let begun = sink.prepare(&second.records()).await.unwrap().expect("there is a view");
    sink.apply(&store.step(1, 2), &first.records()).await.expect("it waits for what is prepared after it");
    sink.commit_prepared(&store.step(2, 3), &second.records(), begun).await.unwrap();
    let state = "SELECT page_views + duration AS n FROM analytics_sessions";
    assert_eq!(store.databases.count(Database::Analytics, state).await, 31);
}

#[tokio::test]
async fn pipelined_step_with_refused_record_rolls_back() {
    let (store, sink) = fresh().await;
    let known = session_at(DAY);
    store.analytics.apply(&store.step(0, 1), &[record(known.clone())]).await.unwrap();
    let sql = "ALTER TABLE analytics_sessions ADD CONSTRAINT nobody_stays CHECK (duration = 0)";
    store.databases.execute(Database::Analytics, sql).await;
    let batch = Encoded::of(&[record(session_at(DAY)), viewed(known.id), alive(known.id)]);
    let begun = sink.prepare(&batch.records()).await.unwrap().expect("there are new rows");
    let refused = sink.commit_prepared(&store.step(1, 4), &batch.records(), begun).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    assert_eq!(store.databases.count(Database::Analytics, OPEN).await, 0, "a connection is kept with its transaction");
    assert_eq!((store.analytics_position().await, store.databases.count(Database::Analytics, SESSIONS).await), (1, 1));
    sink.apply(&store.step(1, 3), &batch.records()[..2]).await.unwrap();
    assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 2);
}

#[tokio::test]
async fn pipelined_step_under_serializable_default_commits() {
    let store = Store::fresh(Backend::Postgres).await;
    let name = store.databases.analytics_url.rsplit('/').next().unwrap();
    let sql = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'");
    store.databases.execute(Database::Main, &sql).await;
    let sink = PostgresAnalytics::open(&store.databases.analytics_url).unwrap();
    let (first, second) = (Encoded::of(&sessions(3)), Encoded::of(&sessions(3)));
    let begun = sink.prepare(&second.records()).await.unwrap().expect("there are sessions");
    sink.apply(&store.step(0, 3), &first.records()).await.unwrap();
    sink.commit_prepared(&store.step(3, 6), &second.records(), begun).await.unwrap();
    assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 6);
}

/// The real sink with small batches. As many steps as may be are begun before one is applied or fails.
struct Waiting {
    inner: PostgresAnalytics,
    begun: Semaphore,
    /// Whether what is applied may go on.
    goes_on: Semaphore,
    fails: bool,
}

impl Waiting {
    fn of(inner: PostgresAnalytics, fails: bool) -> Arc<Self> {
        Arc::new(Self { inner, begun: Semaphore::new(0), goes_on: Semaphore::new(0), fails })
    }

    /// Waits until as many steps are begun as may be.
    async fn all_are_begun(&self) {
        drop(self.begun.acquire_many(u32::try_from(self.pipeline_depth()).unwrap()).await.unwrap());
    }
}

#[async_trait::async_trait]
impl Sink for Waiting {
    type Record<'a> = AnalyticsRecord<&'a str>;
    type Prepared = PreparedRows;

    fn describe(&self) -> &'static str {
        self.inner.describe()
    }

    fn batch_records(&self) -> usize {
        3
    }

    fn pipeline_depth(&self) -> usize {
        self.inner.pipeline_depth()
    }

    async fn migrate_observed(&self, tell: MigrationObserver<'_>) -> Result<(), StoreError> {
        self.inner.migrate_observed(tell).await
    }

    fn positions(&self) -> &dyn Positions {
        self.inner.positions()
    }

    async fn prepare(&self, records: &[AnalyticsRecord<&str>]) -> Result<Option<PreparedRows>, StoreError> {
        let begun = self.inner.prepare(records).await?;
        self.begun.add_permits(1);
        Ok(begun)
    }

    async fn apply(&self, step: &Step, records: &[AnalyticsRecord<&str>]) -> Result<Applied, StoreError> {
        self.all_are_begun().await;
        if self.fails && self.goes_on.available_permits() == 0 {
            return Err(StoreError::Unavailable("a fault made for a test".to_owned()));
        }
        drop(self.goes_on.acquire().await.unwrap());
        self.inner.apply(step, records).await
    }

    async fn sift(
        &self,
        step: &Step,
        records: &[AnalyticsRecord<&str>],
    ) -> Result<Vec<(usize, StoreError)>, StoreError> {
        self.inner.sift(step, records).await
    }

    async fn commit_prepared(
        &self,
        step: &Step,
        records: &[AnalyticsRecord<&str>],
        begun: PreparedRows,
    ) -> Result<Applied, StoreError> {
        self.inner.commit_prepared(step, records, begun).await
    }

    async fn maintain(&self, now: UnixMillis, retention_days: u32) -> Result<Maintained, StoreError> {
        self.inner.maintain(now, retention_days).await
    }
}

/// A backlog of 60 sessions.
async fn backlog(directory: &Path, sink: &Arc<Waiting>) -> (Journal, Applier<Waiting>) {
    let (journal, applier) = journal_with_applier(directory, Arc::clone(sink));
    append(&journal, 60).await;
    (journal, applier)
}

async fn apply_all(journal: &Journal, applier: &mut Applier<Waiting>) {
    while journal.status().snapshot().lag_records > 0 {
        applier.step().await;
    }
}

#[tokio::test]
async fn pipelined_steps_during_retry_are_not_prepared() {
    let (store, inner) = fresh().await;
    let (sink, directory) = (Waiting::of(inner, true), tempfile::tempdir().unwrap());
    let (journal, mut applier) = backlog(directory.path(), &sink).await;
    let look = async {
        sink.all_are_begun().await;
        all_are_ended(&store).await;
    };
    tokio::select! {
        _ = applier.step() => panic!("the step went through"),
        () = look => {}
    }
    sink.goes_on.add_permits(1);
    apply_all(&journal, &mut applier).await;
    assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 60);
}

#[tokio::test]
async fn pipelined_steps_terminated_by_server_are_still_applied() {
    let (store, inner) = fresh().await;
    let (sink, directory) = (Waiting::of(inner, false), tempfile::tempdir().unwrap());
    let (journal, mut applier) = backlog(directory.path(), &sink).await;
    let end = async {
        sink.all_are_begun().await;
        let ended = "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity
            WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        assert_eq!(store.databases.count(Database::Analytics, ended).await, 2);
        sink.goes_on.add_permits(1);
    };
    tokio::join!(apply_all(&journal, &mut applier), end);
    assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 60);
    assert!(journal.dead_letters().list().unwrap().is_empty());
}

#[tokio::test]
async fn pipelined_step_blocking_earlier_step_delays_once() {
    let (store, inner) = fresh().await;
    // What an operator might do: each new session changes one row, which whoever comes first has until its commit.
    for sql in [
        "CREATE TABLE counter (n bigint NOT NULL)",
        "INSERT INTO counter VALUES (0)",
        "CREATE FUNCTION count_session() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN UPDATE counter SET n = n + 1; RETURN NEW; END $$",
        "CREATE TRIGGER count_session AFTER INSERT ON analytics_sessions FOR EACH ROW EXECUTE FUNCTION count_session()",
    ] {
        store.databases.execute(Database::Analytics, sql).await;
    }
    let (sink, directory) = (Waiting::of(inner, false), tempfile::tempdir().unwrap());
    let (journal, mut applier) = backlog(directory.path(), &sink).await;
    // One is enough for the circle: the other one waits for it, and cannot be begun.
    sink.begun.add_permits(1);
    sink.goes_on.add_permits(1);
    let began = Instant::now();
    apply_all(&journal, &mut applier).await;
    // The server's bound on waiting for a lock is ten seconds, and the third one may have waited for it before the first. With
    // what is prepared after each failure it would be ten seconds for every one of twenty steps.
    assert!(began.elapsed() > Duration::from_secs(9), "there was no circle: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_mins(1), "they waited again and again: {:?}", began.elapsed());
    assert_eq!(store.databases.count(Database::Analytics, "SELECT n FROM counter").await, 60);
    assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 60);
}
