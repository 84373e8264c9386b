//! `POST /api/v1/analytics/session`: each field's rule, in the words that clients parse.

use serde_json::{Value, json};
use weir_testkit::{
    Backend, Database, TestApp, UNTHROTTLED, error, header, minimal_session, on_both_databases, session_with,
};

use crate::SESSION;

/// Every string with its maximum, in the order in which violations are listed.
const STRINGS: [(&str, usize); 19] = [
    ("visitorId", 1024),
    ("landingPage", 8192),
    ("consentAnalytics", 50),
    ("bioPageId", 1024),
    ("creatorId", 1024),
    ("referrer", 8192),
    ("utmSource", 1024),
    ("utmMedium", 1024),
    ("utmCampaign", 1024),
    ("utmTerm", 1024),
    ("utmContent", 1024),
    ("language", 1024),
    ("device", 1024),
    ("browser", 1024),
    ("os", 1024),
    ("osVersion", 20),
    ("connectionType", 20),
    ("timezone", 50),
    ("trackingToken", 1024),
];
const REQUIRED: [&str; 2] = ["visitorId", "landingPage"];
const SCREEN: [&str; 2] = ["screenWidth", "screenHeight"];

/// What is wrong with the body: each entry's field and message.
async fn violations(app: &TestApp, body: &Value) -> Vec<(String, String)> {
    let response = app.post(SESSION, body).send().await.unwrap();
    assert_eq!(response.status(), 400, "{body}");
    let id = header(&response, "x-request-id").unwrap().to_owned();
    let error = error(response).await;
    assert_eq!(error["code"], "VALIDATION_ERROR");
    assert_eq!(error["correlationId"], json!(id));
    assert!(error["message"].is_string() && error["i18nKey"].is_string() && error["i18nVars"].is_object(), "{error}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let details = error["details"].as_array().unwrap();
    details.iter().map(|detail| (text(&detail["field"]), text(&detail["message"]))).collect()
}

async fn messages(app: &TestApp, fields: Value) -> Vec<String> {
    let violations = violations(app, &session_with(&fields)).await;
    for (field, message) in &violations {
        assert!(fields.get(field).is_some() && message.starts_with(&format!("{field} ")), "{field}: {message}");
    }
    violations.into_iter().map(|(_, message)| message).collect()
}

/// A body that validation lets pass; whether it is stored is another question.
async fn passes(app: &TestApp, fields: Value) {
    let response = app.post(SESSION, &session_with(&fields)).send().await.unwrap();
    assert_eq!(response.status(), 200, "{fields}");
}

/// After everything that was refused: nothing of it is stored, and a good session is.
async fn nothing_but_the_control_is_stored(app: &TestApp) {
    app.still_serves().await;
    assert_eq!(app.databases.count(Database::Analytics, "SELECT count(*) FROM analytics_sessions").await, 1);
}

#[tokio::test]
async fn session_string_over_maximum_is_refused() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let is_refused = |field: &str, max: usize| max <= 50 || REQUIRED.contains(&field);
    for (field, max) in STRINGS.into_iter().filter(|(field, max)| is_refused(field, *max)) {
        let found = messages(&app, json!({field: "ü".repeat(max + 1)})).await;
        assert_eq!(found, [format!("{field} must be shorter than or equal to {max} characters")]);
    }
    nothing_but_the_control_is_stored(&app).await;
    for (field, max) in STRINGS.into_iter().filter(|(field, max)| !is_refused(field, *max)) {
        passes(&app, json!({field: "ü".repeat(max + 1)})).await;
        assert_eq!(app.metric(&format!("weir_fields_cut_total{{field=\"{field}\"}}")).await, 1.0, "{field}");
    }
    for (field, max) in STRINGS {
        passes(&app, json!({field: "😀".repeat(max)})).await;
    }
}

