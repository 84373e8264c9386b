//! What follows a session or a view that is not there yet, by way of other journals.

use std::collections::BTreeMap;

use weir_domain::{HeartbeatRecord, IdSource, IdentifyRecord, LeaveRecord, PageviewRecord};
use weir_testkit::store::AnySink;
use weir_testkit::{Database, on_both_databases};

use super::*;

const JOURNALS: usize = 3;
const VISITS: usize = 60;

/// Steele, Lea and Flood's generator: the same numbers from the same seed.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

fn view(session: Uuid, after: i64) -> PageviewRecord {
    PageviewRecord {
        id: IdSource::default().next(UnixMillis(DAY.0 + after)),
        entered_at: UnixMillis(DAY.0 + after),
        session_id: session,
        url: "https://example.org/a".into(),
        path: None,
        title: None,
        referrer: None,
    }
}

fn heartbeat(session_id: Uuid, after: i64) -> AnalyticsRecord {
    AnalyticsEvent::Heartbeat(HeartbeatRecord { session_id, at: UnixMillis(DAY.0 + after) }).into()
}

async fn waiting(store: &Store) -> usize {
    store.databases.rows(Database::Analytics, "SELECT * FROM pending_effects").await.len()
}

on_both_databases! {
    /// Everything but the session is applied first; then it comes, and is as if it had been first.
    async fn effects_before_session_count_when_it_comes(backend) {
        let store = Store::fresh(backend).await;
        let session = session_at(DAY);
        let (first, second) = (view(session.id, 1000), view(session.id, 5000));
        let leave = LeaveRecord { view_id: second.id, duration_seconds: 7.5, scroll_depth: Some(50.0) };
        let identify = IdentifyRecord { session_id: session.id, user_id: "user".to_owned() };
        let effects = [
            AnalyticsEvent::Leave(leave).into(),
            AnalyticsEvent::Pageview(Box::new(first)).into(),
            AnalyticsEvent::Pageview(Box::new(second)).into(),
            heartbeat(session.id, 9000),
            AnalyticsEvent::Identify(identify).into(),
            heartbeat(session.id, 8000),
        ];
        for (position, effect) in (0..).zip(&effects) {
            store.analytics.apply(&store.step(position, position + 1), std::slice::from_ref(effect)).await.unwrap();
        }
        assert_eq!(waiting(&store).await, 5, "the leave has found its view");
        assert_eq!(store.analytics.settle(true).await.unwrap().waiting, 5);
        store.analytics.apply(&store.step(6, 7), &[record(session)]).await.unwrap();
        assert_eq!(waiting(&store).await, 0);
        let sessions = store.databases.rows(Database::Analytics, "SELECT * FROM analytics_sessions").await;
        assert_eq!(sessions[0]["page_views"], 2);
        assert_eq!(sessions[0]["duration"], 60);
        assert_eq!(sessions[0]["user_id"], "user");
        let views = store.databases.rows(Database::Analytics, "SELECT * FROM analytics_pageviews ORDER BY id").await;
        assert_eq!((views[0]["duration"].as_f64(), views[1]["duration"].as_f64()), (Some(4.0), Some(7.5)));
    }

    async fn effect_that_waited_a_day_expires(backend) {
        let store = Store::fresh(backend).await;
        let (old, new) = (session_at(DAY), session_at(DAY));
        store.analytics.apply(&store.step(0, 1), &[heartbeat(old.id, 0)]).await.unwrap();
        let aged = match backend {
            Backend::Postgres => "UPDATE pending_effects SET kept_at = kept_at - interval '25 hours'",
            Backend::Sqlite => "UPDATE pending_effects SET kept_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-25 hours')",
        };
        store.databases.execute(Database::Analytics, aged).await;
        store.analytics.apply(&store.step(1, 2), &[heartbeat(new.id, 0)]).await.unwrap();
        let settled = store.analytics.settle(false).await.unwrap();
        assert_eq!((settled.waiting, settled.expired), (1, 1));
        store.analytics.apply(&store.step(2, 4), &[record(old), record(new)]).await.unwrap();
        let rows = store.databases.rows(Database::Analytics, "SELECT * FROM analytics_sessions").await;
        assert_eq!(rows.iter().map(|row| row["duration"].as_i64().unwrap()).sum::<i64>(), 30);
    }

    /// Each visit's records are spread over journals that are applied at the same time, each by a writer of its own.
    async fn journals_applied_in_parallel_lose_no_effect(backend) {
        let seed = std::env::var("WEIR_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
        println!("WEIR_TEST_SEED={seed}");
        let mut random = SplitMix(seed);
        let store = Store::fresh(backend).await;
        let mut journals: Vec<Vec<AnalyticsRecord>> = vec![Vec::new(); JOURNALS];
        let mut beats: BTreeMap<Uuid, i64> = BTreeMap::new();
        let mut left: BTreeMap<Uuid, f64> = BTreeMap::new();
        for _ in 0..VISITS {
            let session = session_at(DAY);
            let views = [view(session.id, 1000), view(session.id, 3000)];
            let mut events = vec![record(session.clone())];
            for opened in views {
                let seconds = f64::from(u32::try_from(random.below(100)).unwrap());
                left.insert(opened.id, seconds);
                let leave = LeaveRecord { view_id: opened.id, duration_seconds: seconds, scroll_depth: None };
                events.extend([AnalyticsEvent::Pageview(Box::new(opened)).into(), AnalyticsEvent::Leave(leave).into()]);
            }
            let count = i64::try_from(random.below(4)).unwrap();
            beats.insert(session.id, count * 30);
            events.extend((0..count).map(|beat| heartbeat(session.id, beat * 1000)));
            let user_id = session.id.to_string();
            events.push(AnalyticsEvent::Identify(IdentifyRecord { session_id: session.id, user_id }).into());
            for event in events {
                let journal = random.below(JOURNALS);
                journals[journal].push(event);
            }
        }
        let mut writers = tokio::task::JoinSet::new();
        for records in journals {
            let (journal, sink): (_, Box<dyn AnySink>) = (JournalId(Uuid::new_v4()), open_analytics_of(&store.databases).0);
            sink.positions().register(journal, store.writer, DAY).await.unwrap();
            let mut steps = Vec::new();
            let mut from = 0;
            while from < records.len() {
                let through = records.len().min(from + [1, 2, 5, 20][random.below(4)]);
                let step = Step { journal, ..store.step(from as u64, through as u64) };
                steps.push((step, records[from..through].iter().map(JournalRecord::encode).collect::<Vec<_>>()));
                from = through;
            }
            let pipelined = random.below(2) == 0;
            writers.spawn(async move {
                if pipelined && backend == Backend::Postgres {
                    sink.apply_pipelined(&steps).await.unwrap();
                    return;
                }
                for (step, records) in &steps {
                    sink.apply_encoded(step, records).await.unwrap();
                }
            });
        }
        while let Some(written) = writers.join_next().await {
            written.unwrap();
        }
        let settled = store.analytics.settle(true).await.unwrap();
        println!("{settled:?}");
        assert_eq!(settled.waiting, 0);
        let sessions = store.databases.rows(Database::Analytics, "SELECT * FROM analytics_sessions").await;
        assert_eq!(sessions.len(), VISITS);
        for row in sessions {
            let id = row["id"].as_str().unwrap();
            assert_eq!(row["page_views"], 2, "{id}");
            assert_eq!(row["duration"], beats[&id.parse().unwrap()], "{id}");
            assert_eq!(row["user_id"], id);
        }
        let views = store.databases.rows(Database::Analytics, "SELECT * FROM analytics_pageviews").await;
        assert_eq!(views.len(), 2 * VISITS);
        for row in views {
            assert_eq!(row["duration"].as_f64(), Some(left[&row["id"].as_str().unwrap().parse().unwrap()]));
        }
    }
}
