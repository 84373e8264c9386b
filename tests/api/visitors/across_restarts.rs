//! A visitor that was acknowledged is recognised after any end of the process.

use super::*;

on_both_databases! {
    async fn visitor_fingerprint_in_table_is_known_after_kill(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let (token, _) = init(from(&app, "203.0.113.1", &json!({"utmSource": "first"}))).await;
        app.applied().await;
        app.kill();
        // Only the table can tell now.
        std::fs::remove_dir_all(app.data_dir().join("journal")).unwrap();
        app.launch().await;
        assert_eq!(
            init(from(&app, "203.0.113.1", &json!({"utmSource": "x", "utmTerm": "x"}))).await,
            (token.clone(), false)
        );
        assert_eq!(init(from(&app, "203.0.113.2", &json!({"token": token, "utmTerm": "later"}))).await, (token.clone(), false));
        let row = row(&app, &token).await;
        assert_eq!((&row["utm_source"], &row["utm_term"]), (&json!("first"), &json!("later")));
        assert_eq!(count(&app).await, 1);
    }

    async fn visitor_fingerprint_expired_creates_new_visitor_after_restart(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let (token, _) = init(from(&app, "203.0.113.1", &json!({}))).await;
        app.applied().await;
        app.kill();
        std::fs::remove_dir_all(app.data_dir().join("journal")).unwrap();
        let old = app.databases.ago(Duration::from_secs(301));
        app.databases.execute(Database::Main, &format!("UPDATE visitors SET created_at = {old}")).await;
        app.launch().await;
        let (other, is_new) = init(from(&app, "203.0.113.1", &json!({}))).await;
        assert!(is_new && other != token);
        assert_eq!(
            init(from(&app, "203.0.113.1", &json!({"token": token}))).await,
            (token, false),
            "the token is known for good"
        );
    }
}

#[tokio::test]
async fn visitor_only_in_journal_is_known_after_kill() {
    let mut app = TestApp::start_with(Backend::Postgres, UNTHROTTLED).await;
    app.databases.allow_connections(Database::Main, false).await;
    let (token, is_new) = init(from(&app, "203.0.113.1", &json!({"utmSource": "first"}))).await;
    assert!(is_new);
    app.kill();
    app.launch().await;
    assert_eq!(init(from(&app, "203.0.113.1", &json!({"utmSource": "x"}))).await, (token.clone(), false));
    assert_eq!(init(from(&app, "203.0.113.2", &json!({"token": token}))).await, (token.clone(), false));
    app.kill();
    app.databases.allow_connections(Database::Main, true).await;
    app.launch().await;
    assert_eq!(init(from(&app, "203.0.113.1", &json!({"utmTerm": "x"}))).await, (token.clone(), false));
    assert_eq!(
        init(from(&app, "203.0.113.1", &json!({"token": token, "utmTerm": "later"}))).await,
        (token.clone(), false)
    );
    let row = row(&app, &token).await;
    assert_eq!((&row["utm_source"], &row["utm_term"]), (&json!("first"), &json!("later")));
    assert_eq!(count(&app).await, 1);
}

on_both_databases! {
    async fn visitor_is_not_duplicated_by_kills_under_load(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let mut tokens: Vec<Option<String>> = vec![None; 40];
        for _ in 0..3 {
            let mut requests = JoinSet::new();
            for number in 0..tokens.len() {
                let request = from(&app, &format!("203.0.113.{number}"), &json!({}));
                requests.spawn(async move { (number, request.send().await) });
            }
            // Some are answered, others are cut off: the moment of death is any.
            let mut answered = 0;
            while let Some(done) = requests.join_next().await {
                let (number, response) = done.unwrap();
                let Ok(response) = response else { continue };
                let token = bare(response).await["token"].as_str().unwrap().to_owned();
                let known = tokens[number].get_or_insert_with(|| token.clone());
                assert_eq!(*known, token, "an acknowledged visitor got another token");
                answered += 1;
                if answered == 20 {
                    app.kill();
                    break;
                }
            }
            drop(requests);
            app.launch().await;
        }
        app.applied().await;
        for token in tokens.iter().flatten() {
            row(&app, token).await;
        }
        let doubled = "SELECT count(*) AS n FROM visitors GROUP BY fingerprint HAVING count(*) > 1";
        assert_eq!(app.rows(Database::Main, doubled).await.len(), 0);
    }
}
