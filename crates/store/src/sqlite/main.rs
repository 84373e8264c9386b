//! The main database on SQLite.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row, Sqlite, SqliteConnection};

use super::super::migrations::{self, MigrationObserver};
use super::super::position::{PositionTable, Positions};
use super::super::visitor_fold::{Inviters, TouchedVisitors, VisitorFold, VisitorState, live_fingerprint};
use super::super::{
    Accounts, Applied, MainReads, Maintained, SettingsTable, Sink, Step, StoreError, VisitorTable, by_kind,
};
use super::{SqliteFile, insert_sql};
use crate::accounts::AccountTables;
use crate::sift::sift;
use weir_domain::{ConsentRecord, FINGERPRINT_LIFETIME_MS, FunnelEventRecord, MainRecord, UnixMillis, VisitorToken};

/// How many rows one INSERT brings.
const ROWS: usize = 200;

const CONSENT_COLUMNS: [&str; 9] = [
    "id",
    "user_id",
    "document_type",
    "document_version",
    "accepted",
    "preferences",
    "ip_address",
    "user_agent",
    "created_at",
];

/// One that was refused at its turn comes behind what its user had saved by then, not behind what came since. The ids of a process
/// grow as its records do, whatever its clock does.
const INSERT_REPLAYED_CONSENT: &str = "
    INSERT INTO consent_records (
        id, user_id, document_type, document_version, accepted, preferences, ip_address, user_agent, created_at,
        stored_order
    )
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce((
        SELECT max(stored_order) FROM consent_records WHERE user_id = $2 AND id < $1
    ), 0))";

const EVENT_COLUMNS: [&str; 6] = ["id", "user_id", "event", "session_id", "properties", "created_at"];

/// Lists of tokens and of rows are one bound JSON text each, so that every statement's text stays the same.
const LOAD_VISITORS: &str = "
    SELECT token, utm_source, utm_medium, utm_campaign, utm_term, utm_content, invited_by_id, user_id
    FROM visitors WHERE token IN (SELECT value FROM json_each($1))";

const FIND_INVITERS: &str = "
    SELECT id, hash_id, referral_code FROM users
    WHERE hash_id IN (SELECT value FROM json_each($1)) OR referral_code IN (SELECT value FROM json_each($1))";

const INSERT_VISITORS: &str = "
    INSERT INTO visitors (
        token, fingerprint, user_agent, utm_source, utm_medium, utm_campaign, utm_term, utm_content, referrer,
        landing_url, invited_by_id, country, city, state, created_at, updated_at
    )
    SELECT new.value ->> 0, new.value ->> 1, new.value ->> 2, new.value ->> 3, new.value ->> 4, new.value ->> 5,
           new.value ->> 6, new.value ->> 7, new.value ->> 8, new.value ->> 9, new.value ->> 10, new.value ->> 11,
           new.value ->> 12, new.value ->> 13, new.value ->> 14, new.value ->> 15
    FROM json_each($1) AS new WHERE true
    ON CONFLICT (token) DO NOTHING";

const UPDATE_VISITORS: &str = "
    UPDATE visitors
    SET utm_source = change.value ->> 1, utm_medium = change.value ->> 2, utm_campaign = change.value ->> 3,
        utm_term = change.value ->> 4, utm_content = change.value ->> 5, invited_by_id = change.value ->> 6,
        updated_at = change.value ->> 7
    FROM json_each($1) AS change
    WHERE visitors.token = change.value ->> 0";

/// The main database in a SQLite file.
pub struct SqliteMain {
    file: SqliteFile,
    positions: PositionTable<Sqlite>,
    accounts: Arc<AccountTables<Sqlite>>,
}

impl SqliteMain {
    /// Opens lazily: the first statement makes the file.
    ///
    /// # Errors
    /// When the URL is none, or its directory cannot be made.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let file = SqliteFile::of(url)?;
        let accounts = Arc::new(AccountTables::new(file.requests.clone()));
        Ok(Self { positions: PositionTable::new(&file.pool), accounts, file })
    }

    /// What users read.
    #[must_use]
    pub fn reads(&self) -> Arc<dyn MainReads> {
        Arc::clone(&self.accounts) as _
    }

    /// Visitors by their tokens and fingerprints.
    #[must_use]
    pub fn visitors(&self) -> Arc<dyn VisitorTable> {
        Arc::clone(&self.accounts) as _
    }

    /// Users and how they sign in.
    #[must_use]
    pub fn accounts(&self) -> Arc<dyn Accounts> {
        Arc::clone(&self.accounts) as _
    }
}

