//! What a server has done by now, and waiting until it has.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::TestApp;
use crate::{Database, PATIENCE};

/// How often it is asked whether something is so.
const ASK_EVERY: Duration = Duration::from_millis(10);

impl TestApp {
    /// Asks again and again until it is so. `what` is said when it never is.
    pub async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so().await {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Waits until both databases have everything that was acknowledged.
    pub async fn applied(&self) {
        self.until("both writers have applied everything", async || {
            let metrics = self.metrics().await;
            ["analytics", "main"].iter().all(|database| {
                metrics.contains(&format!("weir_writer_up{{database=\"{database}\"}} 1"))
                    && metrics.contains(&format!("weir_writer_lag_records{{database=\"{database}\"}} 0\n"))
            })
        })
        .await;
    }

    /// The rows of a query; see [`Databases::rows`](crate::Databases::rows).
    pub async fn rows(&self, database: Database, sql: &str) -> Vec<Value> {
        self.databases.rows(database, sql).await
    }

    /// The one session with this id, once the writer has applied it.
    pub async fn session(&self, id: &str) -> Value {
        self.applied().await;
        let rows = self.rows(Database::Analytics, &format!("SELECT * FROM analytics_sessions WHERE id = '{id}'")).await;
        assert_eq!(rows.len(), 1, "rows of session {id}");
        rows.into_iter().next().unwrap()
    }

    /// All that `/metrics` says.
    pub async fn metrics(&self) -> String {
        self.client.get(self.url("/metrics")).send().await.unwrap().text().await.unwrap()
    }

    /// The value of one series, e.g. `weir_journal_position{journal="main"}`; 0 when it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// How many requests ended so, over all statuses, e.g. of route `session` with outcome `bot`.
    pub async fn outcomes(&self, route: &str, outcome: &str) -> f64 {
        let start = format!("weir_requests_total{{outcome=\"{outcome}\",route=\"{route}\",");
        let metrics = self.metrics().await;
        let counts = metrics.lines().filter_map(|line| line.strip_prefix(&start)?.split_once(' '));
        counts.map(|(_, count)| count.parse::<f64>().unwrap()).sum()
    }
}