on_both_databases! {
    async fn session_optional_text_too_long_is_cut(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let fields = json!({"utmContent": "😀".repeat(1100), "referrer": format!("https://example.org/{}", "r".repeat(9000))});
        let row = app.stored(app.post(SESSION, &session_with(&fields))).await;
        assert_eq!(row["utm_content"], json!("😀".repeat(1024)));
        assert_eq!(row["referrer"], json!(format!("https://example.org/{}", "r".repeat(8172))));
        assert_eq!(row["referrer_domain"], json!("example.org"));
    }

    async fn session_utm_field_missing_comes_from_the_landing_page(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let fields = json!({
            "landingPage": "https://example.org/?utm_source=news&utm_medium=mail&utm_campaign=a%26b#utm_term=x", "utmMedium": "own",
            "utmCampaign": "",
        });
        let row = app.stored(app.post(SESSION, &session_with(&fields))).await;
        let columns = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"].map(|column| &row[column]);
        assert_eq!(columns, [&json!("news"), &json!("own"), &json!("a&b"), &json!(null), &json!(null)]);
    }
}

#[tokio::test]
async fn session_request_as_lenient_clients_send_it_is_stored() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let marked = [b"\xef\xbb\xbf", minimal_session().to_string().as_bytes()].concat();
    let slash = format!("{SESSION}/");
    for (path, body) in [(SESSION, marked), (&slash, minimal_session().to_string().into_bytes())] {
        let request = app.client.post(app.url(path)).header("content-type", "application/json").body(body);
        app.stored(request).await;
    }
    for (path, status) in [(format!("{SESSION}//"), 404), (format!("{SESSION}/x/"), 404), ("//".to_owned(), 404)] {
        let request = app.client.post(app.url(&path)).header("content-type", "application/json").body("{}");
        assert_eq!(request.send().await.unwrap().status(), status, "{path}");
    }
    let twice = app.client.post(app.url(SESSION)).body("\u{feff}\u{feff}{}").send().await.unwrap();
    assert_eq!(twice.status(), 400);
}

#[tokio::test]
async fn session_string_with_nul_is_refused() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for (field, _) in STRINGS {
        for text in ["\0", "a\0b", "granted\0"] {
            assert_eq!(
                messages(&app, json!({field: text})).await,
                [format!("{field} must not contain a NUL character")],
                "{text:?}"
            );
        }
    }
    nothing_but_the_control_is_stored(&app).await;
}

#[tokio::test]
async fn session_string_of_other_type_is_refused() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for (field, _) in STRINGS {
        for value in [json!(1), json!(1.5), json!(true), json!(["granted"]), json!({"a": "b"})] {
            let found = messages(&app, json!({field: value})).await;
            assert!(found.contains(&format!("{field} must be a string")), "{field} = {value}: {found:?}");
        }
    }
    nothing_but_the_control_is_stored(&app).await;
}

#[tokio::test]
async fn session_required_field_missing_or_empty_is_refused() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    for field in REQUIRED {
        assert_eq!(messages(&app, json!({field: ""})).await, [format!("{field} should not be empty")]);
        let missing = [format!("{field} should not be empty"), format!("{field} must be a string")];
        assert_eq!(messages(&app, json!({field: null})).await, missing);
        let mut body = minimal_session();
        body.as_object_mut().unwrap().remove(field);
        let found: Vec<String> = violations(&app, &body).await.into_iter().map(|(_, message)| message).collect();
        assert_eq!(found, missing);
    }
    nothing_but_the_control_is_stored(&app).await;
}

#[tokio::test]
async fn session_optional_null_counts_as_absent() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let mut body = minimal_session();
    let optional = STRINGS.iter().map(|(field, _)| *field).filter(|field| body.get(field).is_none());
    for field in optional.chain(SCREEN).collect::<Vec<_>>() {
        body[field] = json!(null);
    }
    let with_nulls = app.stored(super::without_user_agent(&app, &body)).await;
    let without = app.stored(super::without_user_agent(&app, &minimal_session())).await;
    for (column, value) in with_nulls.as_object().unwrap() {
        if !["id", "started_at", "last_activity_at"].contains(&column.as_str()) {
            assert_eq!(value, &without[column], "{column}");
        }
    }
    app.discarded(app.post(SESSION, &session_with(&json!({"consentAnalytics": null})))).await;
}