#[async_trait]
impl Sink for SqliteMain {
    type Record<'a> = MainRecord;
    type Prepared = Infallible;

    fn describe(&self) -> &'static str {
        "main on sqlite"
    }

    fn batch_records(&self) -> usize {
        2_000
    }

    fn maintenance_interval(&self) -> std::time::Duration {
        super::super::FINGERPRINTS_CLEARED_EVERY
    }

    async fn migrate_observed(&self, tell: MigrationObserver<'_>) -> Result<(), StoreError> {
        let mut connection = self.file.attach().await?;
        connection.close_on_drop();
        Ok(migrations::run(migrations::MAIN_SQLITE, &mut *connection, tell).await?)
    }

    fn positions(&self) -> &dyn Positions {
        &self.positions
    }

    async fn apply(&self, step: &Step, records: &[Self::Record<'_>]) -> Result<Applied, StoreError> {
        let mut transaction = self.file.begin().await?;
        PositionTable::<Sqlite>::advance(&mut transaction, step).await?;
        let applied = write_rows(&mut transaction, step, records).await?;
        self.file.commit(transaction).await?;
        Ok(applied)
    }

    async fn sift(&self, step: &Step, records: &[Self::Record<'_>]) -> Result<Vec<(usize, StoreError)>, StoreError> {
        let mut transaction = self.file.begin().await?;
        let found = sift!(transaction, records, |span| write_rows(&mut transaction, step, span));
        transaction.rollback().await?;
        Ok(found)
    }

    async fn maintain(&self, now: UnixMillis, _: u32) -> Result<Maintained, StoreError> {
        sqlx::query("UPDATE visitors SET fingerprint = NULL WHERE fingerprint IS NOT NULL AND created_at <= $1")
            .bind(UnixMillis(now.0 - FINGERPRINT_LIFETIME_MS).to_rfc3339())
            .execute(&self.file.pool)
            .await?;
        let codes = sqlx::query("DELETE FROM sign_in_codes WHERE updated_at < $1")
            .bind(UnixMillis(now.0 - super::super::CODES_KEPT_MS).to_rfc3339())
            .execute(&self.file.pool)
            .await?;
        Ok(Maintained { rows_deleted: codes.rows_affected(), ..Maintained::default() })
    }
}

#[async_trait]
impl SettingsTable for SqliteMain {
    async fn settings(&self) -> Result<Vec<(String, String)>, StoreError> {
        Ok(sqlx::query_as("SELECT key, value FROM settings ORDER BY key").fetch_all(&self.file.pool).await?)
    }

    async fn set_setting(&self, key: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        )
        .bind(key)
        .bind(value)
        .execute(&self.file.pool)
        .await?;
        Ok(())
    }
}

async fn write_rows(
    connection: &mut SqliteConnection,
    step: &Step,
    records: &[MainRecord],
) -> Result<Applied, StoreError> {
    let (consents, events, accounts) = by_kind(records);
    let write_set = TouchedVisitors::of(records);
    insert_consents(connection, step, &consents).await?;
    insert_events(connection, &events).await?;
    // Before visitors, whom they may have invited.
    let users = AccountTables::<Sqlite>::restore(connection, &accounts).await?;
    let mut visitors = 0;
    if !write_set.tokens.is_empty() {
        let inviters = find_inviters(connection, &write_set).await?;
        let known = load_visitors(connection, &write_set).await?;
        let fold = VisitorFold::of(records, known, &inviters);
        visitors = fold.new.len() + fold.changed.len();
        write_visitors(connection, step.at, &fold).await?;
    }
    AccountTables::<Sqlite>::restore_links(connection, &accounts).await?;
    let rows = [
        ("consent_records", consents.len()),
        ("funnel_events", events.len()),
        ("visitors", visitors),
        ("users", users),
    ];
    Ok(Applied::of(rows))
}

