//! `POST /api/v1/analytics/session`

use serde_json::json;

use crate::on_both_databases;
use crate::support::{Backend, TestApp, minimal_session};

on_both_databases! {
    async fn a_session_is_a_row_in_the_analytics_database(backend) {
        let app = TestApp::start(backend).await;
        let created = app.create_session(&minimal_session()).await;
        let row = app.session(created["id"].as_str().unwrap()).await;
        assert_eq!(row["landing_page"], json!("https://example.org/"));
    }
}
