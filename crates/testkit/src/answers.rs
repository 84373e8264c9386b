//! What is sent and what comes back: bodies, tokens, answers, columns.

use serde_json::Value;

use crate::{JWT_SECRET, keys};

/// A valid access token of this user.
pub fn access_token(user: &str) -> String {
    signed_with_secret(&serde_json::json!({"sub": user, "exp": keys::now_seconds() + 3600}))
}

/// An access token with these claims, signed with the shared secret.
pub fn signed_with_secret(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

/// The body of an answer without an envelope.
pub async fn bare(response: reqwest::Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// An enveloped answer's `data`.
pub async fn data(response: reqwest::Response) -> Value {
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(body["success"], true, "{body}");
    body["data"].clone()
}

/// An enveloped answer's `error`.
pub async fn error(response: reqwest::Response) -> Value {
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(body["success"], false, "{body}");
    body["error"].clone()
}

/// The smallest body that makes a session.
pub fn minimal_session() -> Value {
    serde_json::json!({"visitorId": "visitor-1", "landingPage": "https://example.org/", "consentAnalytics": "granted"})
}

/// The minimal session with some fields set or, with `null`, removed.
pub fn session_with(fields: &Value) -> Value {
    let mut body = minimal_session();
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// A header's text; `None` when the answer has no such header.
pub fn header<'a>(response: &'a reqwest::Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// A time of an answer or of a row, whichever way the engine writes it.
pub fn time(value: &Value) -> chrono::DateTime<chrono::Utc> {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    chrono::DateTime::parse_from_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_utc()
}

/// A boolean of a row, whichever way the engine keeps it.
pub fn truth(value: &Value) -> bool {
    value
        .as_bool()
        .or_else(|| value.as_i64().map(|number| number == 1))
        .unwrap_or_else(|| panic!("{value} is no truth"))
}
