//! `PATCH /api/v1/analytics/session/:id/identify`: whose visit it is.

use super::*;

async fn user_of(app: &TestApp, session: &str) -> Value {
    app.session(session).await["user_id"].clone()
}

on_both_databases! {
    async fn identify_sets_user_of_token_on_session(backend) {
        let app = TestApp::start(backend).await;
        let (session, other) = (begun(&app).await, begun(&app).await);
        assert_eq!(user_of(&app, &session).await, json!(null));
        let before = app.session(&session).await;
        for user in ["alice", "alice", "01a1fba7-29af-74da-8a04-14eb46ead50e", "a 'user' ü", &"ü".repeat(255)] {
            done(patch(&app, &identify_of(&session)).bearer_auth(token_of(user))).await;
            assert_eq!(user_of(&app, &session).await, json!(user), "a later user overwrites");
        }
        let mut after = app.session(&session).await;
        after["user_id"] = json!(null);
        assert_eq!(after, before, "nothing else changes");
        assert_eq!(user_of(&app, &other).await, json!(null));
    }
}

#[tokio::test]
async fn identify_with_any_id_and_body_gets_same_response() {
    let app = TestApp::start(Backend::Sqlite).await;
    let session = begun(&app).await;
    let with_token = |id: &str| patch(&app, &identify_of(id)).bearer_auth(token_of("alice"));
    for id in [UNKNOWN, "d9428888-122b-41e1-b85c-61d2e8b8a5f3", "00000000-0000-0000-0000-000000000000"] {
        done(with_token(id)).await;
    }
    let before = journalled(&app).await;
    for id in NO_UUIDS {
        done(with_token(id)).await;
    }
    assert!((journalled(&app).await - before).abs() < f64::EPSILON, "what is nobody's id was journalled");
    // An id has no case.
    done(with_token(&session.to_uppercase())).await;
    assert_eq!(user_of(&app, &session).await, json!("alice"));
    done(with_token(&session).header("content-type", "application/x-www-form-urlencoded").body("{{{")).await;
    done(with_token(&session).body(r#"{"userId":"mallory"}"#)).await;
    assert_eq!(user_of(&app, &session).await, json!("alice"));
}

#[tokio::test]
async fn identify_without_valid_bearer_is_401() {
    let app = TestApp::start(Backend::Sqlite).await;
    let session = begun(&app).await;
    let now = chrono::Utc::now().timestamp();
    let good = token_of("alice");
    let (head, rest) = good.split_once('.').unwrap();
    let payload = rest.split_once('.').unwrap().0;
    let other_key = jsonwebtoken::EncodingKey::from_secret(b"another secret");
    let claims = json!({"sub": "alice", "exp": now + 60});
    let with = |algorithm, key: &jsonwebtoken::EncodingKey| {
        jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), &claims, key).unwrap()
    };
    let own_key = jsonwebtoken::EncodingKey::from_secret(JWT_SECRET.as_bytes());
    let bad = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(good.clone()),
        Some(format!("Basic {good}")),
        Some(format!("Bearer {good}x")),
        Some(format!("Bearer {head}.{payload}.")),
        // {"alg":"none","typ":"JWT"}
        Some(format!("Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.")),
        Some(format!("Bearer {}", with(jsonwebtoken::Algorithm::HS256, &other_key))),
        Some(format!("Bearer {}", with(jsonwebtoken::Algorithm::HS512, &own_key))),
        Some(format!("Bearer {}", signed(&json!({"sub": "alice", "exp": now - 31})))),
        Some(format!("Bearer {}", signed(&json!({"sub": "alice", "exp": now + 600, "nbf": now + 120})))),
        Some(format!("Bearer {}", signed(&json!({"sub": "alice"})))),
        Some(format!("Bearer {}", signed(&json!({"exp": now + 60})))),
        Some(format!("Bearer {}", signed(&json!({"sub": "", "exp": now + 60})))),
        Some(format!("Bearer {}", signed(&json!({"sub": "ü".repeat(256), "exp": now + 60})))),
        Some(format!("Bearer {}", signed(&json!({"sub": "a\0b", "exp": now + 60})))),
    ];
    let before = journalled(&app).await;
    for header_value in &bad {
        for id in [session.as_str(), UNKNOWN, "x"] {
            let request = patch(&app, &identify_of(id));
            let request = match header_value {
                Some(value) => request.header("authorization", value),
                None => request,
            };
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{header_value:?}");
            assert_eq!(header(&response, "www-authenticate"), Some("Bearer"), "{header_value:?}");
            let correlation_id = header(&response, "x-request-id").unwrap().to_owned();
            let error = error(response).await;
            assert_eq!((&error["code"], &error["i18nKey"]), (&json!("AUTH_UNAUTHORIZED"), &json!("auth.unauthorized")));
            assert_eq!((&error["details"], &error["correlationId"]), (&json!([]), &json!(correlation_id)));
        }
    }
    assert!((journalled(&app).await - before).abs() < f64::EPSILON, "a refused identify was journalled");
    // Within the leeway of 30 s, and with the older name of the user's id.
    for claims in [json!({"sub": "bob", "exp": now - 5}), json!({"id": "bob", "exp": now + 60, "nbf": now + 5})] {
        done(patch(&app, &identify_of(&session)).header("authorization", format!("bearer {}", signed(&claims)))).await;
        assert_eq!(user_of(&app, &session).await, json!("bob"));
    }
}
