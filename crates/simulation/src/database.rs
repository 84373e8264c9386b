//! The virtual database that all instances share, and one applier's way to it.
//!
//! What a batch comes to is decided by the store's own fold; the tables are maps. A transaction fails before its COMMIT, in it
//! (it arrives or not, now or later, and its answer is lost) or after it. The whole of it goes back to an older copy.
//! Beside the rows it keeps, in the same transaction, how often each record was applied.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use weir_domain::{AnalyticsEvent, AnalyticsRecord, BatchKey, JournalRecord, UnixMillis};
use weir_log::{JournalId, Position};
use weir_store::fold::{Fold, PreImage, SessionState, ViewState, WriteSet};
use weir_store::{Applied, DatabaseIdentity, Maintained, MigrationObserver, Positions, Sink, Step, StoreError};

use crate::mutation::Mutation;
use crate::records::{Number, is_poison, number_of};

/// What goes wrong with one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseFault {
    None,
    /// The database is away.
    Before,
    /// The COMMIT arrives, and its answer does not.
    AnswerLost,
    /// The COMMIT is on its way while the applier goes on.
    Late,
    /// Nothing is heard any more, and nothing was committed.
    Silent,
    /// Nothing is heard any more, and it was committed.
    SilentAfter,
}

/// All rows.
#[derive(Clone, Default)]
pub struct Tables {
    pub sessions: BTreeMap<Uuid, SessionState>,
    pub views: BTreeMap<Uuid, (Uuid, ViewState)>,
    positions: Vec<(JournalId, Position, String)>,
    /// How often each record was applied.
    pub applied: BTreeMap<Number, u32>,
    /// Keyed items that were there before, under another id.
    pub dropped: BTreeSet<Number>,
    keys: BTreeMap<[u8; 16], Uuid>,
    /// Ids that lead to the item that had the key first.
    aliases: BTreeMap<Uuid, Uuid>,
    /// What waits for a session or a view, by its id.
    pending: BTreeMap<Uuid, Vec<Vec<u8>>>,
}

#[derive(Default)]
struct Server {
    tables: Tables,
    copies: Vec<Tables>,
    /// Transactions whose COMMIT has not arrived yet.
    late: Vec<(Step, Vec<Vec<u8>>)>,
    is_away: bool,
    takes_poison: bool,
}

/// The database server.
pub struct Database {
    server: Mutex<Server>,
    mutation: Option<Mutation>,
}

impl Database {
    #[must_use]
    pub fn new(mutation: Option<Mutation>) -> Self {
        Self { server: Mutex::default(), mutation }
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn copy(&self) {
        let mut server = self.server();
        let copy = server.tables.clone();
        server.copies.push(copy);
    }

    /// Goes back to one of the copies; what was on its way goes with the server that it was sent to. False without a copy.
    pub fn go_back(&self, which: usize) -> bool {
        let mut server = self.server();
        let Some(copy) = which.checked_rem(server.copies.len()).map(|at| server.copies[at].clone()) else {
            return false;
        };
        server.tables = copy;
        server.late.clear();
        true
    }

    pub fn set_away(&self, is_away: bool) {
        self.server().is_away = is_away;
    }

    #[must_use]
    pub fn is_away(&self) -> bool {
        self.server().is_away
    }

    #[must_use]
    pub fn takes_poison(&self) -> bool {
        self.server().takes_poison
    }

    /// What was refused is taken from now on: an operator has mended it.
    pub fn take_poison(&self) {
        let mut server = self.server();
        server.takes_poison = true;
        // What a replay writes is in no journal: nobody promises that it comes back to a copy that was made before.
        server.copies.clear();
    }

    /// What is on its way arrives.
    pub fn settle(&self) {
        self.arrive(&mut self.server(), None);
    }

    pub fn look<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        look(&self.server().tables)
    }

    /// The item that has this key.
    pub fn key(&self, key: BatchKey) -> Option<Uuid> {
        self.server().tables.keys.get(&key.0).copied()
    }

    pub fn position(&self, journal: JournalId) -> Position {
        self.look(|tables| tables.position(journal).map(|(position, _)| position).unwrap_or_default())
    }

