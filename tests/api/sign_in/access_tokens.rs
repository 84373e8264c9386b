//! Access tokens on a route that wants one: what passes names a user, everything else is refused alike.

use weir_testkit::keys::{ED25519, P256_1, P256_2, RSA, Signer, confused, now_seconds, unsigned, write_set};
use weir_testkit::{Backend, JWT_SECRET, UNTHROTTLED, error, header, signed_with_secret};

use super::*;
use crate::visitors::user;

const ROUTE: &str = "/api/v1/users/attribution";

/// The status of the route for this `Authorization` header.
async fn status(app: &TestApp, authorization: &str) -> u16 {
    let response = app.client.get(app.url(ROUTE)).header("authorization", authorization).send().await.unwrap();
    let status = response.status().as_u16();
    if status == 401 {
        assert_eq!(header(&response, "www-authenticate"), Some("Bearer"), "{authorization}");
        let error = error(response).await;
        assert_eq!((&error["code"], &error["i18nKey"]), (&json!("AUTH_UNAUTHORIZED"), &json!("auth.unauthorized")));
        assert_eq!(error["details"], json!([]), "nothing tells why");
    }
    status
}

fn good() -> Value {
    json!({"sub": "user-1", "exp": now_seconds() + 60})
}

fn with(changes: &Value) -> Value {
    let mut claims = good();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// Claims that name nobody, or not now.
fn bad_claims() -> Vec<(&'static str, Value)> {
    vec![
        ("expired", with(&json!({"exp": now_seconds() - 40}))),
        ("no exp", json!({"sub": "user-1"})),
        ("an exp of the wrong type", with(&json!({"exp": "tomorrow"}))),
        ("not yet valid", with(&json!({"nbf": now_seconds() + 60}))),
        ("an nbf of the wrong type", with(&json!({"nbf": "now"}))),
        ("no user", json!({"exp": now_seconds() + 60})),
        ("a user of the wrong type", with(&json!({"sub": 7.5}))),
        ("an empty user", with(&json!({"sub": ""}))),
        ("a user that is too long", with(&json!({"sub": "x".repeat(256)}))),
        ("a user with a NUL", with(&json!({"sub": "user-1\0"}))),
        ("claims of the wrong type", json!(["user-1"])),
    ]
}

#[tokio::test]
async fn access_token_with_shared_secret_accepts_only_hs256() {
    let app = TestApp::start(Backend::Sqlite).await;
    user(&app, "user-1", "h", "c").await;
    for claims in [
        good(),
        with(&json!({"exp": now_seconds() - 20})),
        with(&json!({"nbf": now_seconds() + 20})),
        with(&json!({"aud": "another", "iss": "anybody", "id": "user-2"})),
        json!({"id": "user-1", "exp": now_seconds() + 60}),
    ] {
        assert_eq!(status(&app, &format!("Bearer {}", signed_with_secret(&claims))).await, 200, "{claims}");
    }
    let token = signed_with_secret(&good());
    for (why, claims) in bad_claims() {
        assert_eq!(status(&app, &format!("Bearer {}", signed_with_secret(&claims))).await, 401, "{why}");
    }
    let in_hs512 = jsonwebtoken::encode(
        &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS512),
        &good(),
        &jsonwebtoken::EncodingKey::from_secret(JWT_SECRET.as_bytes()),
    )
    .unwrap();
    for (why, token) in [
        ("alg none", unsigned("none", "1", &good())),
        ("alg NONE", unsigned("NONE", "1", &good())),
        ("no signature", unsigned("HS256", "1", &good())),
        ("another secret", confused("HS256", "1", "another secret", &good())),
        ("another hash", in_hs512),
        ("a private key of nobody's", RSA.sign(None, &good())),
        ("a changed signature", format!("{}x", &token[..token.len() - 1])),
        ("half a token", token[..token.len() / 2].to_owned()),
        ("nothing", String::new()),
    ] {
        assert_eq!(status(&app, &format!("Bearer {token}")).await, 401, "{why}");
    }
    for authorization in
        [token.clone(), format!("Basic {token}"), format!("Bearer{token}"), "Bearer".to_owned(), "ü".to_owned()]
    {
        assert_eq!(status(&app, &authorization).await, 401, "{authorization}");
    }
    let none = app.client.get(app.url(ROUTE)).send().await.unwrap();
    assert_eq!((none.status().as_u16(), header(&none, "www-authenticate")), (401, Some("Bearer")));
}

