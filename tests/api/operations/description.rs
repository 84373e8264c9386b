//! `/openapi.json` and `/docs`: the interface as it describes itself.

use serde_json::Value;
use weir_testkit::{Backend, TestApp, header};

async fn get(app: &TestApp, path: &str) -> reqwest::Response {
    app.client.get(app.url(path)).send().await.unwrap()
}

#[tokio::test]
async fn openapi_document_lists_every_route() {
    let app = TestApp::start(Backend::Sqlite).await;
    let response = get(&app, "/openapi.json").await;
    assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, Some("application/json")));
    let description: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"), "{}", description["openapi"]);
    let operations: Vec<String> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let expected = [
        "POST /api/v1/analytics/batch",
        "POST /api/v1/analytics/pageview",
        "PATCH /api/v1/analytics/pageview/{id}/leave",
        "POST /api/v1/analytics/pageview/{id}/leave",
        "POST /api/v1/analytics/session",
        "PATCH /api/v1/analytics/session/{id}/heartbeat",
        "PATCH /api/v1/analytics/session/{id}/identify",
        "POST /api/v1/analytics/track",
        "POST /api/v1/consent/cookies",
        "GET /api/v1/consent/cookies/policy",
        "GET /api/v1/consent/cookies/status",
        "GET /api/v1/users/attribution",
        "GET /api/v1/users/consent",
        "POST /auth/external/verify",
        "POST /auth/request-code",
        "POST /auth/verify",
        "GET /health/live",
        "GET /health/ready",
        "POST /internal/v1/users",
        "GET /metrics",
        "POST /track/init",
    ];
    let mut found = operations.clone();
    found.sort_unstable();
    let mut expected = expected.map(str::to_owned);
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn docs_page_loads_nothing_external() {
    let app = TestApp::start(Backend::Sqlite).await;
    let response = get(&app, "/docs").await;
    assert_eq!(response.status(), 200);
    assert!(header(&response, "content-type").unwrap().starts_with("text/html"));
    let page = response.text().await.unwrap();
    assert!(!page.contains("://") && !page.contains("src=\"//"), "{page}");
    let files: Vec<&str> = ["href=\"", "src=\""]
        .iter()
        .flat_map(|attribute| page.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()))
        .filter(|file| !file.starts_with("data:"))
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        let response = get(&app, &format!("/{file}")).await;
        assert_eq!(response.status(), 200, "{file}");
        assert!(header(&response, "x-request-id").is_some());
        assert!(response.bytes().await.unwrap().len() > 10_000, "{file}");
    }
}

#[tokio::test]
async fn docs_page_serves_no_other_paths() {
    let app = TestApp::start(Backend::Sqlite).await;
    for path in ["/docs//", "/docs/index.html", "/docs/swagger-initializer.js", "/docs/../secrets.toml", "/docs/%2e%2e"]
    {
        assert_eq!(get(&app, path).await.status(), 404, "{path}");
    }
    let response = app.client.post(app.url("/openapi.json")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "allow")), (405, Some("GET, HEAD")));
}