    /// The transactions of a journal hold its row's lock: whoever asks for that waits for them.
    fn arrive(&self, server: &mut Server, journal: Option<JournalId>) {
        for (step, records) in std::mem::take(&mut server.late) {
            if journal.is_some_and(|journal| journal != step.journal) {
                server.late.push((step, records));
                continue;
            }
            let decoded: Vec<_> =
                records.iter().filter_map(|bytes| AnalyticsRecord::<&str>::decode(bytes).ok()).collect();
            // Its client has given it up, and hears of nothing.
            let _ = self.commit(server, &step, &decoded);
        }
    }

    fn commit(&self, server: &mut Server, step: &Step, records: &[AnalyticsRecord<&str>]) -> Result<(), StoreError> {
        let tables = &mut server.tables;
        let (found, by) = tables.position(step.journal).unwrap_or_default();
        if found != step.from && self.mutation != Some(Mutation::PositionNotCompared) {
            return Err(StoreError::Moved { expected: step.from, found, by });
        }
        if !server.takes_poison && records.iter().any(is_poison) {
            return Err(StoreError::Refused("poison".to_owned()));
        }
        tables.set_position(step.journal, step.through, &step.writer.to_string());
        tables.write(records, self.mutation);
        Ok(())
    }
}

impl Tables {
    fn position(&self, journal: JournalId) -> Option<(Position, String)> {
        let row = self.positions.iter().find(|(id, ..)| *id == journal);
        row.map(|(_, position, by)| (*position, by.clone()))
    }

    fn set_position(&mut self, journal: JournalId, position: Position, by: &str) {
        match self.positions.iter_mut().find(|(id, ..)| *id == journal) {
            Some(row) => (row.1, row.2) = (position, by.to_owned()),
            None => self.positions.push((journal, position, by.to_owned())),
        }
    }

    fn write(&mut self, records: &[AnalyticsRecord<&str>], mutation: Option<Mutation>) {
        let mut bytes: VecDeque<Vec<u8>> = records.iter().map(JournalRecord::encode).collect();
        let mut order = Vec::new();
        let mut made = BTreeSet::new();
        // What waited for a row follows it at once, in the order in which it came.
        while let Some(next) = bytes.pop_front() {
            let Ok(mut record) = AnalyticsRecord::<String>::decode(&next) else { continue };
            self.repoint(&mut record.event);
            let (number, id, needs) = (number_of(&record), made_by(&record.event), needed_by(&record.event));
            let is_there =
                |id: &Uuid| made.contains(id) || self.sessions.contains_key(id) || self.views.contains_key(id);
            if let (Some(entry), Some(id)) = (record.key, id) {
                if let Some(first) = self.keys.get(&entry.key.0).filter(|first| **first != id)
                    && mutation != Some(Mutation::KeysStoredTwice)
                {
                    self.aliases.insert(id, *first);
                    self.dropped.insert(number);
                    // What waited for this one follows the one that had the key first.
                    for waiting in self.pending.remove(&id).into_iter().flatten().rev() {
                        bytes.push_front(waiting);
                    }
                    continue;
                }
                self.keys.insert(entry.key.0, id);
            }
            match needs {
                Some(id) if !is_there(&id) => {
                    if mutation != Some(Mutation::EffectsDoNotWait) {
                        self.pending.entry(id).or_default().push(record.encode());
                    }
                    continue;
                }
                _ => {}
            }
            if let Some(id) = id {
                made.insert(id);
                for waiting in self.pending.remove(&id).into_iter().flatten().rev() {
                    bytes.push_front(waiting);
                }
            }
            *self.applied.entry(number).or_default() += 1;
            order.push(record.encode());
        }
        let records: Vec<_> = order.iter().filter_map(|bytes| AnalyticsRecord::<&str>::decode(bytes).ok()).collect();
        let write_set = WriteSet::of(&records);
        let fold = Fold::of(&records, &write_set, self.load(&write_set));
        for (session, state) in fold.new_sessions {
            self.sessions.entry(session.id).or_insert(state);
        }
        for (id, state) in fold.changed_sessions {
            self.sessions.insert(id, state);
        }
        for (view, state) in fold.new_views {
            self.views.insert(view.id, (view.session_id, state));
        }
        for (id, state) in fold.changed_views {
            if let Some(row) = self.views.get_mut(&id) {
                row.1 = state;
            }
        }
    }

