//! Clients that send sessions, and an event after every fourth, each the next when the last is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use weir_testkit::{TestApp, access_token, session_with};

use super::ledger::{Account, Ledger, PAGES};

/// After so many requests in a row without an answer the server is gone.
const GONE: u32 = 20;

/// A running load.
pub struct Load {
    clients: JoinSet<Seen>,
    go_on: Arc<AtomicBool>,
}

#[derive(Default)]
struct Seen {
    sessions: Account,
    events: Account,
    unanswered: u64,
    longest: Duration,
}

impl Load {
    /// Clients that go on until they are told to stop, or the server is gone. No two loads of a test share a tag.
    pub fn start(app: &TestApp, clients: usize, tag: &str) -> Self {
        let go_on = Arc::new(AtomicBool::new(true));
        let mut load = Self { clients: JoinSet::new(), go_on: Arc::clone(&go_on) };
        for number in 0..clients {
            let client = Client {
                http: app.client.clone(),
                session_url: app.url("/api/v1/analytics/session"),
                event_url: app.url("/api/v1/analytics/track"),
                token: access_token(&format!("user-{number}")),
                tag: format!("{tag}/{number}"),
            };
            load.clients.spawn(client.run(Arc::clone(&go_on)));
        }
        load
    }

    /// Lets every client finish its request, and adds up what they saw.
    pub async fn finish(self, ledger: &mut Ledger) {
        self.go_on.store(false, Ordering::Relaxed);
        for seen in self.clients.join_all().await {
            ledger.sessions.add(seen.sessions);
            ledger.events.add(seen.events);
            ledger.unanswered += seen.unanswered;
            ledger.longest = ledger.longest.max(seen.longest);
        }
    }
}

struct Client {
    http: reqwest::Client,
    session_url: String,
    event_url: String,
    token: String,
    tag: String,
}

impl Client {
    async fn run(self, go_on: Arc<AtomicBool>) -> Seen {
        let mut seen = Seen::default();
        let mut in_vain = 0;
        let mut newest = String::new();
        while go_on.load(Ordering::Relaxed) && in_vain < GONE {
            let number = seen.sessions.sent + seen.events.sent;
            let name = format!("{}/{number}", self.tag);
            let began = Instant::now();
            let is_event = number % 5 == 4;
            let answer = if is_event {
                seen.events.sent += 1;
                let event = self.http.post(&self.event_url).bearer_auth(&self.token);
                answer(event.body(json!({"event": name}).to_string())).await
            } else {
                seen.sessions.sent += 1;
                let page = format!("{PAGES}{name}");
                answer(self.http.post(&self.session_url).body(session_with(&json!({"landingPage": page})).to_string()))
                    .await
            };
            let Some(answer) = answer else {
                seen.unanswered += 1;
                in_vain += 1;
                // A closed port answers at once.
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            in_vain = 0;
            seen.longest = seen.longest.max(began.elapsed());
            if is_event {
                if answer["data"]["tracked"] == true {
                    seen.events.acknowledged.insert(name);
                } else {
                    seen.events.refused.insert(name);
                }
            } else if let Some(id) = answer["data"]["id"].as_str() {
                assert!(id > newest.as_str(), "{id} was given after {newest}");
                id.clone_into(&mut newest);
                seen.sessions.acknowledged.insert(id.to_owned());
            } else {
                seen.sessions.refused.insert(format!("{PAGES}{name}"));
            }
        }
        seen
    }
}

/// One session beside a load, under a name that no other has: its id, or `None` when it was refused.
pub async fn visit(app: &TestApp, ledger: &mut Ledger, name: &str) -> Option<String> {
    let page = format!("{PAGES}{name}");
    let began = Instant::now();
    let created = app.create_session(&session_with(&json!({"landingPage": page}))).await;
    ledger.longest = ledger.longest.max(began.elapsed());
    let id = created["id"].as_str().map(str::to_owned);
    ledger.session(page, id.clone());
    id
}

/// The answer's body, or `None` when there was none.
async fn answer(request: reqwest::RequestBuilder) -> Option<Value> {
    let response = request.header("user-agent", weir_testkit::BROWSER).send().await.ok()?;
    let text = response.text().await.ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}")))
}
