//! Many clients at once: whatever the order in which their requests arrive, the counters are exact.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use weir_testkit::time;

use super::*;

const CLIENTS: usize = 50;
/// Sessions that one client has for itself, and sessions that all of them share.
const OWN: usize = 50;
const SHARED: usize = 50;
/// Views that each client opens in its own session, and in all shared ones together.
const VIEWS_OF_EACH: usize = 100;

#[derive(Debug)]
struct View {
    id: String,
    entered_at: DateTime<Utc>,
    duration: Option<f64>,
}

on_both_databases! {
    async fn pageviews_from_fifty_concurrent_clients_are_counted_exactly(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut sessions = Vec::new();
        for _ in 0..OWN + SHARED {
            sessions.push(begun(&app).await);
        }
        let sessions = Arc::new(sessions);
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (http, url, sessions) = (app.client.clone(), app.url(PAGEVIEW), Arc::clone(&sessions));
            clients.spawn(async move {
                let mut acknowledged = Vec::with_capacity(2 * VIEWS_OF_EACH);
                for number in 0..VIEWS_OF_EACH {
                    for session in [client, OWN + (client + number) % SHARED] {
                        let body = json!({"sessionId": sessions[session], "url": "https://example.org/a"}).to_string();
                        let answer = http.post(&url).header("user-agent", BROWSER).body(body).send().await.unwrap();
                        let id = data(answer).await["id"].as_str().expect("stored").to_owned();
                        acknowledged.push((sessions[session].clone(), id));
                    }
                }
                acknowledged
            });
        }
        let mut acknowledged: Vec<(String, String)> = clients.join_all().await.into_iter().flatten().collect();
        app.applied().await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let rows = app.rows(Database::Analytics, "SELECT * FROM analytics_pageviews ORDER BY id").await;
        let mut stored: Vec<_> = rows.iter().map(|row| (text(&row["session_id"]), text(&row["id"]))).collect();
        acknowledged.sort();
        stored.sort();
        assert_eq!(stored.len(), 2 * CLIENTS * VIEWS_OF_EACH);
        assert!(stored == acknowledged, "every acknowledged view is stored, once, and no other one");

        let mut views: HashMap<String, Vec<View>> = HashMap::new();
        for row in &rows {
            let (id, entered_at, duration) = (text(&row["id"]), time(&row["entered_at"]), row["duration"].as_f64());
            views.entry(text(&row["session_id"])).or_default().push(View { id, entered_at, duration });
        }
        let mut overtaken = 0;
        for (index, session) in sessions.iter().enumerate() {
            let views = &views[session];
            let rows = format!("SELECT * FROM analytics_sessions WHERE id = '{session}'");
            let row = app.rows(Database::Analytics, &rows).await.remove(0);
            assert_eq!((&row["page_views"], truth(&row["bounced"])), (&json!(views.len()), false));
            let latest = views.iter().map(|view| view.entered_at).max().unwrap();
            assert_eq!(time(&row["last_activity_at"]), latest);
            let unread = views.iter().filter(|view| view.duration.is_none()).count();
            if index < OWN {
                assert_eq!((views.len(), unread), (VIEWS_OF_EACH, 1));
                assert_eq!(views.last().unwrap().duration, None, "the last view is still being read");
                // What one client does one after the other lasts exactly until the next view.
                for pair in views.windows(2) {
                    let read = (pair[1].entered_at - pair[0].entered_at).as_seconds_f64();
                    assert!((pair[0].duration.unwrap() - read).abs() < 1e-9, "{pair:?}");
                }
                continue;
            }
            // Of two views at one moment the later one may be recorded first. It is the previous one of the other all
            // the same, unless it was entered after it; and the other one, whose id is lower, is nobody's previous one.
            overtaken += unread.saturating_sub(1);
            assert!(unread <= views.len() / 2, "{unread} of {} without a duration", views.len());
            for view in views {
                let Some(read) = view.duration else { continue };
                let ends = |later: &&View| {
                    later.id != view.id && ((later.entered_at - view.entered_at).as_seconds_f64() - read).abs() < 1e-9
                };
                assert!(read >= 0.0 && views.iter().any(|later| ends(&later)), "no view ends {view:?}");
            }
        }
        println!("{overtaken} of {} views were overtaken on their way to the journal", CLIENTS * VIEWS_OF_EACH);
    }
}
