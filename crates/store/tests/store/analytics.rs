//! The analytics database: what a session looks like there, and what maintenance does.

use serde_json::{Value, json};
use weir_testkit::{Database, on_both_databases};

use super::*;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

async fn only_row(store: &Store) -> Value {
    let mut rows = store.databases.rows(Database::Analytics, "SELECT * FROM analytics_sessions").await;
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

/// PostgreSQL's JSON has times with an offset, SQLite's text ends in Z; both must be the same instant.
fn same_instant(value: &Value, expected: UnixMillis) {
    let text = value.as_str().unwrap();
    let time = chrono::DateTime::parse_from_rfc3339(text).unwrap();
    assert_eq!(time.timestamp_millis(), expected.0, "{text}");
}

on_both_databases! {
    async fn session_row_keeps_every_field(backend) {
        let store = Store::fresh(backend).await;
        let page = Uuid::from_u128(0x1111_2222);
        let session = SessionRecord {
            bio_page_id: Some(page),
            creator_id: Some(Uuid::from_u128(9)),
            referrer: Some("https://www.example.com/x".into()),
            referrer_domain: "example.com".into(),
            utm_source: Some("source".into()),
            utm_medium: Some("medium".into()),
            utm_campaign: Some("campaign".into()),
            utm_term: Some("term".into()),
            utm_content: Some("content".into()),
            device: Some("tablet".into()),
            browser: Some("Firefox".into()),
            os: Some("Linux".into()),
            os_version: Some("6.1".into()),
            screen_width: Some(7680),
            screen_height: Some(0),
            connection_type: Some("4g".into()),
            language: Some("tr".into()),
            place: GeoLocation {
                country: Some("TR".into()),
                city: Some("İstanbul".into()),
                region: Some("Marmara".into()),
                continent: Some("AS".into()),
                timezone: Some("Europe/Istanbul".into()),
            },
            ..session_at(UnixMillis(DAY.0 + 7))
        };
        store.analytics.apply(&store.step(0, 1), &[record(session.clone())]).await.unwrap();
        let row = only_row(&store).await;
        let expected = json!({
            "id": session.id.to_string(), "visitor_id": "ab".repeat(32), "user_id": null,
            "bio_page_id": page.to_string(), "creator_id": Uuid::from_u128(9).to_string(),
            "landing_page": "https://example.org/", "referrer": "https://www.example.com/x", "referrer_domain": "example.com",
            "utm_source": "source", "utm_medium": "medium", "utm_campaign": "campaign", "utm_term": "term", "utm_content": "content",
            "device": "tablet", "browser": "Firefox", "os": "Linux", "os_version": "6.1",
            "screen_width": 7680, "screen_height": 0, "connection_type": "4g", "language": "tr",
            "country": "TR", "city": "İstanbul", "region": "Marmara", "continent": "AS", "timezone": "Europe/Istanbul",
            "page_views": 0, "duration": 0,
        });
        for (column, value) in expected.as_object().unwrap() {
            assert_eq!(&row[column], value, "{column}");
        }
        assert!(row["bounced"] == json!(true) || row["bounced"] == json!(1));
        same_instant(&row["started_at"], session.started_at);
        same_instant(&row["last_activity_at"], session.started_at);
        assert_eq!(row.as_object().unwrap().len(), expected.as_object().unwrap().len() + 3, "a column is not accounted for");
    }

    async fn session_text_with_special_characters_round_trips(backend) {
        let store = Store::fresh(backend).await;
        let texts = ["", " ", "'; DROP TABLE analytics_sessions; --", "\\N", "\\.", "a\tb\nc\r", "\u{1}\u{7f}", "𝕏 ü 漢字 🦀", "{\"a\":[1,2]}", "NULL", "%s $1 ?"];
        let mut batch: Vec<AnalyticsRecord> = texts
            .iter()
            .map(|text| record(SessionRecord { utm_term: Some((*text).into()), ..session_at(DAY) }))
            .collect();
        let long = "é".repeat(8192);
        batch.push(record(SessionRecord { landing_page: long.clone(), utm_term: Some("long".into()), ..session_at(DAY) }));
        store.analytics.apply(&store.step(0, 1), &batch).await.unwrap();
        let rows = store.databases.rows(Database::Analytics, "SELECT utm_term, landing_page FROM analytics_sessions").await;
        for text in texts {
            assert_eq!(rows.iter().filter(|row| row["utm_term"] == json!(text)).count(), 1, "{text:?}");
        }
        assert!(rows.iter().any(|row| row["landing_page"] == json!(long)));
    }

    async fn sessions_of_any_day_are_applied(backend) {
        let store = Store::fresh(backend).await;
        let days = [0, 1, 40, -3, 400, 0];
        let batch: Vec<_> = days.iter().map(|day| record(session_at(UnixMillis(DAY.0 + day * DAY_MS)))).collect();
        store.analytics.apply(&store.step(0, 6), &batch).await.unwrap();
        assert_eq!(store.databases.count(Database::Analytics, "SELECT count(*) AS n FROM analytics_sessions").await, 6);
    }

    async fn session_batch_of_any_size_is_applied(backend) {
        let store = Store::fresh(backend).await;
        for (at, size) in (0..).zip([1, 199, 200, 201, 1000, 2500]) {
            store.analytics.apply(&store.step(at, at + 1), &sessions(size)).await.unwrap();
        }
        assert_eq!(store.databases.count(Database::Analytics, "SELECT count(*) AS n FROM analytics_sessions").await, 4101);
    }

    async fn retention_drops_older_rows_and_keeps_rest(backend) {
        let store = Store::fresh(backend).await;
        let days_ago = [0, 1, 29, 31, 32, 400];
        let batch: Vec<_> = days_ago.iter().map(|days| record(session_at(UnixMillis(DAY.0 - days * DAY_MS)))).collect();
        store.analytics.apply(&store.step(0, 6), &batch).await.unwrap();
        store.analytics.maintain(DAY, 0).await.unwrap();
        assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 6);
        store.databases.execute(Database::Analytics, LONG_AGO).await;
        let done = store.analytics.maintain(DAY, 30).await.unwrap();
        assert!(done.partitions_dropped + done.rows_deleted >= 3, "{done:?}");
        assert_eq!(store.databases.count(Database::Analytics, "SELECT count(*) AS n FROM analytics_sessions").await, 3);
        let again = store.analytics.maintain(DAY, 30).await.unwrap();
        assert_eq!(again, Maintained::default(), "maintenance is done");
        store.analytics.apply(&store.step(6, 7), &[record(session_at(UnixMillis(DAY.0 - 31 * DAY_MS)))]).await.unwrap();
        assert_eq!(store.databases.count(Database::Analytics, "SELECT count(*) AS n FROM analytics_sessions").await, 4);
    }
}

