//! Several instances on the same databases, and clients that are sent to any of them: what follows a session comes by way of
//! another instance, which may have died before it was applied.

#![allow(clippy::cast_possible_wrap)] // counts of a few

use std::collections::BTreeMap;

use super::*;

const INSTANCES: usize = 3;

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

/// What a visit was told, and so what is to be in the end.
#[derive(Default)]
struct Told {
    views: usize,
    beats: i64,
    left: BTreeMap<String, f64>,
}

/// The id of an answer that has one; nothing from an instance that is dead.
async fn asked(app: &TestApp, path: &str, body: &Value) -> Option<Value> {
    let response = app.post(path, body).send().await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    serde_json::from_str::<Value>(&response.text().await.ok()?).ok().map(|answer| answer["data"].clone())
}

/// Round robin over three instances that die at random; each of them comes back in the end.
#[tokio::test]
async fn round_robin_over_instances_that_die_loses_and_doubles_no_effect() {
    let seed = std::env::var("WEIR_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    println!("WEIR_TEST_SEED={seed}");
    let mut random = SplitMix(seed);
    let mut apps = vec![TestApp::start_with(Backend::Postgres, UNTHROTTLED).await];
    let databases = apps[0].databases.clone();
    for _ in 1..INSTANCES {
        let mut app = TestApp::prepare(Backend::Postgres).await;
        app.set_all(UNTHROTTLED);
        app.set("WEIR_ANALYTICS_DATABASE_URL", &databases.analytics_url);
        app.set("WEIR_MAIN_DATABASE_URL", &databases.main_url);
        app.databases = databases.clone();
        app.launch().await;
        apps.push(app);
    }
    let mut is_up = [true; INSTANCES];
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    let mut kills = 0;
    for visit in 0..scale(60, 2_000) {
        // One visit in six, an instance dies, or one that is dead comes back.
        let victim = random.below(INSTANCES);
        if random.below(6) == 0 {
            if !is_up[victim] {
                apps[victim].launch().await;
                is_up[victim] = true;
            } else if is_up.iter().filter(|up| **up).count() > 1 {
                apps[victim].kill();
                is_up[victim] = false;
                kills += 1;
            }
        }
        let mut turn = visit;
        // A load balancer leaves out those that are dead.
        let mut next = || loop {
            turn += 1;
            if is_up[turn % INSTANCES] {
                return turn % INSTANCES;
            }
        };
        let session = asked(&apps[next()], "/api/v1/analytics/session", &session_with(&json!({}))).await;
        let Some(id) = session.and_then(|session| session["id"].as_str().map(str::to_owned)) else { continue };
        let mut of_visit = Told::default();
        for _ in 0..2 {
            let body = json!({"sessionId": id, "url": "https://example.org/a"});
            let view = asked(&apps[next()], "/api/v1/analytics/pageview", &body).await;
            if let Some(view) = view.as_ref().and_then(|view| view["id"].as_str()) {
                of_visit.views += 1;
                let seconds = f64::from(u32::try_from(random.below(100)).unwrap());
                let path = format!("/api/v1/analytics/pageview/{view}/leave");
                if asked(&apps[next()], &path, &json!({"duration": seconds})).await.is_some() {
                    of_visit.left.insert(view.to_owned(), seconds);
                }
            }
        }
        let batch = json!({"items": [{"type": "heartbeat", "id": id}, {"type": "heartbeat", "id": id}]});
        if let Some(answer) = asked(&apps[next()], "/api/v1/analytics/batch", &batch).await {
            let results = answer["results"].as_array().unwrap();
            of_visit.beats += results.iter().filter(|result| result["status"] == 200).count() as i64;
        }
        told.insert(id, of_visit);
    }
    for (app, up) in apps.iter_mut().zip(is_up) {
        if !up {
            app.launch().await;
        }
    }
    assert!(kills > 0 && told.len() > 20, "{kills} kills, {} visits", told.len());
    for app in &apps {
        app.applied().await;
    }
    let none_wait = "SELECT 1 AS one FROM pending_effects WHERE EXISTS
        (SELECT FROM analytics_sessions AS session WHERE session.id = awaited)
        OR EXISTS (SELECT FROM analytics_pageviews AS view WHERE view.id = awaited)";
    apps[0].until("no effect waits", async || apps[0].rows(Database::Analytics, none_wait).await.is_empty()).await;
    let rows = apps[0].rows(Database::Analytics, "SELECT * FROM analytics_sessions").await;
    let sessions: BTreeMap<&str, &Value> = rows.iter().map(|row| (row["id"].as_str().unwrap(), row)).collect();
    let rows = apps[0].rows(Database::Analytics, "SELECT * FROM analytics_pageviews").await;
    let views: BTreeMap<&str, &Value> = rows.iter().map(|row| (row["id"].as_str().unwrap(), row)).collect();
    for (id, told) in &told {
        // A dying instance may have stored what it could not answer any more: never less, and exactly as much where it
        // answered everything.
        let row = sessions[id.as_str()];
        let (counted, beats) = (row["page_views"].as_i64().unwrap(), row["duration"].as_i64().unwrap() / 30);
        let stored = views.values().filter(|view| view["session_id"] == id.as_str()).count() as i64;
        assert_eq!(counted, stored, "{id}: every stored view counts once");
        assert!(counted >= told.views as i64 && counted <= 2, "{id}: {counted} of {}", told.views);
        assert!(beats >= told.beats && beats <= 2, "{id}: {beats} of {}", told.beats);
        for (view, seconds) in &told.left {
            assert_eq!(views[view.as_str()]["duration"].as_f64(), Some(*seconds), "{view}");
        }
    }
    println!("{kills} kills, {} visits", told.len());
}
