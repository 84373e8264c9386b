//! The writer under test, and everything that befalls it.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use futures_util::FutureExt as _;
use proptest::sample::Index;
use uuid::Uuid;
use weir_apply::ApplierPhase;
use weir_domain::JournalRecord;
use weir_log::{DeadLetterQueue as _, LogReader as _, Position, ReadLimits};
use weir_testkit::Database;

use super::What;
use super::faulty::Fault;
use super::ledger::{Ledger, Rows};
use super::process::{Process, World, directory, until};

/// The records that are whole in a segment: the position of each, and where it begins.
fn records(segment: &Path) -> Vec<(Position, usize)> {
    let bytes = std::fs::read(segment).unwrap();
    let mut records = Vec::new();
    for at in 0..bytes.len() {
        let Some(head) = bytes[at..].first_chunk::<28>().filter(|head| head.starts_with(b"WREC")) else { continue };
        let length = u32::from_le_bytes(*head[4..].first_chunk().unwrap()) as usize;
        if bytes.len() >= at + 28 + length {
            records.push((Position(u64::from_le_bytes(*head[8..].first_chunk().unwrap())), at));
        }
    }
    records
}

pub struct Subject {
    world: Rc<World>,
    root: tempfile::TempDir,
    /// How many times the journal's files were taken over from a process that died.
    lives: usize,
    process: Option<Process>,
    ledger: Ledger,
    last: Position,
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.end();
    }
}

impl Subject {
    pub fn new(world: Rc<World>) -> Self {
        let root = directory();
        let mut subject =
            Self { world, root, lives: 0, process: None, ledger: Ledger::default(), last: Position::START };
        subject.launch();
        subject
    }