const SESSIONS: &str = "SELECT count(*) AS n FROM analytics_sessions";
/// All rows were stored on the day that their ids carry, and instances have run for longer than a day since.
const LONG_AGO: &str = "UPDATE stored_days SET running_ms = running_ms - 100000000, stored_at_ms = day * 86400000";

fn days_later(days: i64) -> UnixMillis {
    UnixMillis(DAY.0 + days * DAY_MS)
}

async fn confirm(store: &Store, now: UnixMillis) {
    weir_store::open_analytics(&store.databases.analytics_url).unwrap().confirm_clock(now).await.unwrap();
}

on_both_databases! {
    async fn retention_under_clock_far_ahead_deletes_nothing_until_confirmed(backend) {
        let store = Store::fresh(backend).await;
        store.analytics.maintain(DAY, 30).await.unwrap();
        store.analytics.apply(&store.step(0, 5), &sessions(5)).await.unwrap();
        store.databases.execute(Database::Analytics, LONG_AGO).await;
        for _ in 0..3 {
            let done = store.analytics.maintain(days_later(60), 30).await.unwrap();
            assert!(done.refused.is_some() && done.rows_deleted + done.partitions_dropped == 0, "{done:?}");
        }
        let sink = weir_store::open_analytics(&store.databases.analytics_url).unwrap();
        let plan = sink.retention_plan(days_later(60), 30).await.unwrap();
        assert!(plan.is_refused && !plan.dropped.is_empty(), "it says what it would drop: {plan:?}");
        assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 5);
        confirm(&store, days_later(60)).await;
        let done = store.analytics.maintain(days_later(60), 30).await.unwrap();
        assert!(done.refused.is_none(), "{done:?}");
        assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 0);
    }

    async fn retention_confirmed_under_wrong_clock_keeps_what_was_just_stored(backend) {
        let store = Store::fresh(backend).await;
        store.analytics.maintain(DAY, 30).await.unwrap();
        store.analytics.apply(&store.step(0, 5), &sessions(5)).await.unwrap();
        confirm(&store, days_later(60)).await;
        let done = store.analytics.maintain(days_later(60), 30).await.unwrap();
        assert!(done.refused.is_none(), "{done:?}");
        assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 5);
    }

    async fn rows_taken_under_clock_years_behind_stay_for_their_retention(backend) {
        let store = Store::fresh(backend).await;
        store.analytics.maintain(DAY, 30).await.unwrap();
        let taken = record(session_at(days_later(-2_400)));
        store.analytics.apply(&store.step(0, 1), &[taken]).await.unwrap();
        // Not before the time that was believed: PostgreSQL's own clock, which may be months ahead of this test's, says more.
        let believed = format!("SELECT count(*) AS n FROM stored_days WHERE stored_at_ms >= {}", DAY.0);
        assert_eq!(store.databases.count(Database::Analytics, &believed).await, 1);
        let later = format!("UPDATE stored_days SET running_ms = running_ms - 100000000, stored_at_ms = {}", DAY.0);
        store.databases.execute(Database::Analytics, &later).await;
        for days in (0..=28).step_by(2) {
            store.analytics.maintain(days_later(days), 30).await.unwrap();
            assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 1, "after {days} days");
        }
        for days in (30..=36).step_by(2) {
            store.analytics.maintain(days_later(days), 30).await.unwrap();
        }
        assert_eq!(store.databases.count(Database::Analytics, SESSIONS).await, 0);
    }
}

