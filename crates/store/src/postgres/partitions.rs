//! Day partitions by UUIDv7.
//!
//! Invariants: a record's partition is there before the record is applied; a partition is made beside the table and then
//! attached, which takes no lock that stops readers or writers; retention detaches concurrently and then drops.
//! Cost: nothing while all days of a batch are known, which is every batch but the first of a day.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Days, NaiveDate, Utc};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use super::super::StoreError;
use weir_domain::UnixMillis;

const TABLES: [&str; 2] = ["analytics_sessions", "analytics_pageviews"];
/// How many days are made ahead, and how many back (a batch may bring what happened yesterday).
const DAYS_AHEAD: u64 = 7;
const DAYS_BACK: u64 = 1;
/// Sessions get counter updates: room in the page keeps them there.
const SESSION_STORAGE: &str = "WITH (fillfactor = 70)";
/// The advisory lock under which one instance at a time changes partitions ("weir" in ASCII).
const LOCK: i64 = 0x7765_6972;

/// The days whose partitions are known to exist.
#[derive(Default)]
pub struct Partitions {
    known: Mutex<BTreeSet<NaiveDate>>,
}

impl Partitions {
    /// Makes the partitions of these ids that are not there.
    pub async fn make_for(&self, pool: &PgPool, ids: impl Iterator<Item = Uuid>) -> Result<(), StoreError> {
        let missing: BTreeSet<NaiveDate> = {
            let known = self.known();
            ids.map(day_of).filter(|day| !known.contains(day)).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        self.make(pool, &missing).await?;
        Ok(())
    }

    /// Forgets what is known to exist.
    pub fn forget(&self) {
        self.known().clear();
    }

    /// Makes the coming days.
    pub async fn make_ahead(&self, pool: &PgPool, now: UnixMillis) -> Result<u64, StoreError> {
        let today = now.to_datetime().date_naive();
        let first = today - Days::new(DAYS_BACK);
        let days = (0..=DAYS_BACK + DAYS_AHEAD).map(|offset| first + Days::new(offset)).collect();
        self.make(pool, &days).await
    }

    async fn make(&self, pool: &PgPool, days: &BTreeSet<NaiveDate>) -> Result<u64, StoreError> {
        let mut transaction = pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
        let mut made = 0;
        for day in days {
            for table in TABLES {
                made += make_partition(&mut transaction, table, *day).await?;
            }
        }
        transaction.commit().await?;
        self.known().extend(days);
        Ok(made)
    }

    /// Drops the days before this moment, but for those that are kept, and says so first.
    pub async fn drop_expired(
        &self,
        pool: &PgPool,
        kept_from: UnixMillis,
        kept: &BTreeSet<i64>,
    ) -> Result<u64, StoreError> {
        let expired = expired(pool, kept_from, kept).await?;
        let (Some(first), Some(last)) = (expired.first(), expired.last()) else { return Ok(0) };
        tracing::info!(
            database = "analytics on postgres",
            partitions = expired.len(),
            first = first.partition,
            last = last.partition,
            kept_from = kept_from.to_rfc3339(),
            "retention drops partitions"
        );
        let mut connection = pool.acquire().await?;
        for Expired { table, partition, pending } in &expired {
            self.forget();
            drop_partition(&mut connection, table, partition, *pending).await?;
        }
        Ok(expired.len() as u64)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<NaiveDate>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A partition that is past its retention.
pub struct Expired {
    table: &'static str,
    pub partition: String,
    /// Whether its detach was begun and not finished.
    pending: bool,
}

/// The partitions of days before this moment, but for those that are kept, by table and day.
pub async fn expired(pool: &PgPool, kept_from: UnixMillis, kept: &BTreeSet<i64>) -> Result<Vec<Expired>, StoreError> {
    let first_kept = kept_from.to_datetime().date_naive();
    let mut connection = pool.acquire().await?;
    let mut found = Vec::new();
    for table in TABLES {
        for (partition, pending) in partitions_of(&mut connection, table).await? {
            let is_expired = day_in_name(table, &partition)
                .is_some_and(|day| day < first_kept && !kept.contains(&days_since_1970(day)));
            if is_expired {
                found.push(Expired { table, partition, pending });
            }
        }
    }
    Ok(found)
}

/// The first moment whose rows are kept: days go as a whole.
pub fn kept_from(now: UnixMillis, retention_days: u32) -> UnixMillis {
    let first = now.to_datetime().date_naive() - Days::new(u64::from(retention_days));
    UnixMillis(days_since_1970(first) * 86_400_000)
}

fn days_since_1970(day: NaiveDate) -> i64 {
    i64::from(day.to_epoch_days())
}

async fn make_partition(connection: &mut PgConnection, table: &str, day: NaiveDate) -> Result<u64, StoreError> {
    let name = partition_name(table, day);
    // A table of that name that is not attached was left by a detach, or set aside by hand: it is taken back.
    let (exists, attached): (bool, bool) = sqlx::query_as(
        "SELECT to_regclass($1) IS NOT NULL,
                EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass($1) AND inhparent = to_regclass($2))",
    )
    .bind(&name)
    .bind(table)
    .fetch_one(&mut *connection)
    .await?;
    if attached {
        return Ok(0);
    }
    // Only names made of a table constant and a date, and ids made of a date, are put into the text.
    if !exists {
        let storage = if table == TABLES[0] { SESSION_STORAGE } else { "" };
        let create = format!("CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) {storage}");
        sqlx::query(AssertSqlSafe(create)).execute(&mut *connection).await?;
    }
    let (from, to) = (lowest_id(day), lowest_id(day + Days::new(1)));
    let attach = format!("ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{from}') TO ('{to}')");
    sqlx::query(AssertSqlSafe(attach)).execute(connection).await?;
    Ok(1)
}

/// The partitions of a table by name, and whether a detach of each was begun and not finished.
async fn partitions_of(connection: &mut PgConnection, table: &str) -> Result<Vec<(String, bool)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT inhrelid::regclass::text, inhdetachpending FROM pg_inherits WHERE inhparent = to_regclass($1) ORDER BY 1",
    )
    .bind(table)
    .fetch_all(connection)
    .await?)
}

