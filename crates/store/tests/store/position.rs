//! Exactly once: rows and position move together, or not at all.

use std::pin::pin;

use sqlx::{Connection, PgConnection};
use weir_testkit::{Database, on_both_databases};

use super::*;

const COUNT: &str = "SELECT count(*) AS n FROM analytics_sessions";

on_both_databases! {
    async fn position_commits_together_with_rows(backend) {
        let store = Store::fresh(backend).await;
        let applied = store.analytics.apply(&store.step(0, 3), &sessions(3)).await.unwrap();
        assert_eq!(applied.rows, [("analytics_sessions", 3)]);
        store.analytics.apply(&store.step(3, 5), &sessions(2)).await.unwrap();
        assert_eq!(store.databases.count(Database::Analytics, COUNT).await, 5);
        assert_eq!(store.analytics_position().await, 5);
        let (_, by) = store.analytics.positions().position(store.journal).await.unwrap().unwrap();
        assert_eq!(by, store.writer.to_string());
    }

    async fn fencing_step_from_wrong_position_stores_nothing(backend) {
        let store = Store::fresh(backend).await;
        store.analytics.apply(&store.step(0, 3), &sessions(3)).await.unwrap();
        for (from, through) in [(0, 3), (2, 4), (4, 5)] {
            match store.analytics.apply(&store.step(from, through), &sessions(1)).await {
                Err(StoreError::Moved { expected, found, by }) => {
                    assert_eq!((expected, found, by), (Position(from), Position(3), store.writer.to_string()));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(store.databases.count(Database::Analytics, COUNT).await, 3);
        assert_eq!(store.analytics_position().await, 3);
    }

    async fn refused_record_rolls_back_whole_step(backend) {
        let store = Store::fresh(backend).await;
        store.databases.refuse_poison().await;
        store.analytics.apply(&store.step(0, 1), &sessions(1)).await.unwrap();
        let (mut position, mut rows) = (1, 1);
        // Many are written another way than few.
        for (size, place) in [(300, 300), (MANY, MANY), (MANY, 0)] {
            let mut batch = sessions(size);
            batch.insert(place, record(SessionRecord { landing_page: "poison".to_owned(), ..session_at(DAY) }));
            let refused = store.analytics.apply(&store.step(position, position + 1), &batch).await;
            assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
            assert_eq!(store.databases.count(Database::Analytics, COUNT).await, rows);
            assert_eq!(store.analytics_position().await, position);
            batch.remove(place);
            store.analytics.apply(&store.step(position, position + 1), &batch).await.unwrap();
            (position, rows) = (position + 1, rows + i64::try_from(size).unwrap());
            assert_eq!(store.databases.count(Database::Analytics, COUNT).await, rows);
        }
    }

    async fn record_violating_operator_index_is_refused(backend) {
        let store = Store::fresh(backend).await;
        let poison = || record(SessionRecord { landing_page: "poison".to_owned(), ..session_at(DAY) });
        store.analytics.apply(&store.step(0, 1), &[poison()]).await.unwrap();
        store.databases.refuse_second_poison().await;
        for size in [1, MANY] {
            let mut batch = sessions(size);
            batch.push(poison());
            let refused = store.analytics.apply(&store.step(1, 3), &batch).await;
            assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
            assert_eq!(store.analytics_position().await, 1);
        }
    }

    async fn session_already_stored_stays_unchanged(backend) {
        let store = Store::fresh(backend).await;
        let known = session_at(DAY);
        store.analytics.apply(&store.step(0, 1), &[record(known.clone())]).await.unwrap();
        let again = SessionRecord { landing_page: "https://example.org/other".to_owned(), ..known };
        for (from, size) in [(1, 1), (2, MANY)] {
            let mut batch = sessions(size);
            batch.push(record(again.clone()));
            store.analytics.apply(&store.step(from, from + 1), &batch).await.unwrap();
        }
        let rows = store.databases.rows(Database::Analytics, "SELECT landing_page FROM analytics_sessions").await;
        assert_eq!(rows.len(), 2 + MANY);
        assert!(rows.iter().all(|row| row["landing_page"] == "https://example.org/"));
    }

    async fn step_without_records_moves_only_position(backend) {
        let store = Store::fresh(backend).await;
        store.analytics.apply::<AnalyticsRecord>(&store.step(0, 9), &[]).await.unwrap();
        assert_eq!(store.analytics_position().await, 9);
        store.main.apply::<MainRecord>(&store.step(0, 9), &[]).await.unwrap();
    }

    async fn positions_of_two_journals_are_independent(backend) {
        let store = Store::fresh(backend).await;
        let other = JournalId(Uuid::new_v4());
        assert_eq!(store.analytics.positions().position(other).await.unwrap(), None);
        assert_eq!(store.analytics.positions().other_journals(store.journal).await.unwrap(), 0);
        store.analytics.apply(&store.step(0, 3), &sessions(3)).await.unwrap();
        assert_eq!(store.analytics.positions().register(other, Uuid::new_v4(), DAY).await.unwrap(), Position::START);
        assert_eq!(store.analytics.positions().other_journals(store.journal).await.unwrap(), 1);
        let step = Step { journal: other, ..store.step(0, 7) };
        store.analytics.apply(&step, &sessions(2)).await.unwrap();
        assert_eq!(store.analytics_position().await, 3);
    }

    async fn register_again_keeps_position_and_writer(backend) {
        let store = Store::fresh(backend).await;
        store.analytics.apply(&store.step(0, 3), &sessions(3)).await.unwrap();
        assert_eq!(store.analytics.positions().register(store.journal, Uuid::new_v4(), DAY).await.unwrap(), Position(3));
        let (_, by) = store.analytics.positions().position(store.journal).await.unwrap().unwrap();
        assert_eq!(by, store.writer.to_string());
    }

    async fn migrate_repeated_or_concurrent_is_harmless(backend) {
        let store = Store::fresh(backend).await;
        let (one, other) = tokio::join!(store.analytics.migrate(), store.analytics.migrate());
        one.unwrap();
        other.unwrap();
        store.main.migrate().await.unwrap();
    }
}

#[tokio::test]
async fn register_waits_for_commit_in_flight() {
    let store = Store::fresh(Backend::Postgres).await;
    let mut on_its_way = PgConnection::connect(&store.databases.analytics_url).await.unwrap();
    let mut transaction = on_its_way.begin().await.unwrap();
    sqlx::query("UPDATE journal_positions SET position = 3").execute(&mut *transaction).await.unwrap();
    let positions = store.analytics.positions();
    let mut registered = pin!(positions.register(store.journal, Uuid::new_v4(), DAY));
    let waits = "SELECT count(*) AS n FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let looks = async {
        while store.databases.count(Database::Analytics, waits).await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        found = &mut registered => panic!("it did not wait: {found:?}"),
        () = looks => {}
    }
    transaction.commit().await.unwrap();
    assert_eq!(registered.await.unwrap(), Position(3));
}