/// What a database's own settings say of early writing.
const WRITES_EARLY: &str = "
    SELECT count(*) AS n FROM pg_db_role_setting, pg_database, unnest(setconfig) AS setting
    WHERE setdatabase = pg_database.oid AND setrole = 0 AND datname = current_database() AND setting ~ '^backend_flush_after='";

async fn advice(databases: &Databases) -> Vec<String> {
    weir_store::open_analytics(&databases.analytics_url).unwrap().advice().await.unwrap()
}

#[tokio::test]
async fn flush_after_is_advised_and_never_set_by_weir() {
    let store = Store::fresh(Backend::Postgres).await;
    store.analytics.maintain(DAY, 0).await.unwrap();
    assert_eq!(store.databases.count(Database::Analytics, WRITES_EARLY).await, 0, "the server is the operator's");
    let advised = advice(&store.databases).await;
    assert_eq!(advised.len(), 1, "{advised:?}");
    store.databases.execute(Database::Analytics, &advised[0]).await;
    assert_eq!(store.databases.count(Database::Analytics, WRITES_EARLY).await, 1);
    assert!(advice(&store.databases).await.is_empty(), "it is done");
}

#[tokio::test]
async fn flush_after_set_by_operator_is_left_without_advice() {
    let store = Store::fresh(Backend::Postgres).await;
    let name = store.databases.rows(Database::Analytics, "SELECT current_database() AS name").await[0]["name"].clone();
    let set = format!("ALTER DATABASE {} SET backend_flush_after = 0", name.as_str().unwrap());
    store.databases.execute(Database::Analytics, &set).await;
    assert!(advice(&store.databases).await.is_empty());
}

#[tokio::test]
async fn role_without_ownership_of_database_migrates_and_maintains() {
    let databases = Databases::on_server(&std::env::var("TEST_POSTGRES_URL").unwrap()).await;
    let mut url = url::Url::parse(&databases.analytics_url).unwrap();
    let role = url.path().replacen("/weir", "guest", 1);
    let grants = format!("CREATE ROLE {role} LOGIN PASSWORD 'guest'; GRANT CREATE ON SCHEMA public TO {role}");
    databases.execute(Database::Analytics, &grants).await;
    url.set_username(&role).unwrap();
    url.set_password(Some("guest")).unwrap();
    let (guest, _) = open_analytics_of(&Databases { analytics_url: url.to_string(), ..databases });
    guest.migrate().await.unwrap();
    let done = guest.maintain(DAY, 0).await.unwrap();
    assert_eq!(done.partitions_made, 2 * 9);
}

#[tokio::test]
async fn partitions_are_created_in_advance_and_pruned_by_id() {
    let store = Store::fresh(Backend::Postgres).await;
    let made = store.analytics.maintain(DAY, 0).await.unwrap().partitions_made;
    assert_eq!(made, 2 * 9, "two tables, yesterday to a week ahead");
    let session = session_at(DAY);
    store.analytics.apply(&store.step(0, 1), &[record(session.clone())]).await.unwrap();
    let inside = "SELECT tableoid::regclass::text AS partition FROM analytics_sessions";
    let rows = store.databases.rows(Database::Analytics, inside).await;
    assert_eq!(rows[0]["partition"], json!("analytics_sessions_20260430"));
    let look_up = format!("SELECT * FROM analytics_sessions WHERE id = '{}'", session.id);
    assert_eq!(scanned(&plan_of(&store, &look_up).await), ["analytics_sessions_20260430"]);
}

