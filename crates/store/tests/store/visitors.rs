//! Visitors: a batch comes to what its records come to one by one, and a start finds what it needs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use serde_json::{Value, json};
use weir_domain::{Attributes, Fingerprint, VisitorFillRecord, VisitorRecord, VisitorToken};
use weir_testkit::{Database, on_both_databases};

use super::*;

const MINUTE_MS: i64 = 60_000;

fn token(number: u128) -> VisitorToken {
    VisitorToken(number.to_be_bytes())
}

fn visitor(number: u128, created_at: UnixMillis, attributes: Attributes) -> VisitorRecord {
    VisitorRecord {
        token: token(number),
        created_at,
        fingerprint: Fingerprint([u8::try_from(number % 256).unwrap(); 32]),
        user_agent: None,
        attributes,
        referrer: None,
        landing_url: None,
        country: None,
        city: None,
        state: None,
    }
}

fn made(visitor: VisitorRecord) -> MainRecord {
    MainRecord::Visitor(Box::new(visitor))
}

async fn user(store: &Store, id: &str, hash_id: &str, referral_code: &str) {
    let sql = format!(
        "INSERT INTO users (id, hash_id, referral_code, created_at)
         VALUES ('{id}', '{hash_id}', '{referral_code}', '2026-01-01T00:00:00.000Z')"
    );
    store.databases.execute(Database::Main, &sql).await;
}

/// The applier's clock, which is the only one: see [`Store::step`].
fn now() -> UnixMillis {
    DAY
}

/// One thing that happens to one of a few visitors.
#[derive(Clone, Debug)]
enum Event {
    Made(u8, Attributes),
    Filled(u8, Attributes),
    /// A user signs in with it.
    Linked(u8, &'static str),
    /// The writer takes what there is until here as one batch.
    Batch,
}

/// What a visitor's row says.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    utm: [Option<String>; 5],
    invited_by_id: Option<String>,
    user_id: Option<String>,
    updated_at: i64,
}

/// Users by hash id and by referral code; a code of one is the hash id of another.
const USERS: [(&str, &str, &str); 3] = [("u1", "h1", "both"), ("u2", "both", "c2"), ("u3", "h3", "c3")];

fn event() -> impl Strategy<Value = Event> {
    const TEXTS: [&str; 5] = ["a", "b", "", "'; --", "\"\\ü"];
    const INVITATIONS: [&str; 6] = ["h1", "both", "c2", "h3", "c3", "nobody"];
    let one_of = |texts: &'static [&'static str]| proptest::sample::select(texts).prop_map(str::to_owned);
    let text = move || proptest::option::weighted(0.3, one_of(&TEXTS));
    let invitation = proptest::option::weighted(0.6, one_of(&INVITATIONS));
    let attributes = (text(), text(), text(), text(), text(), invitation).prop_map(
        |(utm_source, utm_medium, utm_campaign, utm_term, utm_content, invited_by)| Attributes {
            utm_source,
            utm_medium,
            utm_campaign,
            utm_term,
            utm_content,
            invited_by,
        },
    );
    prop_oneof![
        2 => (0_u8..4, attributes.clone()).prop_map(|(number, attributes)| Event::Made(number, attributes)),
        5 => (0_u8..4, attributes).prop_map(|(number, attributes)| Event::Filled(number, attributes)),
        1 => (0_u8..4, 0_usize..3).prop_map(|(number, user)| Event::Linked(number, USERS[user].0)),
        2 => Just(Event::Batch),
    ]
}

fn inviter(invitation: &str) -> Option<&'static str> {
    let by_hash = USERS.iter().find(|(_, hash_id, _)| *hash_id == invitation);
    by_hash.or_else(|| USERS.iter().find(|(_, _, code)| *code == invitation)).map(|(id, _, _)| *id)
}

/// Fields that are unknown take what is brought, the others nothing.
fn fill(row: &mut Row, brought: &Attributes, at: i64) {
    let Attributes { utm_source, utm_medium, utm_campaign, utm_term, utm_content, invited_by } = brought.clone();
    let before = row.clone();
    for (column, value) in row.utm.iter_mut().zip([utm_source, utm_medium, utm_campaign, utm_term, utm_content]) {
        *column = column.take().or(value);
    }
    let inviter = invited_by.as_deref().and_then(inviter).filter(|inviter| row.user_id.as_deref() != Some(inviter));
    row.invited_by_id = row.invited_by_id.take().or(inviter.map(str::to_owned));
    if *row != before {
        row.updated_at = at;
    }
}

