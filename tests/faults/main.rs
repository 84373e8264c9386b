//! What breaks in production, broken on purpose: nothing acknowledged is missing, nothing is there twice.

#[path = "../support/mod.rs"]
mod support;

mod database_away;
mod kill;
mod network;
mod overfull;
mod position;
mod shutdown;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Backend, Database, TestApp, session_with};
use tokio::task::JoinSet;

/// Unthrottled: these tests are about durability.
const OPEN: [(&str, &str); 2] = [("WEIR_THROTTLE__SESSION", "0"), ("WEIR_THROTTLE__CONSENT", "0")];

/// What the clients saw.
#[derive(Default)]
struct Ledger {
    sent: u64,
    acknowledged: BTreeSet<String>,
    refused: u64,
    longest: Duration,
}

/// Clients that post sessions until they are told to stop, or the server is gone. Every request has a landing page of
/// its own, so that a doubled record shows whatever its id.
struct Load {
    clients: JoinSet<Ledger>,
    go_on: Arc<AtomicBool>,
}

impl Load {
    fn start(app: &TestApp, clients: usize, tag: &str) -> Self {
        let go_on = Arc::new(AtomicBool::new(true));
        let mut load = Self { clients: JoinSet::new(), go_on: Arc::clone(&go_on) };
        for client in 0..clients {
            let (go_on, tag) = (Arc::clone(&go_on), tag.to_owned());
            let (http, url) = (app.client.clone(), app.url("/api/v1/analytics/session"));
            load.clients.spawn(async move {
                let mut ledger = Ledger::default();
                while go_on.load(Ordering::Relaxed) {
                    let page = format!("https://example.org/{tag}/{client}/{}", ledger.sent);
                    let body = session_with(&json!({"landingPage": page})).to_string();
                    ledger.sent += 1;
                    let request = http.post(&url).header("user-agent", support::BROWSER).body(body);
                    let began = Instant::now();
                    let Ok(response) = request.send().await else { break };
                    let Ok(text) = response.text().await else { break };
                    ledger.longest = ledger.longest.max(began.elapsed());
                    let answer: Value = serde_json::from_str(&text).unwrap();
                    match answer["data"]["id"].as_str() {
                        Some(id) => assert!(ledger.acknowledged.insert(id.to_owned()), "{id} was given twice"),
                        None => ledger.refused += 1,
                    }
                }
                ledger
            });
        }
        load
    }

    /// Lets every client finish its request, and adds up what they saw.
    async fn finish(self, ledger: &mut Ledger) {
        self.go_on.store(false, Ordering::Relaxed);
        for seen in self.clients.join_all().await {
            ledger.sent += seen.sent;
            ledger.refused += seen.refused;
            ledger.longest = ledger.longest.max(seen.longest);
            ledger.acknowledged.extend(seen.acknowledged);
        }
    }
}

/// Holds the ledger against the database.
async fn settle(app: &TestApp, ledger: &Ledger) {
    settle_with(app, ledger, 0).await;
}

/// The same, beside so many sessions that share a landing page and are in no ledger.
async fn settle_with(app: &TestApp, ledger: &Ledger, others: usize) {
    app.applied().await;
    let rows = app.rows(Database::Analytics, "SELECT id, landing_page FROM analytics_sessions").await;
    let stored: BTreeSet<String> = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    let pages: BTreeSet<&str> = rows.iter().map(|row| row["landing_page"].as_str().unwrap()).collect();
    let missing = ledger.acknowledged.difference(&stored).count();
    let doubled = rows.len() + usize::from(others > 0) - others - pages.len();
    println!(
        "sent {}, acknowledged {}, refused {}, stored {}, missing {missing}, doubled {doubled}, longest answer {} ms",
        ledger.sent,
        ledger.acknowledged.len(),
        ledger.refused,
        rows.len(),
        ledger.longest.as_millis()
    );
    assert_eq!((missing, doubled), (0, 0), "missing, doubled");
    assert!((rows.len() - others) as u64 <= ledger.sent);
}