#[tokio::test]
async fn time_range_query_by_id_scans_only_matching_partitions() {
    let store = Store::fresh(Backend::Postgres).await;
    store.analytics.maintain(DAY, 0).await.unwrap();
    // What docs/operations.md tells to write ("Reading by time").
    let within = "SELECT * FROM analytics_sessions
         WHERE id >= (lpad(to_hex((extract(epoch FROM timestamp '2026-04-30 10:00') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
           AND id < (lpad(to_hex((extract(epoch FROM timestamp '2026-05-01 11:00') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid";
    let [early, first, last, late] =
        [-1, 0, 25 * HOUR_MS - 1, 25 * HOUR_MS].map(|after_ms| session_at(UnixMillis(DAY.0 + after_ms)));
    let batch = [&early, &first, &last, &late].map(|session| record(session.clone()));
    store.analytics.apply(&store.step(0, 4), &batch).await.unwrap();
    let rows = store.databases.rows(Database::Analytics, &format!("{within} ORDER BY id")).await;
    let found: Vec<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(found, [first.id.to_string(), last.id.to_string()]);
    let plan = plan_of(&store, within).await;
    assert_eq!(scanned(&plan), ["analytics_sessions_20260430", "analytics_sessions_20260501"]);
    assert_eq!(plan.iter().filter(|line| line.contains("_pkey")).count(), 2, "{plan:?}");
    assert!(!plan.iter().any(|line| line.contains("Subplans Removed")), "other days are not planned: {plan:?}");
}

/// The end of a vacuum reads what a BRIN index has yet to read, at once and as fast as it can, and answers wait.
#[tokio::test]
async fn schema_indexes_contain_no_brin() {
    let store = Store::fresh(Backend::Postgres).await;
    store.analytics.maintain(DAY, 0).await.unwrap();
    let filled_in = "SELECT count(*) AS n FROM pg_class JOIN pg_am ON pg_am.oid = relam WHERE amname = 'brin'";
    for database in [Database::Analytics, Database::Main] {
        assert_eq!(store.databases.count(database, filled_in).await, 0);
    }
}

#[tokio::test]
async fn migration_failure_releases_lock_for_next_attempt() {
    let databases = Databases::on_server(&std::env::var("TEST_POSTGRES_URL").unwrap()).await;
    databases.execute(Database::Analytics, "CREATE TABLE analytics_sessions (in_the_way int)").await;
    let (first, _) = open_analytics_of(&databases);
    first.migrate().await.expect_err("a table is in the way");
    databases.execute(Database::Analytics, "DROP TABLE analytics_sessions").await;
    let (second, _) = open_analytics_of(&databases);
    // Less than it would wait for the lock.
    tokio::time::timeout(Duration::from_secs(8), second.migrate()).await.expect("not held up").unwrap();
}

/// How PostgreSQL would go about a query, were every table large.
async fn plan_of(store: &Store, query: &str) -> Vec<String> {
    // EXPLAIN cannot stand in a subquery: a function returns its lines.
    let function = "
        CREATE OR REPLACE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql
        SET enable_seqscan = off SET enable_bitmapscan = off AS
        $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN ' || query; END $$";
    store.databases.execute(Database::Analytics, function).await;
    let lines = store.databases.rows(Database::Analytics, &format!("SELECT plan($${query}$$) AS line")).await;
    lines.iter().map(|line| line["line"].as_str().unwrap().to_owned()).collect()
}

/// The tables that a plan reads.
fn scanned<'a>(plan: &'a [String]) -> Vec<&'a str> {
    let table = |line: &'a String| line.split_once(" on ")?.1.split_whitespace().next();
    plan.iter().filter_map(table).collect()
}

#[tokio::test]
async fn unencodable_row_rolls_back_batch_and_keeps_connection() {
    let store = Store::fresh(Backend::Postgres).await;
    let mut batch = sessions(1000);
    let never = SessionRecord { started_at: UnixMillis(i64::MAX), ..session_at(DAY) };
    // Behind more rows than are sent at once.
    batch[900] = record(never);
    let refused = store.analytics.apply(&store.step(0, 1000), &batch).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    let count = "SELECT count(*) AS n FROM analytics_sessions";
    assert_eq!(store.databases.count(Database::Analytics, count).await, 0);
    assert_eq!(store.analytics_position().await, 0);
    let whole = [&batch[..900], &batch[901..]].concat();
    store.analytics.apply(&store.step(0, 1000), &whole).await.unwrap();
    assert_eq!(store.databases.count(Database::Analytics, count).await, 999);
}

#[tokio::test]
async fn unencodable_row_after_duplicate_row_keeps_connection() {
    let store = Store::fresh(Backend::Postgres).await;
    let known = sessions(1);
    store.analytics.apply(&store.step(0, 1), &known).await.unwrap();
    let mut batch = sessions(2500);
    // PostgreSQL takes a thousand rows together: it has refused this one long before the other is written.
    batch[10] = known[0].clone();
    batch[2400] = record(SessionRecord { started_at: UnixMillis(i64::MAX), ..session_at(DAY) });
    let refused = store.analytics.apply(&store.step(1, 2501), &batch).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    batch.remove(2400);
    store.analytics.apply(&store.step(1, 2501), &batch).await.unwrap();
    let count = "SELECT count(*) AS n FROM analytics_sessions";
    assert_eq!(store.databases.count(Database::Analytics, count).await, 2499);
}