/// Runs the events one by one in memory and in batches through the store; both must tell the same.
async fn follow(
    store: &Store,
    first: u128,
    position: &mut u64,
    events: &[Event],
) -> (BTreeMap<u128, Row>, BTreeMap<u128, Row>) {
    let mut model: BTreeMap<u128, Row> = BTreeMap::new();
    let mut batch = Vec::new();
    for (at, event) in (DAY.0..).zip(events.iter().chain([&Event::Batch])) {
        match event {
            Event::Made(number, attributes) => {
                let number = first + u128::from(*number);
                let empty = Row { utm: Default::default(), invited_by_id: None, user_id: None, updated_at: at };
                model.entry(number).or_insert_with(|| {
                    let mut row = empty;
                    fill(&mut row, attributes, at);
                    row
                });
                batch.push(made(visitor(number, UnixMillis(at), attributes.clone())));
            }
            Event::Filled(number, attributes) => {
                let number = first + u128::from(*number);
                if let Some(row) = model.get_mut(&number) {
                    fill(row, attributes, at);
                }
                let fill =
                    VisitorFillRecord { token: token(number), at: UnixMillis(at), attributes: attributes.clone() };
                batch.push(MainRecord::VisitorFill(Box::new(fill)));
            }
            Event::Linked(..) | Event::Batch => {
                let through = *position + batch.len() as u64;
                store.main.apply(&store.step(*position, through), &batch).await.unwrap();
                *position = through;
                batch.clear();
                if let Event::Linked(number, user) = event
                    && let Some(row) = model.get_mut(&(first + u128::from(*number))).filter(|row| row.user_id.is_none())
                {
                    row.user_id = Some((*user).to_owned());
                    let token = token(first + u128::from(*number));
                    let sql = format!("UPDATE visitors SET user_id = '{user}' WHERE token = '{token}'");
                    store.databases.execute(Database::Main, &sql).await;
                }
            }
        }
    }
    let mut stored = BTreeMap::new();
    for number in first..first + 4 {
        let sql = format!("SELECT * FROM visitors WHERE token = '{}'", token(number));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        for row in store.databases.rows(Database::Main, &sql).await {
            let utm = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"]
                .map(|column| text(&row[column]));
            let updated_at = weir_testkit::time(&row["updated_at"]).timestamp_millis();
            let row =
                Row { utm, invited_by_id: text(&row["invited_by_id"]), user_id: text(&row["user_id"]), updated_at };
            assert!(stored.insert(number, row).is_none(), "two rows of one token");
        }
    }
    (model, stored)
}

