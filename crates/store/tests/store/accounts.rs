//! Accounts and what users read: where a moment decides, and what a refusal leaves behind.

use serde_json::{Value, json};
use weir_domain::{
    CodeRequest, ConsentPreferences, ConsentRecord, CreateUser, CreateUserOutcome, Credential, MainRecord, NewUser,
    SignIn, SignInOutcome, UserOrigin,
};
use weir_store::{Step, open_main};
use weir_testkit::{Database, Databases, on_both_databases};

use super::*;

const HOUR_MS: i64 = 3_600_000;
const TEN_MINUTES_MS: i64 = 600_000;

fn at(ms: i64) -> UnixMillis {
    UnixMillis(DAY.0 + ms)
}

fn request(code: &str, now: UnixMillis) -> CodeRequest {
    let expires_at = UnixMillis(now.0 + TEN_MINUTES_MS);
    CodeRequest { address_hash: "address".into(), code_hash: code.into(), now, expires_at }
}

fn named(name: &str) -> NewUser {
    NewUser { id: format!("id-{name}"), hash_id: format!("hash-{name}"), referral_code: format!("code-{name}") }
}

fn attempt(code: &str, candidate: &str, now: UnixMillis) -> SignIn {
    let proof =
        Credential::Code { address_hash: "address".into(), code_hash: code.into(), email: "ann@example.org".into() };
    SignIn { proof, origin: UserOrigin::default(), candidate: named(candidate), now }
}

fn creation(name: &str, email: Option<&str>) -> CreateUser {
    CreateUser {
        user: named(name),
        email: email.map(str::to_owned),
        origin: UserOrigin::default(),
        created_at: DAY,
        now: DAY,
    }
}

async fn is_in(store: &Store, sign_in: &SignIn) -> bool {
    match store.accounts.sign_in(sign_in, None).await.unwrap().0 {
        SignInOutcome::SignedIn(_) => true,
        SignInOutcome::Refused => false,
        SignInOutcome::Collision => panic!("a name was taken"),
    }
}

