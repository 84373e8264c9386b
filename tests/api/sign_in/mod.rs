//! Signing in: by a code, by another service's id token, or told by a company's own account service.

mod access_tokens;
mod codes;
mod external;
mod internal_users;
mod origin;

use serde_json::{Value, json};
use weir_testkit::{BROWSER, TestApp, bare};

pub const REQUEST_CODE: &str = "/auth/request-code";
pub const VERIFY: &str = "/auth/verify";
pub const EXTERNAL: &str = "/auth/external/verify";
/// A phone's browser.
pub const MOBILE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 \
                          (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1";

/// The codes that were written to the log for an address, the oldest first.
pub fn codes_in_log(app: &TestApp, address: &str) -> Vec<String> {
    let start = format!("sign-in code for {address} is ");
    app.log().lines().filter_map(|line| line.split_once(&start)).map(|(_, code)| code.trim().to_owned()).collect()
}

/// Asks for a code, and reads it from the log.
pub async fn code_for(app: &TestApp, address: &str) -> String {
    let stored = address.trim().to_lowercase();
    let before = codes_in_log(app, &stored).len();
    let response = app.post(REQUEST_CODE, &json!({"email": address})).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(bare(response).await, json!({"sent": true}));
    app.until("the code is in the log", async || codes_in_log(app, &stored).len() > before).await;
    codes_in_log(app, &stored).pop().unwrap()
}

/// A code that is not this one.
pub fn another(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

pub fn verify(app: &TestApp, email: &str, code: &str) -> reqwest::RequestBuilder {
    app.post(VERIFY, &json!({"email": email, "code": code}))
}

/// What is answered to somebody who is signed in.
pub async fn signed_in(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    let status = response.status();
    let answer = bare(response).await;
    assert_eq!(status, 200, "{answer}");
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&answer), ["accessToken", "isNewUser", "user"], "{answer}");
    assert_eq!(keys(&answer["user"]), ["createdAt", "email", "id", "invitedBy", "referralCode"], "{answer}");
    answer
}

/// Signs in with a code from the log.
pub async fn sign_in(app: &TestApp, email: &str, visitor: Option<&str>) -> Value {
    sign_in_as(app, email, visitor, BROWSER, "XX").await
}

/// Signs in with this browser from this country.
pub async fn sign_in_as(app: &TestApp, email: &str, visitor: Option<&str>, agent: &str, country: &str) -> Value {
    let code = code_for(app, email).await;
    let body = json!({"email": email, "code": code, "visitorToken": visitor});
    let request = app.client.post(app.url(VERIFY)).header("user-agent", agent).header("cf-ipcountry", country);
    signed_in(request.body(body.to_string())).await
}

/// The only thing that is ever said of a code that does not pass.
pub async fn is_refused(request: reqwest::RequestBuilder, why: &str) {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 401, "{why}");
    assert_eq!(bare(response).await, json!({"message": "auth.code.invalid"}), "{why}");
}
