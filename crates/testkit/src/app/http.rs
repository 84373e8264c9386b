//! Requests to the server, and what became of them.

use serde_json::Value;

use super::TestApp;
use crate::{BROWSER, data, minimal_session};

/// Where sessions are made.
const SESSION: &str = "/api/v1/analytics/session";

impl TestApp {
    /// `POST` of a JSON body as a browser.
    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client
            .post(self.url(path))
            .header("user-agent", BROWSER)
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// `POST /api/v1/analytics/session`, and its answer's `data`.
    pub async fn create_session(&self, body: &Value) -> Value {
        succeeded(self.post(SESSION, body)).await
    }

    /// Sends a request for a session that must be stored, and reads its row.
    pub async fn stored(&self, request: reqwest::RequestBuilder) -> Value {
        let created = succeeded(request).await;
        self.session(created["id"].as_str().expect("stored")).await
    }

    /// Sends a request for a session that must be answered as if all were well, and not be stored.
    pub async fn discarded(&self, request: reqwest::RequestBuilder) {
        let position = async || self.metric("weir_journal_position{journal=\"analytics\"}").await;
        let before = position().await;
        assert_eq!(succeeded(request).await, serde_json::json!({"id": null}));
        let after = position().await;
        assert!((after - before).abs() < f64::EPSILON, "something was journalled: {before} before, {after} after");
    }

    /// After whatever was sent before, a good request is served and stored.
    pub async fn still_serves(&self) {
        self.stored(self.post(SESSION, &minimal_session())).await;
    }
}

/// The `data` of an answer that must be a success.
async fn succeeded(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    data(response).await
}
