//! Queues that are full to the last place: who comes too late is told so at once, nobody else is harmed, and afterwards
//! there is room for everybody again.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use weir::enrich::pool;
use weir_testkit::{PATIENCE, exclusive, minimal_session, on_both_databases};

use super::clients::affordable;
use super::disk::takes_records;
use super::ledger::PAGES;
use super::*;

const SESSION: &str = "/api/v1/analytics/session";
const QUEUED: &str = "weir_journal_queue_records{journal=\"analytics\"}";
const CAPACITY: &str = "weir_journal_queue_capacity_records{journal=\"analytics\"}";
const REFUSED_ITEMS: &str = "weir_batch_items_total{outcome=\"unavailable\",type=\"session\"}";
const REFUSED_LOOK_UPS: &str = "weir_user_agent_lookups_total{result=\"refused\"}";
/// So many batches are sent before they are looked for in the queue: each body has ten seconds to arrive.
const WAVE: usize = 16;

/// Clients whose answers are awaited: the landing page of each of their sessions, and the id that it got.
struct Crowd(JoinSet<Vec<(String, Option<String>)>>);

impl Crowd {
    /// Clients that bring a batch of sessions each, and wait.
    async fn of_batches(app: &TestApp, batches: usize, sessions: usize, referrer: &str) -> Self {
        let capacity = app.metric(CAPACITY).await;
        let mut clients = JoinSet::new();
        for batch in 0..batches {
            let pages: Vec<String> = (0..sessions).map(|number| format!("{PAGES}crowd/{batch}/{number}")).collect();
            let item = |page: &String| {
                let body = session_with(&json!({"landingPage": page, "referrer": referrer}));
                json!({"type": "session", "body": body})
            };
            let items: Vec<Value> = pages.iter().map(item).collect();
            clients.spawn(bring(app.post("/api/v1/analytics/batch", &json!({"items": items})), pages));
            if batch % WAVE == WAVE - 1 {
                let all = ((batch + 1) * sessions) as f64;
                app.until("they have arrived", async || {
                    app.metric(QUEUED).await >= all.min(capacity) || app.metric(REFUSED_ITEMS).await > 0.0
                })
                .await;
            }
        }
        Self(clients)
    }

    /// Waits for all answers.
    async fn finish(self, ledger: &mut Ledger) {
        let told = tokio::time::timeout(PATIENCE, self.0.join_all()).await.expect("everybody is answered");
        for (page, id) in told.into_iter().flatten() {
            ledger.session(page, id);
        }
    }
}

/// Sends a batch of sessions with these landing pages: each one's id, or `None` for a refusal.
async fn bring(batch: reqwest::RequestBuilder, pages: Vec<String>) -> Vec<(String, Option<String>)> {
    let answer = weir_testkit::data(batch.send().await.unwrap()).await;
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), pages.len());
    let id = |result: &Value| {
        assert_eq!(result["status"], 200, "{result}");
        result["data"]["id"].as_str().map(str::to_owned)
    };
    pages.into_iter().zip(results.iter().map(id)).collect()
}

/// From now on the disk hangs, with one session on its way to it.
async fn hangs(app: &TestApp, points: &FailPoints) {
    points.arm(&["journal.sync=pause"]);
    app.until("the disk hangs", async || {
        app.post(SESSION, &minimal_session()).timeout(Duration::from_secs(1)).send().await.is_err()
    })
    .await;
}

/// There is room again for everybody, and nobody was told anything that is not so.
async fn recovers(app: &TestApp, ledger: &mut Ledger) {
    let refused = ledger.refused();
    let load = Load::start(app, 8, "afterwards");
    takes_records(app).await;
    load.finish(ledger).await;
    assert_eq!(ledger.refused(), refused, "there is room again");
    ledger.settle(app).await;
    ledger.refused_are_not_stored(app).await;
}