on_both_databases! {
    async fn sign_in_code_expires_to_the_millisecond(backend) {
        let store = Store::fresh(backend).await;
        assert!(store.accounts.put_code(&request("1", at(0))).await.unwrap());
        assert!(!is_in(&store, &attempt("1", "a", at(TEN_MINUTES_MS))).await);
        assert!(is_in(&store, &attempt("1", "a", at(TEN_MINUTES_MS - 1))).await);
    }

    async fn code_request_limit_counts_exactly_one_hour(backend) {
        let store = Store::fresh(backend).await;
        for number in 0..5 {
            assert!(store.accounts.put_code(&request("1", at(number))).await.unwrap(), "{number}");
        }
        assert!(!store.accounts.put_code(&request("refused", at(HOUR_MS - 1))).await.unwrap());
        assert!(store.accounts.put_code(&request("2", at(HOUR_MS))).await.unwrap(), "the first one is an hour ago");
        assert!(!store.accounts.put_code(&request("refused", at(HOUR_MS))).await.unwrap());
        assert!(!is_in(&store, &attempt("refused", "a", at(HOUR_MS))).await);
        assert!(is_in(&store, &attempt("2", "a", at(HOUR_MS))).await, "a refusal leaves the live code alone");
    }

    async fn sign_in_failure_limit_counts_exactly_one_hour(backend) {
        let store = Store::fresh(backend).await;
        store.accounts.put_code(&request("1", at(0))).await.unwrap();
        for number in 0..5 {
            assert!(!is_in(&store, &attempt("wrong", "a", at(number))).await);
        }
        store.accounts.put_code(&request("2", at(HOUR_MS - 10))).await.unwrap();
        assert!(!is_in(&store, &attempt("2", "a", at(HOUR_MS - 1))).await, "attempts are over");
        assert!(is_in(&store, &attempt("2", "a", at(HOUR_MS))).await, "what was refused unlooked at did not count");
    }

    async fn code_request_limit_after_clock_step_lasts_one_window(backend) {
        let store = Store::fresh(backend).await;
        let put = async |code: &str, now: i64| store.accounts.put_code(&request(code, at(now))).await.unwrap();
        for number in 0..5 {
            assert!(put("ahead", HOUR_MS + number).await, "{number}");
        }
        // The clock is right again.
        assert!(put("1", 0).await, "the first request brings the moments back");
        assert!(!put("refused", 0).await, "and is the only one");
        assert!(!is_in(&store, &attempt("ahead", "a", at(1))).await, "replaced");
        assert!(is_in(&store, &attempt("1", "a", at(1))).await);
        assert!(!put("refused", HOUR_MS - 1).await);
        for number in 0..5 {
            assert!(put("2", HOUR_MS + number).await, "{number}");
        }
        assert!(!put("refused", HOUR_MS + 5).await, "the limit is the same as ever");
    }

    async fn sign_in_failures_with_future_time_last_one_hour(backend) {
        let store = Store::fresh(backend).await;
        store.accounts.put_code(&request("1", at(HOUR_MS))).await.unwrap();
        for number in 0..5 {
            assert!(!is_in(&store, &attempt("wrong", "a", at(HOUR_MS + number))).await);
        }
        // The clock is right again.
        assert!(!is_in(&store, &attempt("1", "a", at(0))).await, "no attempt is forgiven");
        store.accounts.put_code(&request("2", at(HOUR_MS - 10))).await.unwrap();
        assert!(!is_in(&store, &attempt("2", "a", at(HOUR_MS - 1))).await, "attempts are over");
        assert!(is_in(&store, &attempt("2", "a", at(HOUR_MS))).await, "an hour after the first look");
    }

    async fn sign_in_failures_before_clock_step_still_count(backend) {
        let store = Store::fresh(backend).await;
        store.accounts.put_code(&request("1", at(HOUR_MS))).await.unwrap();
        for number in 0..4 {
            assert!(!is_in(&store, &attempt("wrong", "a", at(HOUR_MS + number))).await);
        }
        // The clock is right again.
        store.accounts.put_code(&request("2", at(0))).await.unwrap();
        assert!(!is_in(&store, &attempt("wrong", "a", at(1))).await);
        assert!(!is_in(&store, &attempt("2", "a", at(2))).await, "attempts are over");
        store.accounts.put_code(&request("3", at(HOUR_MS))).await.unwrap();
        assert!(is_in(&store, &attempt("3", "a", at(HOUR_MS + 1))).await);
    }

    async fn sign_in_code_from_future_is_refused(backend) {
        let store = Store::fresh(backend).await;
        store.accounts.put_code(&request("1", at(HOUR_MS))).await.unwrap();
        // The clock is right again.
        assert!(!is_in(&store, &attempt("1", "a", at(TEN_MINUTES_MS))).await);
        assert!(!is_in(&store, &attempt("1", "a", at(HOUR_MS))).await, "nor when the clock has caught up with it");
        store.accounts.put_code(&request("2", at(HOUR_MS))).await.unwrap();
        assert!(is_in(&store, &attempt("2", "a", at(HOUR_MS))).await);
    }

    async fn sign_in_code_from_future_at_limit_is_dropped(backend) {
        let store = Store::fresh(backend).await;
        for number in 0..5 {
            store.accounts.put_code(&request("old", at(number))).await.unwrap();
            assert!(!is_in(&store, &attempt("wrong", "a", at(number))).await);
        }
        // The clock goes an hour forth, and is right again soon after.
        store.accounts.put_code(&request("1", at(HOUR_MS + TEN_MINUTES_MS))).await.unwrap();
        assert!(!is_in(&store, &attempt("1", "a", at(TEN_MINUTES_MS))).await, "attempts are over");
        assert!(!is_in(&store, &attempt("1", "a", at(HOUR_MS + TEN_MINUTES_MS))).await);
    }

    async fn sign_in_code_slightly_from_future_is_accepted(backend) {
        let store = Store::fresh(backend).await;
        store.accounts.put_code(&request("1", at(1_000))).await.unwrap();
        assert!(is_in(&store, &attempt("1", "a", at(0))).await);
    }

    async fn sign_in_requests_out_of_order_all_count(backend) {
        let store = Store::fresh(backend).await;
        for number in (1..=5).rev() {
            assert!(store.accounts.put_code(&request("1", at(number))).await.unwrap(), "{number}");
        }
        assert!(!store.accounts.put_code(&request("refused", at(0))).await.unwrap());
        for number in (1..=5).rev() {
            assert!(!is_in(&store, &attempt("wrong", "a", at(number))).await);
        }
        assert!(!is_in(&store, &attempt("1", "a", at(0))).await, "attempts are over");
    }

    async fn sign_in_history_from_future_is_deleted_after_window(backend) {
        let store = Store::fresh(backend).await;
        store.accounts.put_code(&request("1", at(HOUR_MS))).await.unwrap();
        let rows = async || store.databases.count(Database::Main, "SELECT count(*) AS n FROM sign_in_codes").await;
        assert!(!is_in(&store, &attempt("wrong", "a", at(0))).await);
        store.main.maintain(at(HOUR_MS), 0).await.unwrap();
        assert_eq!(rows().await, 1, "it still counts");
        store.main.maintain(at(2 * HOUR_MS + 1), 0).await.unwrap();
        assert_eq!(rows().await, 0);
    }

    async fn sign_in_history_is_deleted_when_limits_expire(backend) {
        let store = Store::fresh(backend).await;
        store.accounts.put_code(&request("1", at(0))).await.unwrap();
        let rows = async || store.databases.count(Database::Main, "SELECT count(*) AS n FROM sign_in_codes").await;
        store.main.maintain(at(HOUR_MS), 0).await.unwrap();
        assert_eq!(rows().await, 1);
        let done = store.main.maintain(at(2 * HOUR_MS + 1), 0).await.unwrap();
        assert_eq!((done.rows_deleted, rows().await), (1, 0));
    }

    async fn sign_in_collision_keeps_code_usable(backend) {
        let store = Store::fresh(backend).await;
        store.accounts.create_user(&creation("a", None), None).await.unwrap();
        store.accounts.put_code(&request("1", at(0))).await.unwrap();
        let taken = |hash_id: &str, referral_code: &str| SignIn {
            candidate: NewUser { id: "id-new".into(), hash_id: hash_id.into(), referral_code: referral_code.into() },
            ..attempt("1", "new", at(1))
        };
        for sign_in in [taken("hash-a", "code-new"), taken("hash-new", "code-a")] {
            assert_eq!(store.accounts.sign_in(&sign_in, None).await.unwrap().0, SignInOutcome::Collision);
        }
        assert_eq!(store.databases.count(Database::Main, "SELECT count(*) AS n FROM users").await, 1);
        assert!(is_in(&store, &attempt("1", "new", at(1))).await, "the code is still good");
        assert!(!is_in(&store, &attempt("1", "new", at(1))).await, "and good once");
    }

    async fn account_record_restores_what_sign_up_made(backend) {
        let store = Store::fresh(backend).await;
        let sign_in = SignIn {
            proof: Credential::External {
                provider: "google".into(),
                subject: "s-1".into(),
                verified_email: Some("ann@example.org".into()),
            },
            ..attempt("1", "ann", at(1))
        };
        let (outcome, made) = store.accounts.sign_in(&sign_in, None).await.unwrap();
        let record = MainRecord::Account(made.expect("a new user"));
        let again = store.accounts.sign_in(&sign_in, None).await.unwrap();
        assert!(again.1.is_none() && outcome != again.0, "nothing is new the second time: {again:?}");
        let all = async || {
            let (users, identities) = ("SELECT * FROM users", "SELECT * FROM user_identities");
            (store.databases.rows(Database::Main, users).await, store.databases.rows(Database::Main, identities).await)
        };
        let before = all().await;
        // As the writer does while nothing has gone back.
        let applied = store.main.apply(&store.step(0, 1), std::slice::from_ref(&record)).await.unwrap();
        assert_eq!((applied.rows, all().await), (vec![], before.clone()));
        store.databases.execute(Database::Main, "DELETE FROM users; DELETE FROM user_identities").await;
        let applied = store.main.apply(&store.step(1, 2), std::slice::from_ref(&record)).await.unwrap();
        assert_eq!((applied.rows, all().await), (vec![("users", 1)], before));
        // Somebody else has the address by now: that is for an operator to decide.
        store.databases.execute(Database::Main, "UPDATE users SET id = 'other'").await;
        let refused = store.main.apply(&store.step(2, 3), &[record]).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }

    async fn create_user_conflicts_are_reported_by_kind(backend) {
        let store = Store::fresh(backend).await;
        let create = async |request: &CreateUser| store.accounts.create_user(request, None).await.unwrap().0;
        let made = |created: bool| CreateUserOutcome::User { hash_id: "hash-a".into(), created };
        assert_eq!(create(&creation("a", Some("ann@example.org"))).await, made(true));
        assert_eq!(create(&creation("a", Some("bob@example.org"))).await, made(false));
        assert_eq!(create(&creation("b", Some("ann@example.org"))).await, CreateUserOutcome::EmailTaken);
        let with = |hash_id: &str, referral_code: &str| CreateUser {
            user: NewUser { id: "id-b".into(), hash_id: hash_id.into(), referral_code: referral_code.into() },
            ..creation("b", None)
        };
        assert_eq!(create(&with("hash-b", "code-a")).await, CreateUserOutcome::ReferralCodeTaken);
        assert_eq!(create(&with("hash-a", "code-b")).await, CreateUserOutcome::Collision);
        assert_eq!(store.databases.count(Database::Main, "SELECT count(*) AS n FROM users").await, 1);
    }

    async fn consent_version_ignores_documents_that_history_lists(backend) {
        let store = Store::fresh(backend).await;
        let consent = |number: u128, user: &str, version: &str| {
            MainRecord::Consent(Box::new(ConsentRecord {
                id: Uuid::from_u128(number),
                created_at: at(i64::try_from(number).unwrap()),
                user_id: Some(user.into()),
                document_version: version.into(),
                preferences: ConsentPreferences { analytics: true, marketing: true, functional: true },
                ip_address: None,
                user_agent: None,
            }))
        };
        let batch = [consent(1, "ann", "1"), consent(3, "ann", "3"), consent(2, "ann", "2"), consent(4, "bob", "4")];
        store.main.apply(&store.step(0, 4), &batch).await.unwrap();
        let id = Uuid::from_u128(9);
        let other = format!(
            "INSERT INTO consent_records
                 (id, user_id, document_type, document_version, accepted, preferences, created_at)
             VALUES ('{id}', 'ann', 'TERMS', '9', {truth}, '{{}}', '2026-05-01T00:00:00.000Z')",
            truth = if backend == Backend::Sqlite { "0" } else { "false" }
        );
        store.databases.execute(Database::Main, &other).await;
        assert_eq!(store.reads.consent_version("ann", None).await.unwrap().as_deref(), Some("2"));
        assert_eq!(store.reads.consent_version("nobody", None).await.unwrap(), None);
        let told = store.reads.consents("ann", 3, None).await.unwrap();
        let told: Vec<Value> =
            told.iter().map(|row| json!([row.document_type, row.document_version, row.accepted])).collect();
        assert_eq!(
            told,
            [json!(["TERMS", "9", false]), json!(["COOKIE_CONSENT", "2", true]), json!(["COOKIE_CONSENT", "3", true])]
        );
        assert_eq!(store.reads.consents("ann' OR '1'='1", 3, None).await.unwrap(), []);
    }

    async fn consents_from_before_their_order_go_by_time_and_come_first(backend) {
        let directory = tempfile::tempdir().unwrap();
        let databases = Databases::fresh(backend, directory.path()).await;
        if let Some(file) = databases.main_url.strip_prefix("sqlite://") {
            // Nobody but a sink makes it.
            std::fs::create_dir_all(std::path::Path::new(file).parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        let engine = if backend == Backend::Sqlite { "sqlite" } else { "postgres" };
        let folder = format!("{}/../../migrations/main/{engine}", env!("CARGO_MANIFEST_DIR"));
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let row = |number: u128, second: u32| {
            format!(
                "INSERT INTO consent_records
                     (id, user_id, document_type, document_version, accepted, preferences, created_at)
                 VALUES ('{}', 'ann', 'COOKIE_CONSENT', '{number}', {}, '{{}}', '2026-05-01T00:00:{second:02}.000Z')",
                Uuid::from_u128(number),
                if backend == Backend::Sqlite { "1" } else { "true" }
            )
        };
        for file in files {
            let is_new = file.file_name().unwrap().to_str().unwrap().contains("order_of_consents");
            if is_new && !file.to_str().unwrap().contains("index") {
                // By time they are 3, 1, 2.
                for (number, second) in [(1, 20), (2, 30), (3, 10)] {
                    databases.execute(Database::Main, &row(number, second)).await;
                }
            }
            databases.execute(Database::Main, &std::fs::read_to_string(file).unwrap()).await;
        }
        // Later ones, of a clock that is behind.
        for number in [5, 4] {
            databases.execute(Database::Main, &row(number, 0)).await;
        }
        let reads = open_main(&databases.main_url).unwrap().tables().reads;
        let told: Vec<String> =
            reads.consents("ann", 9, None).await.unwrap().into_iter().map(|row| row.document_version).collect();
        assert_eq!(told, ["4", "5", "2", "1", "3"]);
        for change in ["UPDATE consent_records SET stored_order = 9", "UPDATE consent_records SET stored_order = NULL"] {
            databases.try_execute(Database::Main, change).await.expect_err(change);
        }
    }

    async fn consent_replayed_comes_behind_what_was_saved_before_it(backend) {
        let store = Store::fresh(backend).await;
        let consent = |number: u128, user: &str| {
            MainRecord::Consent(Box::new(ConsentRecord {
                id: Uuid::from_u128(number),
                created_at: at(i64::try_from(number).unwrap()),
                user_id: Some(user.into()),
                document_version: number.to_string(),
                preferences: ConsentPreferences { analytics: true, marketing: true, functional: true },
                ip_address: None,
                user_agent: None,
            }))
        };
        // 1 and 3 were refused at their turn.
        let applied = [consent(2, "ann"), consent(4, "ann"), consent(5, "bob")];
        store.main.apply(&store.step(0, 5), &applied).await.unwrap();
        let replay = Step { is_replay: true, ..store.step(5, 6) };
        store.main.apply(&replay, &[consent(3, "ann"), consent(1, "ann"), consent(6, "eve")]).await.unwrap();
        store.main.apply(&store.step(6, 7), &[consent(7, "eve")]).await.unwrap();
        for (user, versions) in [("ann", vec!["4", "3", "2", "1"]), ("bob", vec!["5"]), ("eve", vec!["7", "6"])] {
            let told: Vec<String> =
                store.reads.consents(user, 9, None).await.unwrap().into_iter().map(|row| row.document_version).collect();
            assert_eq!(told, versions, "{user}");
            assert_eq!(store.reads.consent_version(user, None).await.unwrap().as_deref(), Some(versions[0]));
        }
    }
}