    fn repoint(&self, event: &mut AnalyticsEvent) {
        let to = |id: Uuid| self.aliases.get(&id).copied().unwrap_or(id);
        match event {
            AnalyticsEvent::Session(_) => {}
            AnalyticsEvent::Pageview(view) => view.session_id = to(view.session_id),
            AnalyticsEvent::Leave(leave) => leave.view_id = to(leave.view_id),
            AnalyticsEvent::Heartbeat(heartbeat) => heartbeat.session_id = to(heartbeat.session_id),
            AnalyticsEvent::Identify(identify) => identify.session_id = to(identify.session_id),
        }
    }

    fn load(&self, write_set: &WriteSet) -> PreImage {
        let mut loaded = PreImage::default();
        let mut views = write_set.views.clone();
        for id in &write_set.sessions {
            if let Some(state) = self.sessions.get(id) {
                loaded.sessions.insert(*id, state.clone());
            }
            let last = self.views.iter().rev().find(|(_, (session, _))| session == id);
            if let Some((view, _)) = last {
                loaded.last_views.insert(*id, *view);
                views.insert(*view);
            }
        }
        for id in views {
            if let Some((_, state)) = self.views.get(&id) {
                loaded.views.insert(id, state.clone());
            }
        }
        loaded
    }
}

/// The row that an event makes.
fn made_by(event: &AnalyticsEvent) -> Option<Uuid> {
    match event {
        AnalyticsEvent::Session(session) => Some(session.id),
        AnalyticsEvent::Pageview(view) => Some(view.id),
        _ => None,
    }
}

/// The row that must be there before an event.
fn needed_by(event: &AnalyticsEvent) -> Option<Uuid> {
    match event {
        AnalyticsEvent::Session(_) => None,
        AnalyticsEvent::Pageview(view) => Some(view.session_id),
        AnalyticsEvent::Leave(leave) => Some(leave.view_id),
        AnalyticsEvent::Heartbeat(heartbeat) => Some(heartbeat.session_id),
        AnalyticsEvent::Identify(identify) => Some(identify.session_id),
    }
}

/// One process's way to the database.
pub struct VirtualSink {
    database: Arc<Database>,
    faults: Mutex<VecDeque<DatabaseFault>>,
    is_silent: AtomicBool,
    /// What a mutated one answers with instead of looking.
    believed: Mutex<Vec<(JournalId, Position, String)>>,
}

impl VirtualSink {
    #[must_use]
    pub fn new(database: Arc<Database>) -> Self {
        Self { database, faults: Mutex::default(), is_silent: AtomicBool::new(false), believed: Mutex::default() }
    }

    /// What goes wrong with the next transactions.
    pub fn expect(&self, faults: &[DatabaseFault]) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults.iter().copied().collect();
    }

    /// Whether it has fallen silent since the last time somebody asked.
    pub fn was_silent(&self) -> bool {
        self.is_silent.swap(false, Ordering::Relaxed)
    }

    fn believed(&self) -> MutexGuard<'_, Vec<(JournalId, Position, String)>> {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn away(&self) -> Result<(), StoreError> {
        if self.database.is_away() { Err(unavailable()) } else { Ok(()) }
    }

    async fn fall_silent<T>(&self) -> T {
        self.is_silent.store(true, Ordering::Relaxed);
        std::future::pending().await
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("a fault of the database".to_owned())
}

#[async_trait]
impl Sink for VirtualSink {
    type Record<'a> = AnalyticsRecord<&'a str>;
    type Prepared = std::convert::Infallible;