#[tokio::test]
async fn session_optional_empty_string_counts_as_absent() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let fields =
        json!({"utmSource": "", "language": "", "osVersion": "", "timezone": "", "bioPageId": "", "creatorId": ""});
    let row = app.stored(super::without_user_agent(&app, &session_with(&fields))).await;
    for column in ["utm_source", "language", "os_version", "timezone", "bio_page_id", "creator_id"] {
        assert_eq!(row[column], json!(null), "{column}");
    }
}

#[tokio::test]
async fn session_screen_size_out_of_bounds_is_refused() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let greater = "must not be greater than 7680";
    let less = "must not be less than 0";
    let whole = "must be an integer number";
    for field in SCREEN {
        for (value, expected) in [
            (json!(7681), vec![greater]),
            (json!(1e300), vec![greater]),
            (json!(u64::MAX), vec![greater]),
            (json!(-1), vec![less]),
            (json!(i64::MIN), vec![less]),
            (json!(0.5), vec![whole]),
            (json!(-0.5), vec![less, whole]),
            (json!(7680.5), vec![greater, whole]),
        ] {
            let expected: Vec<String> = expected.iter().map(|rule| format!("{field} {rule}")).collect();
            assert_eq!(messages(&app, json!({field: value})).await, expected, "{value}");
        }
        for value in [json!("390"), json!(true), json!([390]), json!({}), json!("")] {
            let found = messages(&app, json!({field: value})).await;
            assert!(found.contains(&format!("{field} {whole}")), "{field} = {value}: {found:?}");
        }
    }
    nothing_but_the_control_is_stored(&app).await;
    for (value, stored) in [(json!(0), 0), (json!(7680), 7680), (json!(390.0), 390), (json!(-0.0), 0)] {
        let fields = json!({"screenWidth": value, "screenHeight": value});
        let row = app.stored(app.post(SESSION, &session_with(&fields))).await;
        assert_eq!((&row["screen_width"], &row["screen_height"]), (&json!(stored), &json!(stored)), "{value}");
    }
}

#[tokio::test]
async fn session_violations_are_all_listed_in_field_order() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let mut order: Vec<&str> = STRINGS.iter().map(|(field, _)| *field).collect();
    order.splice(order.len() - 1..order.len() - 1, SCREEN);
    // The body has the fields in another order than the answer.
    let pairs: Vec<String> = order.iter().rev().map(|field| format!("\"{field}\":[]")).collect();
    let response = app.client.post(app.url(SESSION)).header("user-agent", weir_testkit::BROWSER);
    let response = response.body(format!("{{{}}}", pairs.join(","))).send().await.unwrap();
    assert_eq!(response.status(), 400);
    let error = error(response).await;
    let mut found: Vec<&str> =
        error["details"].as_array().unwrap().iter().map(|detail| detail["field"].as_str().unwrap()).collect();
    found.dedup();
    assert_eq!(found, order);

    let fields = json!({"visitorId": "", "utmTerm": "\0", "osVersion": "123456789012345678901", "screenHeight": 7681});
    let expected = [
        "visitorId should not be empty",
        "utmTerm must not contain a NUL character",
        "osVersion must be shorter than or equal to 20 characters",
        "screenHeight must not be greater than 7680",
    ];
    assert_eq!(messages(&app, fields).await, expected);
    let both = messages(&app, json!({"timezone": format!("{}\0", "x".repeat(50))})).await;
    let expected =
        ["timezone must be shorter than or equal to 50 characters", "timezone must not contain a NUL character"];
    assert_eq!(both, expected);
    nothing_but_the_control_is_stored(&app).await;
}

#[tokio::test]
async fn session_unknown_fields_are_ignored() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let fields = json!({"id": 7, "visitor_id": [], "utm_source": "x", "VISITORID": null, "extra": {"deep": ["a\0b"]}});
    let row = app.stored(app.post(SESSION, &session_with(&fields))).await;
    assert_eq!(row["utm_source"], json!(null));
}
