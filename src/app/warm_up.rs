//! What a start reads back before it takes requests: the visitors and the batch keys that are in the journals, and, as
//! soon as the databases are there, those in their tables.
//!
//! Invariant: the journals are read before their writers run, so that nothing is applied and deleted unread. Cost: one
//! pass over the backlog, about a second a gigabyte; without one, a segment at most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};

use super::AppError;
use crate::actor::RestartBudget;
use crate::idempotency::BatchKeys;
use crate::visitors::Visitors;
use weir_domain::{AnalyticsRecord, JournalRecord, MainRecord};
use weir_fail_points as fail_points;
use weir_journal::Journal;
use weir_log::{LogReader as _, Offsets as _, Position, ReadLimits};
use weir_store::within;

/// How much of a journal is read at once.
const BATCH: ReadLimits = ReadLimits { records: 10_000, bytes: 4 << 20 };
/// How long a database may take to tell what it knows.
const ANSWER: Duration = Duration::from_mins(1);
/// How often a database that was away is asked again.
const RETRY: Duration = Duration::from_secs(2);
/// How often it is told how far the reading of a journal is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Takes in every visitor that is in the main journal.
pub(super) async fn visitors_from(journal: &Journal, visitors: &Visitors) -> Result<(), AppError> {
    visitors.read_from_journal_behind(unapplied_behind(journal));
    each(journal, |record| {
        if let MainRecord::Visitor(visitor) = record {
            visitors.remember(visitor.token, visitor.fingerprint, visitor.created_at);
        }
    })
    .await
}

/// Takes in every batch key that is in the analytics journal.
pub(super) async fn keys_from(journal: &Journal, keys: &BatchKeys) -> Result<(), AppError> {
    keys.read_from_journal_behind(unapplied_behind(journal));
    each(journal, |record: AnalyticsRecord| {
        if let Some(mark) = record.key {
            keys.remember(mark.key, record.event.answer(), mark.stored_at);
        }
    })
    .await
}

/// Behind which position records may not be applied yet. What lies before it is read from the database; a database that has gone
/// back does not answer until it has caught up.
fn unapplied_behind(journal: &Journal) -> Position {
    journal.offsets().reached().max(journal.reader().trim_point())
}

/// Every record that may not be applied yet. What does not decode is the writer's business. A signal that ends the
/// start is heard between two batches.
async fn each<R: for<'a> JournalRecord<'a>>(journal: &Journal, mut visit: impl FnMut(R)) -> Result<(), AppError> {
    let mut reader = journal.reader();
    let (end, mut position) = (reader.end(), unapplied_behind(journal));
    let (began, mut told, mut records) = (Instant::now(), Instant::now(), 0);
    while position < end {
        let batch = reader.read(position, end, BATCH)?;
        records += batch.records.len();
        for record in &batch.records {
            if let Ok(record) = R::decode(&record.payload) {
                visit(record);
            }
        }
        if batch.through <= position {
            break;
        }
        position = batch.through;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let (left, seconds) = (reader.records_between(position, end), began.elapsed().as_secs());
            tracing::info!(journal = journal.name(), records, left, seconds, "reading back what is in the journal");
        }
        fail_points::step("start.read");
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// What the databases know of earlier runs. Each is read at its own pace: one that is away does not hold up the other.
#[derive(Clone)]
pub(super) struct Memory {
    pub keys: Arc<BatchKeys>,
    pub visitors: Arc<Visitors>,
}

impl Memory {
    /// Reads both tables, as often as it takes. What was read is not read again.
    pub async fn read(&self) {
        tokio::join!(self.read_keys(), self.read_visitors());
    }

    /// Reads what the databases know that have answered. One that is away would be asked until it is back.
    pub async fn read_where(&self, analytics_answers: bool, main_answers: bool) {
        let keys = async {
            if analytics_answers {
                self.read_keys().await;
            }
        };
        let visitors = async {
            if main_answers {
                self.read_visitors().await;
            }
        };
        tokio::join!(keys, visitors);
    }

    /// What was not read yet.
    pub fn unread(&self) -> Vec<&'static str> {
        let tables = [("batch keys", self.keys.are_loaded()), ("visitors", self.visitors.are_warm())];
        tables.into_iter().filter(|(_, is_read)| !is_read).map(|(table, _)| table).collect()
    }

    async fn read_keys(&self) {
        while !self.keys.are_loaded() {
            if let Err(error) = within(ANSWER, self.keys.load()).await {
                tracing::debug!(%error, "batch keys could not be read yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn read_visitors(&self) {
        while !self.visitors.are_warm() {
            if let Err(error) = within(ANSWER, self.visitors.warm()).await {
                tracing::debug!(%error, "visitors could not be read yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// The supervised actor that reads what a start could not.
pub(super) struct Warmer {
    pub memory: Memory,
    pub restart_budget: RestartBudget,
}

impl Actor for Warmer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let (memory, restart_budget) = (self.memory.clone(), self.restart_budget.clone());
        let run = async move { restart_budget.guard_async(memory.read()).await };
        context.spawn(run.into_actor(self).map(|finished, _, context| {
            if finished.is_none() {
                context.stop();
            }
        }));
    }
}

impl Supervised for Warmer {}
