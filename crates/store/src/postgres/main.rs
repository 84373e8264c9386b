//! The main database on PostgreSQL.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{PgConnection, PgPool, Postgres, Row};

use super::super::migrations::{self, MigrationObserver};
use super::super::position::{PositionTable, Positions};
use super::super::visitor_fold::{Inviters, TouchedVisitors, VisitorFold, VisitorState, live_fingerprint};
use super::super::{
    Accounts, Applied, MainReads, Maintained, SettingsTable, Sink, Step, StoreError, VisitorTable, by_kind,
};
use super::hosts::Hosts;
use super::writer::{self, WriterConnections};
use super::{column, encoding, patient, pool, request_pool, writer_connections};
use crate::accounts::AccountTables;
use crate::sift::sift;
use weir_domain::{
    Clock, ConsentRecord, FINGERPRINT_LIFETIME_MS, FunnelEventRecord, MainRecord, UnixMillis, VisitorRecord,
    VisitorToken,
};

/// A stored consent is an accepted one. Rows are numbered (`stored_order`) in the order of their records.
const INSERT_CONSENTS: &str = "
    INSERT INTO consent_records (
        id, user_id, document_type, document_version, accepted, preferences, ip_address, user_agent, created_at
    )
    SELECT id, user_id, $3, document_version, true, preferences::jsonb, ip_address, user_agent, created_at
    FROM unnest($1::uuid[], $2::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
        WITH ORDINALITY AS batch (id, user_id, document_version, preferences, ip_address, user_agent, created_at, place)
    ORDER BY place";

/// One that was refused at its turn comes behind what its user had saved by then, not behind what came since. The ids of a process
/// grow as its records do, whatever its clock does.
const INSERT_REPLAYED_CONSENTS: &str = "
    INSERT INTO consent_records (
        id, user_id, document_type, document_version, accepted, preferences, ip_address, user_agent, created_at,
        stored_order
    )
    SELECT id, user_id, $3, document_version, true, preferences::jsonb, ip_address, user_agent, created_at,
           coalesce((
               SELECT max(stored_order) FROM consent_records AS earlier
               WHERE earlier.user_id = batch.user_id AND earlier.id < batch.id
           ), 0)
    FROM unnest($1::uuid[], $2::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
        AS batch (id, user_id, document_version, preferences, ip_address, user_agent, created_at)";

const INSERT_EVENTS: &str = "
    INSERT INTO funnel_events (id, user_id, event, session_id, properties, created_at)
    SELECT id, user_id, event, session_id, properties::jsonb, created_at
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
        AS batch (id, user_id, event, session_id, properties, created_at)
    ON CONFLICT (id) DO NOTHING";

const INSERT_VISITORS: &str = "
    INSERT INTO visitors (
        token, fingerprint, user_agent, utm_source, utm_medium, utm_campaign, utm_term, utm_content, referrer,
        landing_url, invited_by_id, country, city, state, created_at, updated_at
    )
    SELECT *
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::timestamptz[], $16::timestamptz[]
    )
    ON CONFLICT (token) DO NOTHING";

const LOCK_VISITORS: &str = "
    SELECT token, utm_source, utm_medium, utm_campaign, utm_term, utm_content, invited_by_id, user_id
    FROM visitors WHERE token = ANY($1) ORDER BY token FOR UPDATE";

const FIND_INVITERS: &str =
    "SELECT id, hash_id, referral_code FROM users WHERE hash_id = ANY($1) OR referral_code = ANY($1)";

const UPDATE_VISITORS: &str = "
    UPDATE visitors
    SET utm_source = change.utm_source, utm_medium = change.utm_medium, utm_campaign = change.utm_campaign,
        utm_term = change.utm_term, utm_content = change.utm_content, invited_by_id = change.invited_by_id,
        updated_at = change.updated_at
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
        AS change (token, utm_source, utm_medium, utm_campaign, utm_term, utm_content, invited_by_id, updated_at)
    WHERE visitors.token = change.token";

/// In the writer's order, and around the rows that it holds: those come next time.
const CLEAR_FINGERPRINTS: &str = "
    UPDATE visitors SET fingerprint = NULL
    WHERE token IN (
        SELECT token FROM visitors WHERE fingerprint IS NOT NULL AND created_at <= $1
        ORDER BY token FOR UPDATE SKIP LOCKED
    )";

/// The main database on a PostgreSQL server.
pub struct PostgresMain {
    writer: WriterConnections,
    hosts: Arc<Hosts>,
    pool: PgPool,
    positions: PositionTable<Postgres>,
    accounts: Arc<AccountTables<Postgres>>,
}

impl PostgresMain {
    /// Asks whether the database can hold every text.
    ///
    /// # Errors
    /// [`StoreError::Encoding`] when it cannot; another when it does not answer.
    pub async fn check_encoding(&self) -> Result<(), StoreError> {
        encoding::check(&mut self.hosts.connect(patient).await?).await
    }

    /// Connects when it is first used.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let hosts = Hosts::of(url)?;
        let pool = pool(&hosts);
        let accounts = Arc::new(AccountTables::new(request_pool(&hosts)));
        Ok(Self { writer: writer_connections(&hosts), hosts, positions: PositionTable::new(&pool), accounts, pool })
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
impl Sink for PostgresMain {
    type Record<'a> = MainRecord;
    type Prepared = Infallible;

    fn describe(&self) -> &'static str {
        "main on postgres"
    }

    fn batch_records(&self) -> usize {
        2_000
    }

    fn maintenance_interval(&self) -> std::time::Duration {
        super::super::FINGERPRINTS_CLEARED_EVERY
    }

    async fn migrate_observed(&self, tell: MigrationObserver<'_>) -> Result<(), StoreError> {
        let mut connection = self.hosts.connect(patient).await?;
        encoding::check(&mut connection).await?;
        Ok(migrations::run(migrations::MAIN_POSTGRES, &mut connection, tell).await?)
    }

    async fn find_server(&self) -> Result<(), StoreError> {
        self.hosts.find().await
    }

    fn positions(&self) -> &dyn Positions {
        &self.positions
    }

    async fn apply(&self, step: &Step, records: &[Self::Record<'_>]) -> Result<Applied, StoreError> {
        let mut held = self.writer.begin().await?;
        let applied = apply_on(&mut held.connection, step, records).await;
        self.writer.keep(held, &applied);
        applied
    }

    async fn sift(&self, step: &Step, records: &[Self::Record<'_>]) -> Result<Vec<(usize, StoreError)>, StoreError> {
        let mut held = self.writer.begin().await?;
        let found = sift_on(&mut held.connection, step, records).await;
        self.writer.keep(held, &found);
        found
    }

    async fn clock_skew_ms(&self, clock: &Clock) -> Result<Option<i64>, StoreError> {
        super::clock_skew_ms(&self.pool, clock).await.map(Some)
    }

    async fn maintain(&self, now: UnixMillis, _: u32) -> Result<Maintained, StoreError> {
        sqlx::query(CLEAR_FINGERPRINTS)
            .bind(UnixMillis(now.0 - FINGERPRINT_LIFETIME_MS).to_datetime())
            .execute(&self.pool)
            .await?;
        let codes = sqlx::query("DELETE FROM sign_in_codes WHERE updated_at < $1")
            .bind(UnixMillis(now.0 - super::super::CODES_KEPT_MS).to_datetime())
            .execute(&self.pool)
            .await?;
        Ok(Maintained { rows_deleted: codes.rows_affected(), ..Maintained::default() })
    }
}

#[async_trait]
impl SettingsTable for PostgresMain {
    async fn settings(&self) -> Result<Vec<(String, String)>, StoreError> {
        Ok(sqlx::query_as("SELECT key, value FROM settings ORDER BY key").fetch_all(&self.pool).await?)
    }

    async fn set_setting(&self, key: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, now())
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        )
        .bind(key)
        .bind(value)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

async fn apply_on(connection: &mut PgConnection, step: &Step, records: &[MainRecord]) -> Result<Applied, StoreError> {
    let written = write(connection, step, records).await;
    writer::end(connection, written).await
}

async fn sift_on(
    connection: &mut PgConnection,
    step: &Step,
    records: &[MainRecord],
) -> Result<Vec<(usize, StoreError)>, StoreError> {
    writer::check_at_once(connection).await?;
    let found = sift!(connection, records, |span| write_rows(connection, step, span));
    sqlx::raw_sql("ROLLBACK").execute(connection).await?;
    Ok(found)
}

async fn write(connection: &mut PgConnection, step: &Step, records: &[MainRecord]) -> Result<Applied, StoreError> {
    PositionTable::<Postgres>::advance(connection, step).await?;
    write_rows(connection, step, records).await
}

async fn write_rows(connection: &mut PgConnection, step: &Step, records: &[MainRecord]) -> Result<Applied, StoreError> {
    let (consents, events, accounts) = by_kind(records);
    let write_set = TouchedVisitors::of(records);
    insert_consents(connection, step, &consents).await?;
    insert_events(connection, &events).await?;
    // Before visitors, whom they may have invited.
    let users = AccountTables::<Postgres>::restore(connection, &accounts).await?;
    let mut visitors = 0;
    if !write_set.tokens.is_empty() {
        let inviters = find_inviters(connection, &write_set).await?;
        let known = lock_visitors(connection, &write_set).await?;
        let fold = VisitorFold::of(records, known, &inviters);
        visitors = fold.new.len() + fold.changed.len();
        insert_visitors(connection, step.at, &fold.new).await?;
        update_visitors(connection, &fold.changed).await?;
    }
    AccountTables::<Postgres>::restore_links(connection, &accounts).await?;
    let rows = [
        ("consent_records", consents.len()),
        ("funnel_events", events.len()),
        ("visitors", visitors),
        ("users", users),
    ];
    Ok(Applied::of(rows))
}

async fn insert_consents(
    connection: &mut PgConnection,
    step: &Step,
    consents: &[&ConsentRecord],
) -> Result<(), StoreError> {
    if consents.is_empty() {
        return Ok(());
    }
    sqlx::query(if step.is_replay { INSERT_REPLAYED_CONSENTS } else { INSERT_CONSENTS })
        .bind(column(consents, |consent| consent.id))
        .bind(column(consents, |consent| consent.user_id.as_deref()))
        .bind(ConsentRecord::DOCUMENT_TYPE)
        .bind(column(consents, |consent| consent.document_version.as_str()))
        .bind(column(consents, |consent| consent.preferences.to_json()))
        .bind(column(consents, |consent| consent.ip_address.as_deref()))
        .bind(column(consents, |consent| consent.user_agent.as_deref()))
        .bind(column(consents, |consent| consent.created_at.to_datetime()))
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert_events(connection: &mut PgConnection, events: &[&FunnelEventRecord]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(INSERT_EVENTS)
        .bind(column(events, |event| event.id))
        .bind(column(events, |event| event.user_id.as_str()))
        .bind(column(events, |event| event.event.as_str()))
        .bind(column(events, |event| event.session_id.as_deref()))
        .bind(column(events, |event| event.properties.as_deref()))
        .bind(column(events, |event| event.created_at.to_datetime()))
        .execute(connection)
        .await?;
    Ok(())
}

async fn find_inviters(connection: &mut PgConnection, write_set: &TouchedVisitors) -> Result<Inviters, StoreError> {
    let mut inviters = Inviters::default();
    if write_set.invitations.is_empty() {
        return Ok(inviters);
    }
    let invitations: Vec<&str> = write_set.invitations.iter().map(String::as_str).collect();
    let rows: Vec<(String, String, String)> =
        sqlx::query_as(FIND_INVITERS).bind(invitations).fetch_all(connection).await?;
    for (id, hash_id, referral_code) in rows {
        inviters.add(&id, hash_id, referral_code);
    }
    Ok(inviters)
}

async fn lock_visitors(
    connection: &mut PgConnection,
    write_set: &TouchedVisitors,
) -> Result<HashMap<VisitorToken, VisitorState>, StoreError> {
    let tokens: Vec<String> = write_set.tokens.iter().map(ToString::to_string).collect();
    let mut known = HashMap::new();
    for row in sqlx::query(LOCK_VISITORS).bind(tokens).fetch_all(connection).await? {
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

async fn insert_visitors(
    connection: &mut PgConnection,
    now: UnixMillis,
    visitors: &[(&VisitorRecord, VisitorState)],
) -> Result<(), StoreError> {
    if visitors.is_empty() {
        return Ok(());
    }
    let utm = |place: usize| column(visitors, move |(_, state)| state.utm[place].as_deref());
    sqlx::query(INSERT_VISITORS)
        .bind(column(visitors, |(visitor, _)| visitor.token.to_string()))
        .bind(column(visitors, |(visitor, _)| live_fingerprint(visitor, now)))
        .bind(column(visitors, |(visitor, _)| visitor.user_agent.as_deref()))
        .bind(utm(0))
        .bind(utm(1))
        .bind(utm(2))
        .bind(utm(3))
        .bind(utm(4))
        .bind(column(visitors, |(visitor, _)| visitor.referrer.as_deref()))
        .bind(column(visitors, |(visitor, _)| visitor.landing_url.as_deref()))
        .bind(column(visitors, |(_, state)| state.invited_by_id.as_deref()))
        .bind(column(visitors, |(visitor, _)| visitor.country.as_deref()))
        .bind(column(visitors, |(visitor, _)| visitor.city.as_deref()))
        .bind(column(visitors, |(visitor, _)| visitor.state.as_deref()))
        .bind(column(visitors, |(visitor, _)| visitor.created_at.to_datetime()))
        .bind(column(visitors, |(visitor, state)| state.updated_at.unwrap_or(visitor.created_at).to_datetime()))
        .execute(connection)
        .await?;
    Ok(())
}

async fn update_visitors(
    connection: &mut PgConnection,
    changed: &[(VisitorToken, VisitorState)],
) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    let utm = |place: usize| column(changed, move |(_, state)| state.utm[place].as_deref());
    sqlx::query(UPDATE_VISITORS)
        .bind(column(changed, |(token, _)| token.to_string()))
        .bind(utm(0))
        .bind(utm(1))
        .bind(utm(2))
        .bind(utm(3))
        .bind(utm(4))
        .bind(column(changed, |(_, state)| state.invited_by_id.as_deref()))
        .bind(column(changed, |(_, state)| state.updated_at.map(UnixMillis::to_datetime)))
        .execute(connection)
        .await?;
    Ok(())
}