    fn home(&self) -> PathBuf {
        self.root.path().join(self.lives.to_string())
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.home()).unwrap().map(|file| file.unwrap().path());
        let mut segments: Vec<_> =
            files.filter(|file| file.extension().is_some_and(|kind| kind == "journal")).collect();
        segments.sort();
        segments
    }

    fn launch(&mut self) {
        let _runtime = self.world.runtime.enter();
        self.process = Some(Process::start(&self.home(), &self.world));
    }

    /// An orderly stop.
    pub fn end(&mut self) {
        if let Some(process) = self.process.take() {
            let _runtime = self.world.runtime.enter();
            process.journal.appender().close();
        }
    }

    pub fn append(&mut self, whats: &[What]) {
        let journal = &self.process.as_ref().unwrap().journal;
        let records: Vec<_> = whats.iter().filter_map(|what| self.ledger.make(*what)).collect();
        let acks: Vec<_> = records.iter().map(|record| journal.appender().append(record.encode()).unwrap()).collect();
        for ack in acks {
            self.world.runtime.block_on(ack).unwrap();
        }
        let mut reader = journal.reader();
        let mut records = records.into_iter();
        while self.last < journal.offsets().durable() {
            let limits = ReadLimits { records: 1000, bytes: 1 << 20 };
            let batch = reader.read(self.last.max(reader.trim_point()), journal.offsets().durable(), limits).unwrap();
            for entry in batch.records {
                self.ledger.acknowledged(entry.position, records.next().unwrap());
            }
            self.last = batch.through;
        }
        assert!(records.next().is_none(), "an acknowledged record is not read");
    }

    /// Lets the writer work until everything is applied, it halts, or it pauses at a moment when `enough` says so.
    fn work(&mut self, faults: Vec<Fault>, mut enough: impl FnMut() -> bool) {
        let process = self.process.as_mut().unwrap();
        process.sink.expect(faults);
        let Process { journal, sink, state, .. } = process;
        let (journal, sink, state) = (journal.clone(), Arc::clone(sink), Arc::clone(state));
        let (mut is_stopped, mut at, mut steps) = (false, journal.offsets().applied(), 0);
        while journal.offsets().applied() < journal.offsets().durable() && !is_stopped {
            steps = if journal.offsets().applied() > at { 0 } else { steps + 1 };
            at = journal.offsets().applied();
            assert!(steps < 12, "the writer stands still at {at}");
            let mut has_hung = false;
            let is_over = |waker: &Waker| {
                sink.look(waker);
                has_hung = sink.has_hung();
                is_stopped = enough() || state.phase() == ApplierPhase::Halted;
                is_stopped || has_hung || journal.offsets().applied() >= journal.offsets().durable()
            };
            let step = AssertUnwindSafe(until(process.applier.step(), is_over)).catch_unwind();
            let ended = self.world.runtime.block_on(step);
            // A panic costs the actor, a hang is ended by whoever waits no longer.
            if ended.is_err() || is_stopped || has_hung {
                process.replace_applier();
            }
        }
        journal.collector().collect().unwrap();
    }

    pub fn run(&mut self, faults: Vec<Fault>) {
        self.work(faults, || false);
        let journal = &self.process.as_ref().unwrap().journal;
        // After a power cut the database may have more than the journal.
        assert!(self.position() >= journal.offsets().durable(), "not everything is applied");
    }

    pub fn die(&mut self, faults: Vec<Fault>, after: usize) {
        let mut pauses = 0;
        self.work(faults, || {
            pauses += 1;
            pauses >= after
        });
    }

    pub fn restart(&mut self, faults: Vec<Fault>, after: usize, in_order: bool) {
        self.die(faults, after);
        if in_order {
            self.end();
        } else {
            self.take_over();
        }
        self.launch();
    }

    /// What a killed process leaves is what its files say at that moment.
    fn take_over(&mut self) {
        let left = self.home();
        self.lives += 1;
        std::fs::create_dir(self.home()).unwrap();
        for file in std::fs::read_dir(&left).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), self.home().join(file.file_name())).unwrap();
        }
        self.end();
        std::fs::remove_dir_all(left).unwrap();
    }

    pub fn cut_power(&mut self, length: Index) {
        self.run(Vec::new());
        let applied = self.position();
        self.append(&[What::Session, What::Session, What::Session]);
        self.take_over();
        let newest = self.segments().pop().unwrap();
        let whole = std::fs::metadata(&newest).unwrap().len();
        let left = length.index(usize::try_from(whole).unwrap() + 1) as u64;
        std::fs::OpenOptions::new().write(true).open(&newest).unwrap().set_len(left).unwrap();
        let kept: Vec<_> = self.segments().iter().flat_map(|segment| records(segment)).map(|(at, _)| at).collect();
        self.ledger.forget(applied, |at| kept.contains(&at));
        self.launch();
    }

    pub fn meet_a_stranger(&mut self) {
        self.append(&[What::Session]);
        self.run(Vec::new());
        let id = self.process.as_ref().unwrap().journal.reader().id();
        let world = Rc::clone(&self.world);
        let set = |what: &str| {
            let sql = format!("UPDATE journal_positions SET {what} WHERE journal_id = '{id}'");
            world.runtime.block_on(world.databases.execute(Database::Analytics, &sql));
        };
        // Just as far as the writer's next step would lead.
        set("position = position + 1, writer = 'stranger'");
        self.append(&[What::Session]);
        self.work(vec![Fault::Before], || false);
        let process = self.process.as_mut().unwrap();
        assert_eq!(process.state.phase(), ApplierPhase::Halted);
        assert!(
            process.journal.offsets().applied() < process.journal.offsets().durable(),
            "a halted writer has applied something"
        );
        set("position = position - 1, writer = ''");
        process.state = Arc::default();
        process.replace_applier();
    }

    /// The last record but one: of the last one nobody could tell, after a crash, that it was acknowledged.
    pub fn corrupt(&mut self) {
        self.run(Vec::new());
        self.append(&[What::Session, What::Session, What::Session]);
        let position = self.ledger.last_but_one();
        let mut found = 0;
        for file in self.segments() {
            for (_, offset) in records(&file).into_iter().filter(|(at, _)| *at == position) {
                let mut bytes = std::fs::read(&file).unwrap();
                // Into the payload, behind the head of 28 bytes.
                bytes[offset + 40] ^= 1;
                std::fs::write(&file, bytes).unwrap();
                found += 1;
            }
        }
        assert_eq!(found, 1, "the record at {position} is in one place");
        self.ledger.damaged(position);
    }

    fn position(&self) -> Position {
        let id = self.process.as_ref().unwrap().journal.reader().id();
        let sql = format!("SELECT COALESCE(max(position), 0) AS n FROM journal_positions WHERE journal_id = '{id}'");
        let position = self.world.runtime.block_on(self.world.databases.count(Database::Analytics, &sql));
        Position(position.unsigned_abs())
    }

    fn rows(&self) -> Rows {
        let (sessions, views) = self.ledger.ids();
        let list = |ids: Vec<Uuid>| ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
        let id = |row: &serde_json::Value| row["id"].as_str().unwrap().parse::<Uuid>().unwrap();
        let ask = |columns: &str, table: &str, ids: Vec<Uuid>| {
            let sql = format!("SELECT {columns} FROM {table} WHERE id IN ({})", list(ids));
            self.world.runtime.block_on(self.world.databases.rows(Database::Analytics, &sql))
        };
        let mut rows = Rows::default();
        if !sessions.is_empty() {
            for row in ask("id, page_views, duration", "analytics_sessions", sessions) {
                let counts = (row["page_views"].as_i64().unwrap(), row["duration"].as_i64().unwrap());
                assert!(rows.sessions.insert(id(&row), counts).is_none(), "a session is there twice");
            }
        }
        if !views.is_empty() {
            for row in ask("id", "analytics_pageviews", views) {
                assert!(rows.views.insert(id(&row)), "a view is there twice");
            }
        }
        rows
    }

    /// Everything that must hold at any moment.
    pub fn check(&self) {
        // A writer that died may have left a commit on its way.
        let (position, rows) = loop {
            let position = self.position();
            let rows = self.rows();
            if self.position() == position {
                break (position, rows);
            }
        };
        assert_eq!(rows, self.ledger.rows(position), "at position {position}");
        let letters = self.process.as_ref().unwrap().journal.dead_letters().list().unwrap();
        let set_aside = letters.iter().map(|letter| (letter.position, letter.reason));
        // What is not passed yet may be set aside already.
        let (passed, coming): (Vec<_>, Vec<_>) = set_aside.partition(|(at, _)| *at <= position);
        let expected = self.ledger.letters();
        assert!(coming.iter().all(|letter| expected.contains(letter)), "{coming:?}, expected {expected:?}");
        assert_eq!(passed, expected.into_iter().filter(|(at, _)| *at <= position).collect::<Vec<_>>());
    }
}
