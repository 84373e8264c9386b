//! `POST /auth/external/verify`: another service says who somebody is.

use weir_testkit::keys::{ED25519, P256_1, P256_2, RSA, Signer, confused, now_seconds, unsigned, write_set};
use weir_testkit::{Backend, Database, UNTHROTTLED, header, on_both_databases};

use super::*;
use crate::visitors::{INIT, init};

const PROVIDERS: [(&str, Signer); 3] = [("rsa", RSA), ("ec", P256_1), ("ed", ED25519)];

/// A server that trusts one provider for each kind of key.
async fn start(backend: Backend) -> TestApp {
    let mut app = TestApp::prepare(backend).await;
    for (name, value) in UNTHROTTLED {
        app.set(name, value);
    }
    for (name, signer) in PROVIDERS {
        let file = app.directory.path().join(name);
        write_set(&file, &[(signer, Some("1"))]);
        let key = |part: &str| format!("WEIR_PROVIDERS__{}__{part}", name.to_uppercase());
        app.set(&key("ISSUERS"), &format!("https://{name}.example"));
        app.set(&key("AUDIENCES"), "weir");
        app.set(&key("JWKS_FILE"), file.to_str().unwrap());
    }
    app.launch().await;
    app
}

/// What a provider says of somebody, with some of it said otherwise.
fn claims(provider: &str, subject: &str, otherwise: &Value) -> Value {
    let mut claims = json!({
        "iss": format!("https://{provider}.example"), "aud": "weir", "sub": subject, "exp": now_seconds() + 300,
        "iat": now_seconds(),
    });
    for (name, value) in otherwise.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn external(app: &TestApp, provider: &str, token: &str) -> reqwest::RequestBuilder {
    app.post(EXTERNAL, &json!({"provider": provider, "idToken": token}))
}

async fn refused(app: &TestApp, provider: &str, token: &str, why: &str) {
    let response = external(app, provider, token).send().await.unwrap();
    assert_eq!(response.status(), 401, "{why}");
    assert_eq!(bare(response).await, json!({"message": "auth.id_token.invalid"}), "{why}");
}

async fn count(app: &TestApp, table: &str) -> i64 {
    app.databases.count(Database::Main, &format!("SELECT count(*) AS n FROM {table}")).await
}

on_both_databases! {
    async fn external_sign_in_identifies_user_by_provider_and_subject(backend) {
        let app = start(backend).await;
        let mut ids = std::collections::BTreeSet::new();
        for (provider, signer) in PROVIDERS {
            let token = signer.sign(Some("1"), &claims(provider, "s-1", &json!({})));
            let first = signed_in(external(&app, provider, &token)).await;
            assert_eq!((&first["isNewUser"], &first["user"]["email"]), (&json!(true), &Value::Null));
            let again = signed_in(external(&app, provider, &token)).await;
            assert_eq!((&again["isNewUser"], &again["user"]), (&json!(false), &first["user"]));
            assert!(ids.insert(first["user"]["id"].to_string()), "two providers' subjects are two people");
            let bearer = first["accessToken"].as_str().unwrap().to_owned();
            let read = app.client.get(app.url("/api/v1/users/attribution")).bearer_auth(bearer).send().await.unwrap();
            assert_eq!(read.status(), 200);
        }
        assert_eq!((count(&app, "users").await, count(&app, "user_identities").await), (3, 3));
    }

    async fn external_sign_in_joins_account_only_by_verified_email(backend) {
        let app = start(backend).await;
        let ann = sign_in(&app, "ann@example.org", None).await;
        let says = |subject: &str, email: &str, verified: Value| {
            RSA.sign(Some("1"), &claims("rsa", subject, &json!({"email": email, "email_verified": verified})))
        };
        let not_verified = signed_in(external(&app, "rsa", &says("liar", "ann@example.org", json!(false)))).await;
        assert_eq!((&not_verified["isNewUser"], &not_verified["user"]["email"]), (&json!(true), &Value::Null));
        assert_ne!(not_verified["user"]["id"], ann["user"]["id"]);
        let joined = signed_in(external(&app, "rsa", &says("ann", " Ann@Example.org ", json!(true)))).await;
        assert_eq!((&joined["isNewUser"], &joined["user"]), (&json!(false), &ann["user"]));
        // Once joined, the subject counts and not the address.
        let moved = signed_in(external(&app, "rsa", &says("ann", "elsewhere@example.org", json!(true)))).await;
        assert_eq!(moved["user"], ann["user"]);

        // An address that was only claimed is free for whoever owns it.
        signed_in(external(&app, "rsa", &says("liar-2", "bob@example.org", json!(false)))).await;
        let bob = sign_in(&app, "bob@example.org", None).await;
        assert_eq!(bob["isNewUser"], json!(true));
        let carol = signed_in(external(&app, "rsa", &says("carol", "carol@example.org", json!(true)))).await;
        assert_eq!((&carol["isNewUser"], &carol["user"]["email"]), (&json!(true), &json!("carol@example.org")));
        let by_code = sign_in(&app, "carol@example.org", None).await;
        assert_eq!((&by_code["isNewUser"], &by_code["user"]), (&json!(false), &carol["user"]));
    }

    async fn external_sign_in_concurrent_with_others_creates_one_user(backend) {
        let app = start(backend).await;
        for round in 0..4 {
            let email = format!("ann-{round}@example.org");
            let code = code_for(&app, &email).await;
            let verified = json!({"email": email, "email_verified": true});
            let token = |provider: &str, signer: Signer| signer.sign(Some("1"), &claims(provider, &email, &verified));
            let (rsa, ec) = (token("rsa", RSA), token("ec", P256_1));
            let answers = tokio::join!(
                signed_in(verify(&app, &email, &code)),
                signed_in(external(&app, "rsa", &rsa)),
                signed_in(external(&app, "rsa", &rsa)),
                signed_in(external(&app, "ec", &ec)),
            );
            let answers = [answers.0, answers.1, answers.2, answers.3];
            assert!(answers.iter().all(|answer| answer["user"] == answers[0]["user"]), "{answers:?}");
            assert_eq!(answers.iter().filter(|answer| answer["isNewUser"] == json!(true)).count(), 1);

            let unknown = ED25519.sign(Some("1"), &claims("ed", &email, &json!({})));
            let (one, other) =
                tokio::join!(signed_in(external(&app, "ed", &unknown)), signed_in(external(&app, "ed", &unknown)));
            assert_eq!(one["user"], other["user"], "one identity without an address");
        }
        assert_eq!((count(&app, "users").await, count(&app, "user_identities").await), (8, 12));
    }

    async fn external_sign_in_links_visitor(backend) {
        let app = start(backend).await;
        let (token, _) =
            init(app.post(INIT, &json!({"utmSource": "news", "landingUrl": "https://example.org/x"}))).await;
        let id_token = ED25519.sign(Some("1"), &claims("ed", "s-1", &json!({})));
        let body = json!({"provider": "ed", "idToken": id_token, "visitorToken": token}).to_string();
        let request =
            app.client.post(app.url(EXTERNAL)).header("user-agent", MOBILE).header("cf-ipcountry", "TR").body(body);
        signed_in(request).await;
        let row = app.rows(Database::Main, "SELECT * FROM users").await.remove(0);
        for (column, value) in [
            ("utm_source", "news"),
            ("first_landing_page", "/x"),
            ("registration_device", "mobile"),
            ("registration_country", "TR"),
        ] {
            assert_eq!(row[column], json!(value), "{column}");
        }
        assert_eq!(crate::visitors::row(&app, &token).await["user_id"], row["id"]);
    }
}

#[tokio::test]
async fn external_sign_in_invalid_token_always_gets_same_response() {
    let app = start(Backend::Sqlite).await;
    for (provider, signer) in PROVIDERS {
        let good = claims(provider, "s-1", &json!({}));
        let sign = |otherwise: Value| signer.sign(Some("1"), &claims(provider, "s-1", &otherwise));
        let algorithm = format!("{:?}", signer.algorithm);
        let valid = sign(json!({}));
        let (message, signature) = valid.rsplit_once('.').unwrap();
        for (why, token) in [
            ("another issuer", sign(json!({"iss": "https://evil.example"}))),
            ("another audience", sign(json!({"aud": "other"}))),
            ("audiences asked by another", sign(json!({"aud": ["weir", "other"], "azp": "other"}))),
            ("expired", sign(json!({"exp": now_seconds() - 40}))),
            ("no exp", sign(json!({"exp": null}))),
            ("not yet valid", sign(json!({"nbf": now_seconds() + 60}))),
            ("no subject", sign(json!({"sub": ""}))),
            ("alg none", unsigned("none", "1", &good)),
            ("no signature", unsigned(&algorithm, "1", &good)),
            ("the public key as a secret", confused("HS256", "1", signer.public, &good)),
            ("an HMAC by another name", confused(&algorithm, "1", signer.public, &good)),
            ("an unknown kid", signer.sign(Some("2"), &good)),
            ("another key", P256_2.sign(Some("1"), &good)),
            ("half a signature", format!("{message}.{}", &signature[..signature.len() / 2])),
            ("no token", "x".to_owned()),
            ("dots", "..".to_owned()),
        ] {
            refused(&app, provider, &token, &format!("{provider}: {why}")).await;
        }
        for (other, _) in PROVIDERS.iter().filter(|(other, _)| *other != provider) {
            refused(&app, other, &valid, "another provider's token").await;
        }
        assert_eq!(signed_in(external(&app, provider, &valid)).await["isNewUser"], json!(true), "{provider}");
    }
    assert_eq!((count(&app, "users").await, count(&app, "user_identities").await), (3, 3));
}

#[tokio::test]
async fn external_sign_in_violations_are_all_listed() {
    let app = start(Backend::Sqlite).await;
    let detail = |field: &str, rule: &str| json!({"field": field, "message": format!("{field} {rule}")});
    let known = "must be one of the following values: ec, ed, rsa";
    for (body, details) in [
        (json!({"provider": "google", "idToken": "x"}), vec![detail("provider", known)]),
        (json!({"provider": "RSA", "idToken": "x"}), vec![detail("provider", known)]),
        (
            json!({"provider": 7, "idToken": 7}),
            vec![detail("provider", "must be a string"), detail("idToken", "must be a string")],
        ),
        (json!({"provider": "ec", "idToken": ""}), vec![detail("idToken", "should not be empty")]),
        (
            json!({"provider": "ec", "idToken": "x".repeat(16_385)}),
            vec![detail("idToken", "must be shorter than or equal to 16384 characters")],
        ),
    ] {
        let response = app.post(EXTERNAL, &body).send().await.unwrap();
        assert_eq!(response.status(), 400, "{body}");
        let answer = bare(response).await;
        assert_eq!(answer["message"], json!("error.validation"));
        let mut told = answer["details"].as_array().unwrap().clone();
        // The names stand in no promised order.
        for entry in &mut told {
            let message = entry["message"].as_str().unwrap();
            if let Some((start, names)) = message.split_once("values: ") {
                let mut names: Vec<&str> = names.split(", ").collect();
                names.sort_unstable();
                entry["message"] = json!(format!("{start}values: {}", names.join(", ")));
            }
        }
        assert_eq!(told, details, "{body}");
    }
}

#[tokio::test]
async fn external_sign_in_keys_rotate_while_running() {
    let app = start(Backend::Sqlite).await;
    let file = app.directory.path().join("ec");
    let (old, new) = (
        P256_1.sign(Some("1"), &claims("ec", "s-1", &json!({}))),
        P256_2.sign(Some("2"), &claims("ec", "s-1", &json!({}))),
    );
    let passes = async |token: &str| match external(&app, "ec", token).send().await.unwrap().status().as_u16() {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    };
    assert!(passes(&old).await && !passes(&new).await);
    write_set(&file, &[(P256_1, Some("1")), (P256_2, Some("2"))]);
    app.until("the new key is known", async || passes(&new).await).await;
    assert!(passes(&old).await, "the old key is still there");
    write_set(&file, &[(P256_2, Some("2"))]);
    app.until("the old key is forgotten", async || !passes(&old).await).await;
    assert!(passes(&new).await);
    std::fs::write(&file, "{\"keys\": [").unwrap();
    app.until("the broken file is told", async || {
        assert!(passes(&new).await, "keys in memory stay in use");
        app.log().contains("changed public keys refused")
    })
    .await;
    assert_eq!(count(&app, "users").await, 1);
}

#[tokio::test]
async fn external_sign_in_during_database_outage_is_503() {
    let app = start(Backend::Postgres).await;
    app.databases.allow_connections(Database::Main, false).await;
    let token = RSA.sign(Some("1"), &claims("rsa", "s-1", &json!({})));
    let response = external(&app, "rsa", &token).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(header(&response, "retry-after").is_some());
    assert_eq!(bare(response).await, json!({"message": "error.service.unavailable"}));
    refused(&app, "rsa", &format!("{token}x"), "a bad token needs no database").await;
}
