//! What a newcomer does first: paste what the server prints, and what the README says.

use std::process::Command;

use serde_json::{Value, json};
use weir_testkit::{Backend, Database, TestApp};

/// Runs a shell script beside the server, and gives back what it printed.
fn shell(app: &TestApp, script: &str) -> String {
    let output =
        Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(app.directory.path()).output();
    let output = output.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{script}\n{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    printed
}

#[tokio::test]
async fn banner_curl_lines_succeed_as_pasted() {
    let app = TestApp::start(Backend::Sqlite).await;
    let curl_lines = || app.printed().into_iter().filter(|line| line.trim().starts_with("curl ")).collect::<Vec<_>>();
    app.until("both lines are printed", async || curl_lines().len() == 2).await;
    let pasted = curl_lines();
    let created: Value = serde_json::from_str(&shell(&app, &pasted[0])).unwrap();
    app.session(created["data"]["id"].as_str().unwrap()).await;
    let saved: Value = serde_json::from_str(&shell(&app, &pasted[1])).unwrap();
    assert_eq!(saved, json!({"success": true, "data": {"saved": true}}));
    app.applied().await;
    assert_eq!(app.databases.count(Database::Main, "SELECT count(*) AS n FROM consent_records").await, 1);
}

/// The shell examples of one section.
fn blocks<'a>(readme: &'a str, section: &str) -> Vec<&'a str> {
    let section = readme.split(&format!("\n## {section}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

#[tokio::test]
async fn funnel_script_stores_whole_way_of_a_visitor() {
    let app = TestApp::start(Backend::Sqlite).await;
    let log = app.directory.path().join("weir.log");
    let funnel = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/funnel");
    let printed = shell(&app, &format!("{funnel} --log {} {}", log.display(), app.url("")));
    let answers: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 12);
    let attribution = &answers[answers.len() - 2]["data"];
    assert_eq!(attribution.as_object().unwrap().len(), 13);
    assert_eq!((&attribution["utmCampaign"], &attribution["firstLandingPage"]), (&json!("spring"), &json!("/welcome")));
    assert_eq!(answers.last().unwrap()["data"]["requiresReConsent"], json!(true));
    app.applied().await;
    let users = app.rows(Database::Main, "SELECT id FROM users").await;
    let sessions = app.rows(Database::Analytics, "SELECT user_id, page_views, duration FROM analytics_sessions").await;
    assert_eq!(sessions, [json!({"user_id": users[0]["id"], "page_views": 1, "duration": 30})]);
    let views = app.rows(Database::Analytics, "SELECT duration, scroll_depth FROM analytics_pageviews").await;
    assert_eq!(views, [json!({"duration": 12.5, "scroll_depth": 80.0})]);
    assert_eq!(app.databases.count(Database::Main, "SELECT count(*) AS n FROM funnel_events").await, 1);
}

#[tokio::test]
async fn readme_tour_runs_as_pasted() {
    let app = TestApp::start(Backend::Sqlite).await;
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks = blocks(&readme, "Five minutes");
    assert!(blocks.len() >= 6, "the tour has lost its examples");
    // The server is this test's own, and the rows are looked at below rather than with a program that may be missing.
    let variables: String = app.variables().iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
    let script = blocks
        .concat()
        .replace("http://127.0.0.1:8080", &app.url(""))
        .replace("cargo run --release --quiet --", env!("CARGO_BIN_EXE_weir"));
    let script: String =
        script.lines().filter(|line| !line.starts_with("sqlite3 ")).map(|line| format!("{line}\n")).collect();
    let printed = shell(&app, &(variables + &script));
    assert_eq!(printed.matches("\"createdAt\"").count(), 2, "{printed}");
    assert_eq!(printed.matches("{\"id\":null}").count(), 1, "{printed}");
    assert!(printed.contains("{\"saved\":true}") && printed.contains("\"status\":\"ready\""), "{printed}");
    app.applied().await;
    let sessions = app.rows(Database::Analytics, "SELECT bio_page_id FROM analytics_sessions ORDER BY id").await;
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[1]["bio_page_id"], json!("11111111-2222-3333-4444-555555555555"));
    let consents = app.rows(Database::Main, "SELECT user_id FROM consent_records").await;
    assert_eq!(consents, [json!({"user_id": "alice"})]);
}