/// They are numbered (`stored_order`) one after the other, by the table's trigger.
async fn insert_consents(
    connection: &mut SqliteConnection,
    step: &Step,
    consents: &[&ConsentRecord],
) -> Result<(), StoreError> {
    for chunk in consents.chunks(if step.is_replay { 1 } else { ROWS }) {
        let sql = if step.is_replay {
            INSERT_REPLAYED_CONSENT.to_owned()
        } else {
            insert_sql("consent_records", &CONSENT_COLUMNS, chunk.len())
        };
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == ROWS);
        for consent in chunk {
            query = query
                .bind(consent.id.to_string())
                .bind(consent.user_id.clone())
                .bind(ConsentRecord::DOCUMENT_TYPE)
                .bind(consent.document_version.clone())
                .bind(true)
                .bind(consent.preferences.to_json())
                .bind(consent.ip_address.clone())
                .bind(consent.user_agent.clone())
                .bind(consent.created_at.to_rfc3339());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert_events(connection: &mut SqliteConnection, events: &[&FunnelEventRecord]) -> Result<(), StoreError> {
    for chunk in events.chunks(ROWS) {
        let mut sql = insert_sql("funnel_events", &EVENT_COLUMNS, chunk.len());
        sql.push_str(" ON CONFLICT (id) DO NOTHING");
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == ROWS);
        for event in chunk {
            query = query
                .bind(event.id.to_string())
                .bind(event.user_id.clone())
                .bind(event.event.clone())
                .bind(event.session_id.clone())
                .bind(event.properties.clone())
                .bind(event.created_at.to_rfc3339());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn find_inviters(connection: &mut SqliteConnection, write_set: &TouchedVisitors) -> Result<Inviters, StoreError> {
    let mut inviters = Inviters::default();
    if write_set.invitations.is_empty() {
        return Ok(inviters);
    }
    let rows: Vec<(String, String, String)> =
        sqlx::query_as(FIND_INVITERS).bind(json!(write_set.invitations).to_string()).fetch_all(connection).await?;
    for (id, hash_id, referral_code) in rows {
        inviters.add(&id, hash_id, referral_code);
    }
    Ok(inviters)
}

async fn load_visitors(
    connection: &mut SqliteConnection,
    write_set: &TouchedVisitors,
) -> Result<HashMap<VisitorToken, VisitorState>, StoreError> {
    let tokens: Vec<String> = write_set.tokens.iter().map(ToString::to_string).collect();
    let mut known = HashMap::new();
    for row in sqlx::query(LOAD_VISITORS).bind(json!(tokens).to_string()).fetch_all(connection).await? {
        let token: String = row.try_get(0)?;
        let Some(token) = VisitorToken::parse(&token) else { continue };
        let text = |index: usize| row.try_get::<Option<String>, _>(index);
        let state = VisitorState {
            utm: [text(1)?, text(2)?, text(3)?, text(4)?, text(5)?],
            invited_by_id: text(6)?,
            user_id: text(7)?,
            updated_at: None,
        };
        known.insert(token, state);
    }
    Ok(known)
}

async fn write_visitors(
    connection: &mut SqliteConnection,
    now: UnixMillis,
    fold: &VisitorFold<'_>,
) -> Result<(), StoreError> {
    let new = fold.new.iter().map(|(visitor, state)| {
        let [source, medium, campaign, term, content] = &state.utm;
        json!([
            visitor.token.to_string(),
            live_fingerprint(visitor, now),
            visitor.user_agent,
            source,
            medium,
            campaign,
            term,
            content,
            visitor.referrer,
            visitor.landing_url,
            state.invited_by_id,
            visitor.country,
            visitor.city,
            visitor.state,
            visitor.created_at.to_rfc3339(),
            state.updated_at.unwrap_or(visitor.created_at).to_rfc3339(),
        ])
    });
    let changed = fold.changed.iter().map(|(token, state)| {
        let [source, medium, campaign, term, content] = &state.utm;
        let updated_at = state.updated_at.map(UnixMillis::to_rfc3339);
        json!([token.to_string(), source, medium, campaign, term, content, state.invited_by_id, updated_at])
    });
    let statements: [(&str, Vec<Value>); 2] = [(INSERT_VISITORS, new.collect()), (UPDATE_VISITORS, changed.collect())];
    for (sql, rows) in statements {
        if !rows.is_empty() {
            sqlx::query(AssertSqlSafe(sql)).bind(json!(rows).to_string()).execute(&mut *connection).await?;
        }
    }
    Ok(())
}