    fn describe(&self) -> &'static str {
        "analytics in a simulation"
    }

    /// Few, so that a handful of records are several batches.
    fn batch_records(&self) -> usize {
        4
    }

    fn min_commit_interval(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    async fn migrate_observed(&self, _tell: MigrationObserver<'_>) -> Result<(), StoreError> {
        self.away()
    }

    fn positions(&self) -> &dyn Positions {
        self
    }

    async fn apply(&self, step: &Step, records: &[AnalyticsRecord<&str>]) -> Result<Applied, StoreError> {
        self.away()?;
        let fault = self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let fault = fault.unwrap_or(DatabaseFault::None);
        {
            let mut server = self.database.server();
            self.database.arrive(&mut server, Some(step.journal));
            if self.database.mutation == Some(Mutation::PositionMovedApart) {
                let (found, by) = server.tables.position(step.journal).unwrap_or_default();
                if found != step.from {
                    return Err(StoreError::Moved { expected: step.from, found, by });
                }
                let refuses = !server.takes_poison && records.iter().any(is_poison);
                if !refuses {
                    server.tables.set_position(step.journal, step.through, &step.writer.to_string());
                }
                if fault == DatabaseFault::None && !refuses {
                    server.tables.write(records, None);
                    return Ok(Applied::default());
                }
            }
            match fault {
                DatabaseFault::None => {
                    self.database.commit(&mut server, step, records)?;
                    let mut believed = self.believed();
                    believed.clear();
                    believed.push((step.journal, step.through, step.writer.to_string()));
                    return Ok(Applied::default());
                }
                DatabaseFault::AnswerLost | DatabaseFault::SilentAfter => {
                    self.database.commit(&mut server, step, records)?;
                }
                DatabaseFault::Late => {
                    let records = records.iter().map(JournalRecord::encode).collect();
                    server.late.push((*step, records));
                }
                DatabaseFault::Before | DatabaseFault::Silent => {}
            }
        }
        if matches!(fault, DatabaseFault::Silent | DatabaseFault::SilentAfter) {
            return self.fall_silent().await;
        }
        Err(unavailable())
    }

    async fn sift(
        &self,
        _step: &Step,
        records: &[AnalyticsRecord<&str>],
    ) -> Result<Vec<(usize, StoreError)>, StoreError> {
        self.away()?;
        if self.database.server().takes_poison {
            return Ok(Vec::new());
        }
        let refused = records.iter().enumerate().filter(|(_, record)| is_poison(record));
        Ok(refused.map(|(place, _)| (place, StoreError::Refused("poison".to_owned()))).collect())
    }

    async fn maintain(&self, _now: UnixMillis, _retention_days: u32) -> Result<Maintained, StoreError> {
        Ok(Maintained::default())
    }
}

#[async_trait]
impl Positions for VirtualSink {
    async fn register(&self, journal: JournalId, writer: Uuid, _: UnixMillis) -> Result<Position, StoreError> {
        self.away()?;
        self.believed().clear();
        let mut server = self.database.server();
        self.database.arrive(&mut server, Some(journal));
        if server.tables.position(journal).is_none() {
            server.tables.set_position(journal, Position::START, &writer.to_string());
        }
        Ok(server.tables.position(journal).unwrap_or_default().0)
    }

    async fn position(&self, journal: JournalId) -> Result<Option<(Position, String)>, StoreError> {
        self.away()?;
        if self.database.mutation == Some(Mutation::NobodyLooks) {
            let believed = self.believed();
            if let Some((_, position, by)) = believed.iter().find(|(id, ..)| *id == journal) {
                return Ok(Some((*position, by.clone())));
            }
        }
        Ok(self.database.look(|tables| tables.position(journal)))
    }

    async fn register_at(
        &self,
        journal: JournalId,
        writer: Uuid,
        position: Position,
        _: UnixMillis,
    ) -> Result<(), StoreError> {
        self.away()?;
        let mut server = self.database.server();
        if server.tables.position(journal).is_none_or(|(found, _)| found < position) {
            server.tables.set_position(journal, position, &writer.to_string());
        }
        Ok(())
    }

    async fn identity(&self) -> Result<DatabaseIdentity, StoreError> {
        self.away()?;
        Ok(DatabaseIdentity { id: "simulated".to_owned(), was_in_use: false })
    }

    async fn is_writable(&self) -> Result<bool, StoreError> {
        self.away().map(|()| true)
    }

    async fn forget(&self, journal: JournalId) -> Result<(), StoreError> {
        self.away()?;
        self.database.server().tables.positions.retain(|(id, ..)| *id != journal);
        Ok(())
    }

    async fn other_journals(&self, journal: JournalId) -> Result<u64, StoreError> {
        Ok(self.database.look(|tables| tables.positions.iter().filter(|(id, ..)| *id != journal).count()) as u64)
    }
}