/// A server that has only the public half of this key.
async fn with_public_key(signer: Signer) -> TestApp {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    for (name, value) in UNTHROTTLED {
        app.set(name, value);
    }
    let file = app.directory.path().join("key");
    std::fs::write(&file, signer.public).unwrap();
    app.unset("WEIR_JWT_SECRET");
    app.set("WEIR_JWT_PUBLIC_KEY_FILE", file.to_str().unwrap());
    app.launch().await;
    user(&app, "user-1", "h", "c").await;
    app
}

#[tokio::test]
async fn access_token_with_public_key_accepts_only_owner_signatures() {
    for (signer, stranger) in [(RSA, P256_1), (P256_1, P256_2), (ED25519, RSA)] {
        let app = with_public_key(signer).await;
        let algorithm = format!("{:?}", signer.algorithm);
        for kid in [None, Some("any")] {
            assert_eq!(status(&app, &format!("Bearer {}", signer.sign(kid, &good()))).await, 200, "{algorithm}");
        }
        for (why, claims) in bad_claims() {
            let token = signer.sign(None, &claims);
            assert_eq!(status(&app, &format!("Bearer {token}")).await, 401, "{algorithm}: {why}");
        }
        for (why, token) in [
            ("alg none", unsigned("none", "1", &good())),
            ("no signature", unsigned(&algorithm, "1", &good())),
            ("the public key as a secret", confused("HS256", "1", signer.public, &good())),
            ("the public key as a secret, trimmed", confused("HS256", "1", signer.public.trim(), &good())),
            ("an HMAC by another name", confused(&algorithm, "1", signer.public, &good())),
            ("another key", stranger.sign(None, &good())),
            ("the secret that would be shared otherwise", signed_with_secret(&good())),
        ] {
            assert_eq!(status(&app, &format!("Bearer {token}")).await, 401, "{algorithm}: {why}");
        }
    }
}

#[tokio::test]
async fn access_token_key_set_rotates_while_running() {
    let app = with_public_key(P256_1).await;
    let (old, new) =
        (format!("Bearer {}", P256_1.sign(Some("1"), &good())), format!("Bearer {}", P256_2.sign(Some("2"), &good())));
    assert_eq!((status(&app, &old).await, status(&app, &new).await), (200, 401));
    let file = app.directory.path().join("key");
    write_set(&file, &[(P256_1, Some("1")), (P256_2, Some("2"))]);
    app.until("the new key is known", async || status(&app, &new).await == 200).await;
    assert_eq!(status(&app, &old).await, 200);
    write_set(&file, &[(P256_2, Some("2"))]);
    app.until("the old key is forgotten", async || status(&app, &old).await == 401).await;
    assert_eq!(status(&app, &new).await, 200);
}

#[tokio::test]
async fn sign_in_routes_without_signing_key_are_404() {
    let app = with_public_key(RSA).await;
    for path in [REQUEST_CODE, VERIFY, EXTERNAL] {
        for body in [json!({"email": "ann@example.org", "code": "123456"}), json!({})] {
            let response = app.post(path, &body).send().await.unwrap();
            assert_eq!(response.status(), 404, "{path}");
            assert_eq!(bare(response).await, json!({"message": "error.route.not_found"}));
        }
    }
    assert!(codes_in_log(&app, "ann@example.org").is_empty());
    // The account service tells of its users, as before.
    let response =
        app.post("/internal/v1/users", &json!({"id": "u"})).header("x-internal-key", "wrong").send().await.unwrap();
    assert_eq!(response.status(), 401);
}