on_both_databases! {
    async fn journal_queue_full_of_records_refuses_then_recovers(backend) {
        // Its crowd keeps the machine busy, and each body has ten seconds to arrive.
        let _alone = exclusive().await;
        let (mut app, points) = prepared(backend).await;
        // A line a record would be what takes longest.
        app.set("WEIR_LOG", "info");
        app.launch().await;
        let mut ledger = Ledger::of("the journal's queue is full of records", backend);
        hangs(&app, &points).await;
        let crowd = Crowd::of_batches(&app, 200, 100, "https://example.org/").await;
        app.until("some are refused", async || app.metric(REFUSED_ITEMS).await > 0.0).await;
        let (queued, capacity) = (app.metric(QUEUED).await, app.metric(CAPACITY).await);
        assert!(capacity > 0.0 && queued >= capacity, "refused with {queued} of {capacity} places taken");
        // Now, and not when the disk is back.
        let began = Instant::now();
        assert_eq!(visit(&app, &mut ledger, "late").await, None);
        let beat = app.client.patch(app.url(&format!("{SESSION}/{}/heartbeat", uuid::Uuid::new_v4())));
        let refusal = beat.send().await.unwrap();
        assert_eq!((refusal.status().as_u16(), weir_testkit::header(&refusal, "retry-after")), (503, Some("2")));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        points.disarm();
        crowd.finish(&mut ledger).await;
        let counted = app.metric(REFUSED_ITEMS).await + app.outcomes("session", "unavailable").await;
        let told = ledger.refused() as f64;
        assert!(told > 1.0 && (counted - told).abs() < f64::EPSILON, "{counted} counted, {told} told");
        recovers(&app, &mut ledger).await;
    }

    async fn journal_queue_full_of_bytes_refuses_then_recovers(backend) {
        // Its crowd keeps the machine busy, and each body has ten seconds to arrive.
        let _alone = exclusive().await;
        let (mut app, points) = prepared(backend).await;
        app.set("WEIR_LOG", "info");
        app.launch().await;
        let mut ledger = Ledger::of("the journal's queue is full of bytes", backend);
        hangs(&app, &points).await;
        // 32 KB each, of four bytes a character: far from the bound in records, they are past the one in bytes.
        let referrer = format!("https://example.org/{}", "\u{1d11e}".repeat(8100));
        let crowd = Crowd::of_batches(&app, 160, 7, &referrer).await;
        app.until("some are refused", async || app.metric(REFUSED_ITEMS).await > 0.0).await;
        let (queued, capacity) = (app.metric(QUEUED).await, app.metric(CAPACITY).await);
        assert!(queued < capacity / 2.0, "{queued} of {capacity} places are taken");
        points.disarm();
        crowd.finish(&mut ledger).await;
        let (counted, told) = (app.metric(REFUSED_ITEMS).await, ledger.refused() as f64);
        assert!(told > 0.0 && (counted - told).abs() < f64::EPSILON, "{counted} counted, {told} told");
        recovers(&app, &mut ledger).await;
    }
}

#[tokio::test]
async fn user_agent_pool_full_refuses_only_unknown_agents() {
    // The same user agent goes to the same parser: its mailbox, and some more.
    const CLIENTS: usize = pool::QUEUE + 200;
    const NEW_BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0";
    // Its crowd keeps the machine busy, and each body has ten seconds to arrive.
    let _alone = exclusive().await;
    assert_eq!(affordable(CLIENTS as u64), CLIENTS as u64, "this process may have too few files open");
    let (mut app, points) = prepared(Backend::Sqlite).await;
    app.set("WEIR_LOG", "info");
    app.launch().await;
    let mut ledger = Ledger::of("the user-agent pool is full", Backend::Sqlite);
    // Known from now on.
    assert!(visit(&app, &mut ledger, "early").await.is_some());
    let come = |user_agent: &str, page: &str| {
        let body = session_with(&json!({"landingPage": page})).to_string();
        app.client.post(app.url(SESSION)).header("user-agent", user_agent).body(body)
    };
    points.arm(&["actor.user_agent_parser=pause"]);
    let mut asked = 0;
    app.until("the parsers hang", async || {
        asked += 1;
        let unknown = come(&format!("Mozilla/5.0 (number {asked})"), "https://example.org/");
        unknown.timeout(Duration::from_secs(1)).send().await.is_err()
    })
    .await;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let page = format!("{PAGES}crowd/{number}");
        let request = come(NEW_BROWSER, &page);
        clients.spawn(async move {
            let created = weir_testkit::data(request.send().await.unwrap()).await;
            vec![(page, created["id"].as_str().map(str::to_owned))]
        });
    }
    let crowd = Crowd(clients);
    let too_many = (CLIENTS - pool::QUEUE) as f64;
    app.until("all have come", async || app.metric(REFUSED_LOOK_UPS).await >= too_many).await;
    let waiting = app.metric("weir_mailbox_messages{actor=\"user_agent_parser\"}").await;
    assert!(waiting >= pool::QUEUE as f64, "refused while {waiting} wait");
    assert!(visit(&app, &mut ledger, "known").await.is_some(), "who needs no parser waits for none");
    points.disarm();
    crowd.finish(&mut ledger).await;
    let told = ledger.refused() as f64;
    for counted in [app.metric(REFUSED_LOOK_UPS).await, app.outcomes("session", "unavailable").await] {
        assert!(told >= too_many && (counted - told).abs() < f64::EPSILON, "{counted} counted, {told} told");
    }
    let again = weir_testkit::data(come(NEW_BROWSER, "https://example.org/").send().await.unwrap()).await;
    assert!(again["id"].is_string(), "the new browser is known now");
    recovers(&app, &mut ledger).await;
}
