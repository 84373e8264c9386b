//! `GET /api/v1/users/consent`: a user's own choices, and rows that nobody changes.

use super::*;

const HISTORY: &str = "/api/v1/users/consent";

async fn history(app: &TestApp, bearer: &str) -> Vec<Value> {
    let response = app.client.get(app.url(HISTORY)).bearer_auth(bearer).send().await.unwrap();
    assert_eq!(response.status(), 200);
    data(response).await.as_array().unwrap().clone()
}

on_both_databases! {
    async fn consent_history_lists_own_choices_newest_first(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let (ann, bob) = (access_token("ann"), access_token("bob"));
        assert_eq!(history(&app, &ann).await, Vec::<Value>::new());
        for (bearer, analytics) in [(&ann, true), (&bob, true), (&ann, false)] {
            let response = app.post(CONSENT, &choice(analytics)).bearer_auth(bearer).send().await.unwrap();
            assert_eq!(data(response).await, json!({"saved": true}));
        }
        app.post(CONSENT, &choice(true)).send().await.unwrap();
        let told = history(&app, &ann).await;
        assert_eq!(told.len(), 2);
        for entry in &told {
            assert_eq!(entry.as_object().unwrap().len(), 4, "{entry}");
            assert_eq!((&entry["documentType"], &entry["documentVersion"]), (&json!("COOKIE_CONSENT"), &json!("1.0")));
            assert_eq!(entry["accepted"], json!(true));
            let at = entry["createdAt"].as_str().unwrap();
            assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
        }
        assert!(time(&told[0]["createdAt"]) >= time(&told[1]["createdAt"]));
        let rows = rows(&app).await;
        assert_eq!(time(&told[0]["createdAt"]), time(&rows[2]["created_at"]), "the last of three");
        assert_eq!(history(&app, &bob).await.len(), 1);
    }

    async fn consent_history_is_limited_to_last_hundred(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let ann = access_token("ann");
        for _ in 0..103 {
            app.post(CONSENT, &choice(true)).bearer_auth(&ann).send().await.unwrap();
        }
        let told = history(&app, &ann).await;
        let times: Vec<_> = told.iter().map(|entry| time(&entry["createdAt"])).collect();
        assert_eq!(times.len(), 100);
        assert!(times.is_sorted_by(|newer, older| newer >= older));
        let rows = rows(&app).await;
        assert_eq!(times.first(), rows.last().map(|row| time(&row["created_at"])).as_ref());
        assert_eq!(times.last(), rows.get(3).map(|row| time(&row["created_at"])).as_ref());
    }

    async fn consent_history_without_valid_bearer_is_401(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for bearer in [None, Some("x".to_owned()), Some(access_token("ann") + "x")] {
            for path in [HISTORY, "/api/v1/users/attribution"] {
                let request = app.client.get(app.url(path));
                let request = bearer.iter().fold(request, reqwest::RequestBuilder::bearer_auth);
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), 401);
                assert_eq!(header(&response, "www-authenticate"), Some("Bearer"));
                let error = error(response).await;
                assert_eq!(
                    (&error["code"], &error["i18nKey"]),
                    (&json!("AUTH_UNAUTHORIZED"), &json!("auth.unauthorized"))
                );
            }
        }
    }

    async fn consent_record_update_or_delete_is_refused(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for _ in 0..2 {
            app.post(CONSENT, &choice(true)).bearer_auth(access_token("ann")).send().await.unwrap();
        }
        let before = rows(&app).await;
        let mut attempts = vec![
            "UPDATE consent_records SET document_version = '9'",
            "UPDATE consent_records SET user_id = user_id",
            "DELETE FROM consent_records",
            "DELETE FROM consent_records WHERE user_id = 'ann'",
        ];
        let columns =
            "id, user_id, document_type, document_version, accepted, preferences, ip_address, user_agent, created_at";
        let replace = format!(
            "INSERT OR REPLACE INTO consent_records ({columns})
             SELECT id, 'eve', document_type, document_version, accepted, preferences, ip_address, user_agent,
                    created_at
             FROM consent_records"
        );
        let by_rowid = format!(
            "INSERT OR REPLACE INTO consent_records (rowid, {columns})
             SELECT rowid, 'another', user_id, document_type, document_version, accepted, preferences, ip_address,
                    user_agent, created_at
             FROM consent_records LIMIT 1"
        );
        let upsert = format!(
            "INSERT INTO consent_records ({columns}) SELECT {columns} FROM consent_records WHERE true
             ON CONFLICT (id) DO UPDATE SET user_id = 'eve'"
        );
        match backend {
            Backend::Sqlite => attempts.extend([
                replace.as_str(),
                by_rowid.as_str(),
                upsert.as_str(),
                "UPDATE OR REPLACE consent_records SET id = 'same'",
            ]),
            Backend::Postgres => {
                attempts.extend(["TRUNCATE consent_records", "TRUNCATE consent_records CASCADE", upsert.as_str()]);
            }
        }
        for attempt in attempts {
            let refused = app.databases.try_execute(Database::Main, attempt).await;
            let why = refused.expect_err(attempt).to_string();
            assert!(why.contains("consent_records is append-only"), "{attempt}: {why}");
            assert_eq!(rows(&app).await, before, "{attempt}");
        }
        // Adding goes on.
        app.post(CONSENT, &choice(false)).send().await.unwrap();
        assert_eq!(rows(&app).await.len(), 3);
    }

    async fn consent_record_erasure_works_only_in_maintenance_mode(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for user in ["ann", "bob"] {
            app.post(CONSENT, &choice(true)).bearer_auth(access_token(user)).send().await.unwrap();
        }
        app.applied().await;
        let (open, close) = match backend {
            Backend::Sqlite => {
                ("INSERT INTO consent_maintenance VALUES ('erasure')", "DELETE FROM consent_maintenance")
            }
            Backend::Postgres => ("SET LOCAL weir.consent_maintenance = 'on'", "SELECT 1"),
        };
        let work = "DELETE FROM consent_records WHERE user_id = 'ann';
                    UPDATE consent_records SET ip_address = NULL WHERE user_id = 'bob'";
        app.databases.execute(Database::Main, &format!("BEGIN; {open}; {work}; {close}; COMMIT")).await;
        let left = rows(&app).await;
        assert_eq!(left.len(), 1);
        assert_eq!((&left[0]["user_id"], &left[0]["ip_address"]), (&json!("bob"), &Value::Null));
        let refused = app.databases.try_execute(Database::Main, "DELETE FROM consent_records").await;
        assert!(refused.unwrap_err().to_string().contains("append-only"));
    }
}

#[tokio::test]
async fn consent_policy_lists_four_categories_in_two_languages() {
    let app = TestApp::start(Backend::Sqlite).await;
    for _ in 0..30 {
        let response = app.client.get(app.url("/api/v1/consent/cookies/policy")).send().await.unwrap();
        assert_eq!((response.status().as_u16(), header(&response, "ratelimit")), (200, None));
        let policy = data(response).await;
        assert_eq!(policy.as_object().unwrap().len(), 1);
        let categories = policy["categories"].as_array().unwrap();
        let told: Vec<_> = categories
            .iter()
            .map(|category| (category["id"].as_str().unwrap(), category["required"].as_bool().unwrap()))
            .collect();
        assert_eq!(told, [("essential", true), ("functional", false), ("analytics", false), ("marketing", false)]);
        for category in categories {
            assert_eq!(category.as_object().unwrap().len(), 4, "{category}");
            for words in ["name", "description"] {
                let words = category[words].as_object().unwrap();
                assert_eq!(words.keys().collect::<Vec<_>>(), ["en", "tr"]);
                assert!(words.values().all(|text| !text.as_str().unwrap().is_empty()));
            }
        }
    }
}
