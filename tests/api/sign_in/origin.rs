//! The visitor that a new user was until now: linked once, with everything that is known of it.

use weir_testkit::{Database, UNTHROTTLED, on_both_databases};

use super::*;
use crate::visitors::{INIT, init, row, user};

async fn users(app: &TestApp) -> Vec<Value> {
    app.rows(Database::Main, "SELECT * FROM users WHERE email IS NOT NULL ORDER BY id").await
}

on_both_databases! {
    async fn sign_in_first_links_visitor_and_copies_attribution(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        user(&app, "inviter", "hash1", "code1").await;
        let brought = json!({
            "utmSource": "news", "utmMedium": "mail", "utmCampaign": "spring", "utmTerm": "t", "utmContent": "c",
            "referrer": "https://example.com/from", "landingUrl": "https://example.org/a/b?c=d#e", "invitedBy": "code1",
        });
        let (token, _) = init(app.post(INIT, &brought).header("cf-ipcountry", "DE")).await;
        // At once: the sign-in waits for the writer, not the client.
        let answer = sign_in_as(&app, "ann@example.org", Some(&token), MOBILE, "TR").await;
        assert_eq!((&answer["isNewUser"], &answer["user"]["invitedBy"]), (&json!(true), &json!("hash1")));
        let stored = users(&app).await.remove(0);
        for (column, value) in [
            ("invited_by_id", "inviter"),
            ("signup_referral_code", "code1"),
            ("first_referrer_url", "https://example.com/from"),
            ("first_landing_page", "/a/b"),
            ("utm_source", "news"),
            ("utm_medium", "mail"),
            ("utm_campaign", "spring"),
            ("utm_term", "t"),
            ("utm_content", "c"),
            ("registration_device", "mobile"),
            ("registration_country", "TR"),
        ] {
            assert_eq!(stored[column], json!(value), "{column}");
        }
        assert_eq!(stored["acquired_via_creator_id"], Value::Null);
        assert_ne!(stored["referral_code"], json!("code1"), "a code of their own");
        let visitor = row(&app, &token).await;
        assert_eq!((&visitor["user_id"], &visitor["country"]), (&stored["id"], &json!("DE")));
    }

    async fn sign_in_later_changes_no_attribution(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let (first, _) = init(app.post(INIT, &json!({"utmSource": "first"}))).await;
        sign_in(&app, "ann@example.org", Some(&first)).await;
        let before = users(&app).await;
        let (second, _) = init(app.post(INIT, &json!({"userAgent": "second", "utmSource": "second"}))).await;
        for token in [first.as_str(), &second, "visitor_00112233445566778899aabbccddeeff", "nonsense", ""] {
            let answer = sign_in_as(&app, "ann@example.org", Some(token), MOBILE, "TR").await;
            assert_eq!(answer["isNewUser"], json!(false));
            app.databases.execute(Database::Main, "DELETE FROM sign_in_codes").await;
        }
        assert_eq!(users(&app).await, before);
        assert_eq!(row(&app, &second).await["user_id"], Value::Null);
        assert_eq!(row(&app, &first).await["user_id"], before[0]["id"]);
    }

    async fn sign_in_with_linked_or_unknown_visitor_copies_nothing(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        user(&app, "inviter", "hash1", "code1").await;
        let (linked, _) = init(app.post(INIT, &json!({"utmSource": "first", "invitedBy": "code1"}))).await;
        sign_in(&app, "ann@example.org", Some(&linked)).await;
        let ann = row(&app, &linked).await["user_id"].clone();
        for (number, token) in
            [linked.as_str(), "visitor_00112233445566778899aabbccddeeff", "nonsense"].into_iter().enumerate()
        {
            let answer = sign_in(&app, &format!("bob-{number}@example.org"), Some(token)).await;
            assert_eq!((&answer["isNewUser"], &answer["user"]["invitedBy"]), (&json!(true), &Value::Null), "{token}");
        }
        let all = users(&app).await;
        assert_eq!(all.len(), 4);
        for bob in all.iter().filter(|user| user["email"] != json!("ann@example.org")) {
            for column in ["utm_source", "invited_by_id", "signup_referral_code"] {
                assert_eq!(bob[column], Value::Null, "{column}");
            }
            assert_eq!(bob["registration_device"], json!("desktop"));
        }
        assert_eq!(row(&app, &linked).await["user_id"], ann);
    }

    async fn visitor_used_by_concurrent_sign_ins_is_linked_once(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let (token, _) = init(app.post(INIT, &json!({"utmSource": "news"}))).await;
        let mut bodies = Vec::new();
        for number in 0..4 {
            let email = format!("ann-{number}@example.org");
            let code = code_for(&app, &email).await;
            bodies.push(json!({"email": email, "code": code, "visitorToken": token}));
        }
        let one = |body: &Value| signed_in(app.post(VERIFY, body));
        tokio::join!(one(&bodies[0]), one(&bodies[1]), one(&bodies[2]), one(&bodies[3]));
        let all = users(&app).await;
        let with_origin: Vec<&Value> = all.iter().filter(|user| user["utm_source"] == json!("news")).collect();
        assert_eq!((all.len(), with_origin.len()), (4, 1));
        assert_eq!(row(&app, &token).await["user_id"], with_origin[0]["id"]);
    }

    async fn referral_code_of_own_account_is_ignored(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let (token, _) = init(app.post(INIT, &json!({}))).await;
        let ann = sign_in(&app, "ann@example.org", Some(&token)).await;
        for own in [&ann["user"]["id"], &ann["user"]["referralCode"]] {
            init(app.post(INIT, &json!({"token": token, "invitedBy": own}))).await;
        }
        assert_eq!(row(&app, &token).await["invited_by_id"], Value::Null);
        // Another browser of theirs may carry it, and another person may come by that one.
        let (other, _) =
            init(app.post(INIT, &json!({"userAgent": "other", "invitedBy": ann["user"]["referralCode"]}))).await;
        let bob = sign_in(&app, "bob@example.org", Some(&other)).await;
        assert_eq!(bob["user"]["invitedBy"], ann["user"]["id"]);
    }

    async fn registration_country_from_untrusted_proxy_is_ignored(backend) {
        let app = TestApp::start_with(backend, &[UNTHROTTLED, &[("WEIR_TRUSTED_PROXIES", "192.0.2.1")]].concat()).await;
        sign_in_as(&app, "ann@example.org", None, MOBILE, "TR").await;
        let stored = users(&app).await.remove(0);
        assert_eq!((&stored["registration_country"], &stored["registration_device"]), (&Value::Null, &json!("mobile")));
    }
}