async fn drop_partition(
    connection: &mut PgConnection,
    table: &str,
    partition: &str,
    pending: bool,
) -> Result<(), StoreError> {
    let how = if pending { "FINALIZE" } else { "CONCURRENTLY" };
    let detach = format!("ALTER TABLE {table} DETACH PARTITION {partition} {how}");
    sqlx::raw_sql(AssertSqlSafe(detach)).execute(&mut *connection).await?;
    let drop = format!("DROP TABLE {partition}");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(connection).await?;
    Ok(())
}

fn partition_name(table: &str, day: NaiveDate) -> String {
    format!("{table}_{}", day.format("%Y%m%d"))
}

fn day_in_name(table: &str, partition: &str) -> Option<NaiveDate> {
    let day = partition.strip_prefix(table)?.strip_prefix('_')?;
    NaiveDate::parse_from_str(day, "%Y%m%d").ok()
}

/// The day that an id carries.
fn day_of(id: Uuid) -> NaiveDate {
    let millis = id.as_u128() >> 80;
    let time = i64::try_from(millis).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    time.unwrap_or_default().date_naive()
}

/// The lowest id of the day before the one that this id carries.
pub(super) fn day_before(id: Uuid) -> Uuid {
    lowest_id(day_of(id) - Days::new(1))
}

/// No UUIDv7 of this day is lower, and none of the day before is as high.
fn lowest_id(day: NaiveDate) -> Uuid {
    let midnight = day.and_hms_opt(0, 0, 0).unwrap_or_default().and_utc();
    weir_domain::lowest_id(UnixMillis(midnight.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_domain::IdSource;

    #[test]
    fn partition_day_bounds_contain_id() {
        let ids = IdSource::default();
        for millis in [0, 86_399_999, 86_400_000, 1_777_543_200_000, 1_777_593_599_999, 1_777_593_600_000] {
            let id = ids.next(UnixMillis(millis));
            let day = day_of(id);
            assert!(lowest_id(day) <= id && id < lowest_id(day + Days::new(1)), "{millis}");
        }
    }

    #[test]
    fn partition_name_round_trips_to_day() {
        let day = NaiveDate::from_ymd_opt(2026, 4, 30).unwrap();
        let name = partition_name("analytics_sessions", day);
        assert_eq!(name, "analytics_sessions_20260430");
        assert_eq!(day_in_name("analytics_sessions", &name), Some(day));
        assert_eq!(day_in_name("analytics_sessions", "analytics_sessions_old"), None);
    }
}