/// The same on either engine; a failing sequence is kept and tried again.
fn visitor_batches_match_model(backend: Backend, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(async {
        let store = Store::fresh(backend).await;
        for (id, hash_id, referral_code) in USERS {
            user(&store, id, hash_id, referral_code).await;
        }
        store
    });
    let config = ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/proptest-regressions/visitors.txt"))),
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };
    let (mut first, mut position) = (0, 0);
    let state = std::cell::RefCell::new((&mut first, &mut position));
    TestRunner::new(config)
        .run(&proptest::collection::vec(event(), 1..40), |events| {
            let mut state = state.borrow_mut();
            let (first, position) = &mut *state;
            // Tokens of its own for every sequence: one database serves them all.
            **first += 4;
            let (model, stored) = runtime.block_on(follow(&store, **first, position, &events));
            prop_assert_eq!(stored, model);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn visitor_batches_match_model_on_sqlite() {
    visitor_batches_match_model(Backend::Sqlite, 150);
}

#[test]
fn visitor_batches_match_model_on_postgres() {
    visitor_batches_match_model(Backend::Postgres, 60);
}

on_both_databases! {
    async fn visitor_row_keeps_every_field(backend) {
        let store = Store::fresh(backend).await;
        let odd = "'\"\\ \u{1}ü漢🦀 %s $1";
        let full = VisitorRecord {
            user_agent: Some(odd.into()),
            referrer: Some("r".repeat(8192)),
            landing_url: Some("é".repeat(8192)),
            country: Some("TR".into()),
            city: Some("İzmir".into()),
            state: Some("Ege".into()),
            ..visitor(
                1,
                now(),
                Attributes { utm_source: Some(odd.into()), utm_content: Some(String::new()), ..Attributes::default() },
            )
        };
        store.main.apply(&store.step(0, 1), &[made(full.clone())]).await.unwrap();
        let row = store.databases.rows(Database::Main, "SELECT * FROM visitors").await.remove(0);
        for (column, value) in [
            ("token", json!(full.token.to_string())),
            ("fingerprint", json!("01".repeat(32))),
            ("user_agent", json!(odd)),
            ("utm_source", json!(odd)),
            ("utm_medium", Value::Null),
            ("utm_content", json!("")),
            ("referrer", json!(full.referrer)),
            ("landing_url", json!(full.landing_url)),
            ("invited_by_id", Value::Null),
            ("user_id", Value::Null),
            ("country", json!("TR")),
            ("city", json!("İzmir")),
            ("state", json!("Ege")),
        ] {
            assert_eq!(row[column], value, "{column}");
        }
        assert_eq!(weir_testkit::time(&row["created_at"]).timestamp_millis(), full.created_at.0);
    }

    async fn visitor_batch_of_any_size_is_applied(backend) {
        let store = Store::fresh(backend).await;
        let mut number = 0;
        let mut position = 0;
        for size in [1, 199, 201, 2000] {
            let batch: Vec<MainRecord> = (0..size)
                .map(|_| {
                    number += 1;
                    made(visitor(number, now(), Attributes::default()))
                })
                .collect();
            store.main.apply(&store.step(position, position + size), &batch).await.unwrap();
            position += size;
        }
        let n = store.databases.count(Database::Main, "SELECT count(*) AS n FROM visitors").await;
        assert_eq!(u64::try_from(n).unwrap(), position);
    }

    async fn recent_visitors_are_returned_newest_first(backend) {
        let store = Store::fresh(backend).await;
        let now = now();
        let ago = |ms: i64| UnixMillis(now.0 - ms);
        let batch = [(1, 4 * MINUTE_MS), (2, MINUTE_MS), (3, 0), (4, 6 * MINUTE_MS), (5, 3 * MINUTE_MS)]
            .map(|(number, age)| made(visitor(number, ago(age), Attributes::default())));
        store.main.apply(&store.step(0, 5), &batch).await.unwrap();
        let recent = store.visitors.recent_visitors(ago(4 * MINUTE_MS), 10, None).await.unwrap();
        let tokens: Vec<VisitorToken> = recent.iter().map(|visitor| visitor.token).collect();
        assert_eq!(tokens, [3, 2, 5, 1].map(token));
        assert_eq!((recent[0].fingerprint, recent[0].created_at), (Fingerprint([3; 32]), now));
        let two = store.visitors.recent_visitors(ago(4 * MINUTE_MS), 2, None).await.unwrap();
        assert_eq!(two, recent[..2]);
        assert_eq!(store.visitors.newest_tokens(3, None).await.unwrap(), [3, 2, 5].map(token));
        assert_eq!(store.visitors.newest_tokens(10, None).await.unwrap(), [3, 2, 5, 1, 4].map(token));
        // What somebody wrote by hand does not stop a start.
        let by_hand = "INSERT INTO visitors (token, fingerprint, created_at, updated_at)
                       VALUES ('hand', 'made', '2999-01-01T00:00:00.000Z', '2999-01-01T00:00:00.000Z')";
        store.databases.execute(Database::Main, by_hand).await;
        assert_eq!(store.visitors.recent_visitors(ago(4 * MINUTE_MS), 10, None).await.unwrap(), recent);
        assert_eq!(store.visitors.newest_tokens(10, None).await.unwrap().len(), 5);
    }

    async fn visitor_fingerprints_expire_to_the_millisecond(backend) {
        let store = Store::fresh(backend).await;
        let now = now();
        // The first is past its window already when it is applied.
        let batch = [(1, 10 * MINUTE_MS), (2, 2 * MINUTE_MS), (3, MINUTE_MS)]
            .map(|(number, age)| made(visitor(number, UnixMillis(now.0 - age), Attributes::default())));
        store.main.apply(&store.step(0, 3), &batch).await.unwrap();
        let kept = async || {
            let sql = "SELECT token FROM visitors WHERE fingerprint IS NOT NULL ORDER BY token";
            store.databases.rows(Database::Main, sql).await.len()
        };
        assert_eq!(kept().await, 2);
        let end_of_second = now.0 - 2 * MINUTE_MS + 5 * MINUTE_MS;
        store.main.maintain(UnixMillis(end_of_second - 1), 0).await.unwrap();
        assert_eq!(kept().await, 2);
        store.main.maintain(UnixMillis(end_of_second), 0).await.unwrap();
        assert_eq!(kept().await, 1);
        let all = store.databases.count(Database::Main, "SELECT count(*) AS n FROM visitors").await;
        assert_eq!(all, 3, "visitors stay");
    }

    async fn visitor_lookup_by_token_finds_only_anonymous_profile(backend) {
        let store = Store::fresh(backend).await;
        let told = VisitorRecord {
            user_agent: Some("agent".into()),
            country: Some("TR".into()),
            ..visitor(1, now(), Attributes::default())
        };
        store.main.apply(&store.step(0, 1), &[made(told)]).await.unwrap();
        assert!(store.visitors.visitor_exists(token(1), None).await.unwrap());
        assert!(!store.visitors.visitor_exists(token(2), None).await.unwrap());
        let profile = store.visitors.visitor_profile(token(1), None).await.unwrap().unwrap();
        assert_eq!((profile.user_agent.as_deref(), profile.country.as_deref()), (Some("agent"), Some("TR")));
        assert_eq!(store.visitors.visitor_profile(token(2), None).await.unwrap(), None);
        store.databases.execute(Database::Main, "UPDATE visitors SET user_id = 'u1'").await;
        assert_eq!(store.visitors.visitor_profile(token(1), None).await.unwrap(), None, "it is somebody's now");
        assert!(store.visitors.visitor_exists(token(1), None).await.unwrap());
    }
}
