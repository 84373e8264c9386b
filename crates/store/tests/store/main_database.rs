//! The main database: consents and settings.

use serde_json::{Value, json};
use weir_domain::{ConsentPreferences, ConsentRecord};
use weir_testkit::{Database, on_both_databases};

use super::*;

on_both_databases! {
    async fn consent_row_keeps_every_field(backend) {
        let store = Store::fresh(backend).await;
        let full = ConsentRecord {
            id: Uuid::from_u128(1),
            created_at: DAY,
            user_id: Some("user 'x'".into()),
            document_version: "2.1".into(),
            preferences: ConsentPreferences { analytics: true, marketing: false, functional: true },
            ip_address: Some("2001:db8::1".into()),
            user_agent: Some("Mozilla/5.0".into()),
        };
        let bare = ConsentRecord { id: Uuid::from_u128(2), user_id: None, ip_address: None, user_agent: None, ..full.clone() };
        let batch = [full, bare].map(|consent| MainRecord::Consent(Box::new(consent)));
        store.main.apply(&store.step(0, 2), &batch).await.unwrap();
        let rows = store.databases.rows(Database::Main, "SELECT * FROM consent_records ORDER BY id").await;
        let preferences = |row: &Value| match &row["preferences"] {
            Value::String(text) => serde_json::from_str::<Value>(text).unwrap(),
            object => object.clone(),
        };
        for (row, (user, address, agent)) in rows.iter().zip([
            (json!("user 'x'"), json!("2001:db8::1"), json!("Mozilla/5.0")),
            (Value::Null, Value::Null, Value::Null),
        ]) {
            assert_eq!((&row["user_id"], &row["ip_address"], &row["user_agent"]), (&user, &address, &agent));
            assert_eq!((&row["document_type"], &row["document_version"]), (&json!("COOKIE_CONSENT"), &json!("2.1")));
            assert_eq!(preferences(row), json!({"analytics": true, "marketing": false, "functional": true}));
            assert!(row["accepted"] == json!(true) || row["accepted"] == json!(1));
        }
        assert_eq!(rows.len(), 2);
    }

    async fn settings_are_inserted_then_overwritten(backend) {
        let store = Store::fresh(backend).await;
        assert_eq!(store.settings.settings().await.unwrap(), []);
        store.settings.set_setting("b", "1").await.unwrap();
        store.settings.set_setting("a", "2").await.unwrap();
        store.settings.set_setting("b", "3").await.unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(store.settings.settings().await.unwrap(), [pair("a", "2"), pair("b", "3")]);
        let rows = store.databases.rows(Database::Main, "SELECT updated_at FROM settings").await;
        assert!(chrono::DateTime::parse_from_rfc3339(rows[0]["updated_at"].as_str().unwrap()).is_ok());
    }
}
