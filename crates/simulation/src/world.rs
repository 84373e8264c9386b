//! One run: instances with a disk each, the database that they share, and the clients' ledger.
//!
//! Everything happens on one thread, in the order of the plan. The journal, its recovery, its readers, its collector, its dead
//! letters and the applier are the service's own.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use uuid::Uuid;

use weir_apply::{Applier, ApplierParts, ApplierState, VirtualTime, replay, with_time};
use weir_domain::{AnalyticsRecord, Clock, JournalRecord, UnixMillis};
use weir_journal::{Ack, CommitByHand, Journal, JournalOptions, JournalState, VirtualDisk, with_disk};
use weir_log::{DeadLetter, DeadLetterQueue, JournalId, LogReader as _, Position};

use crate::database::{Database, DatabaseFault, VirtualSink};
use crate::disk::{Death, Disk, DiskFault, Lies};
use crate::ledger::{Kind, Ledger, Told};
use crate::mutation::Mutation;
use crate::plan::{Plan, Step, What};
use crate::records::{Number, heartbeat, identify, keyed, leave, number_of, session, view};

const HOME: &str = "journal";
/// How often all instances get their turn in the end, before what is not applied by then is missing.
const ROUNDS: usize = 24;
/// For so many pauses an applier works in each of them.
const PAUSES: usize = 8;
/// A journal of so many bytes keeps all that is written in a run.
const ROOM: u64 = 1 << 20;

/// A process of an instance.
struct Process {
    journal: Journal,
    commit: CommitByHand,
    applier: Applier<VirtualSink>,
    sink: Arc<VirtualSink>,
    acks: Vec<(Number, Ack)>,
}

struct Instance {
    disk: Arc<Disk>,
    files: Arc<dyn VirtualDisk>,
    id: JournalId,
    process: Option<Process>,
}

pub struct World {
    plan: Plan,
    mutation: Option<Mutation>,
    instances: Vec<Instance>,
    database: Arc<Database>,
    time: Rc<VirtualTime>,
    clock: Arc<Clock>,
    ledger: Ledger,
    /// A promise that was broken on the way.
    broken: Option<String>,
}

/// Dead letters that are written one call later than they must be.
struct LateLetters {
    queue: Arc<dyn DeadLetterQueue>,
    kept: Mutex<Vec<DeadLetter>>,
}

impl DeadLetterQueue for LateLetters {
    fn add(&self, letters: &[DeadLetter]) -> io::Result<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.queue.add(&std::mem::take(&mut *kept))?;
        kept.extend_from_slice(letters);
        Ok(())
    }

    fn remove(&self, position: Position) -> io::Result<bool> {
        self.queue.remove(position)
    }

    fn remove_beyond(&self, position: Position) -> io::Result<usize> {
        self.queue.remove_beyond(position)
    }

    fn list(&self) -> io::Result<Vec<DeadLetter>> {
        self.queue.list()
    }
}

impl World {
    #[must_use]
    pub fn new(plan: Plan, mutation: Option<Mutation>) -> Self {
        let lies = Lies {
            files: mutation == Some(Mutation::FilesNotSynced),
            directories: mutation == Some(Mutation::DirectoriesNotSynced),
        };
        let instances = (0..plan.instances).map(|at| {
            let id = JournalId(Uuid::from_u128(u128::from(plan.seed) << 8 | at as u128));
            let disk = Arc::new(Disk::new(plan.seed ^ at as u64, lies));
            // What costs time and tells nothing is there already.
            disk.put(&Path::new(HOME).join("identity.json"), format!("{{\"journal\":\"{id}\"}}").as_bytes());
            disk.put(&Path::new(HOME).join("reserve"), b"");
            let files: Arc<dyn VirtualDisk> = disk.clone();
            Instance { disk, files, id, process: None }
        });
        let mut world = Self {
            instances: instances.collect(),
            database: Arc::new(Database::new(mutation)),
            time: Rc::default(),
            clock: Arc::new(Clock::system()),
            ledger: Ledger::default(),
            broken: None,
            plan,
            mutation,
        };
        for at in 0..world.instances.len() {
            world.start(at);
        }
        world
    }

    /// Does everything that is planned, mends what is broken, and looks whether every promise was kept.
    ///
    /// # Errors
    /// What was not.
    pub fn run(mut self) -> Result<(), String> {
        for step in std::mem::take(&mut self.plan.steps) {
            self.step(&step);
            if let Some(broken) = self.broken {
                return Err(broken);
            }
        }
        self.end()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Send { at, what } => self.send(*at, what),
            Step::Commit { at } => self.commit(*at),
            Step::Apply { at, faults, pauses } => self.apply(*at, faults, *pauses),
            Step::Die { at, death, operations } => {
                if *operations == 0 {
                    self.instances[*at].disk.die(*death);
                    self.bury(*at);
                } else {
                    self.instances[*at].disk.die_in(*operations, *death);
                }
            }
            Step::Stop { at } => self.stop(*at),
            Step::Start { at } => self.start(*at),
            Step::DiskFails { at, fault, operations } => {
                // On a full disk, too, what is kept gives way, and the database might go back behind it.
                let is_promised = *fault != DiskFault::Full || self.plan.max_bytes < ROOM;
                let fault = if is_promised { *fault } else { DiskFault::Write };
                self.instances[*at].disk.fail_in(*operations, fault);
            }
            Step::Collect { at } => self.collect(*at),
            Step::DatabaseLeaves => self.database.set_away(true),
            Step::DatabaseReturns => self.database.set_away(false),
            Step::Settle => self.database.settle(),
            Step::Copy => self.database.copy(),
            // A journal that gives up what it keeps for want of room cannot follow.
            Step::GoBack { which } if self.plan.max_bytes >= ROOM => _ = self.database.go_back(*which),
            Step::GoBack { .. } => {}
            Step::Time { seconds } => {
                for instance in &self.instances {
                    instance.disk.pass(Duration::from_secs(*seconds));
                }
            }
            Step::Replay { at } => self.replay(*at),
        }
    }

    fn options(&self) -> JournalOptions {
        let keeps = self.mutation != Some(Mutation::NothingKept);
        JournalOptions {
            max_bytes: self.plan.max_bytes,
            segment_bytes: self.plan.segment_bytes,
            keep_applied: if keeps { Duration::from_hours(24) } else { Duration::ZERO },
            keep_applied_bytes: if keeps { u64::MAX } else { 0 },
            queue_records: 64,
            ..JournalOptions::default()
        }
    }

    fn start(&mut self, at: usize) {
        let options = self.options();
        let instance = &mut self.instances[at];
        if instance.process.is_some() {
            return;
        }
        instance.disk.revive();
        let opened =
            with_disk(&instance.files, || Journal::open_by_hand("analytics", Path::new(HOME), options, Arc::new(())));
        // A disk that fails here fails the start; somebody starts it again.
        if let Ok((journal, commit)) = opened {
            let sink = Arc::new(VirtualSink::new(Arc::clone(&self.database)));
            let applier = new_applier(&journal, &sink, &self.clock, self.mutation);
            instance.process = Some(Process { journal, commit, applier, sink, acks: Vec::new() });
        }
        self.bury(at);
    }

    /// Ends a process whose disk says that it has died. Whoever waited for it hears nothing.
    fn bury(&mut self, at: usize) {
        let instance = &mut self.instances[at];
        if instance.disk.is_dead() {
            let process = instance.process.take();
            with_disk(&instance.files, || drop(process));
        }
    }

    fn stop(&mut self, at: usize) {
        self.commit(at);
        let instance = &mut self.instances[at];
        if let Some(Process { journal, commit, applier, .. }) = instance.process.take() {
            with_disk(&instance.files, || {
                drop(applier);
                let _ = journal.offsets().remember_applied();
                commit.close();
                drop(journal);
            });
        }
    }

    fn send(&mut self, at: usize, what: &[What]) {
        // Where there is little room, there is no room for letters either, and the applier waits for an operator.
        let has_room = self.plan.max_bytes >= ROOM;
        for what in what.iter().filter(|what| has_room || **what != What::Poison) {
            let Some(process) = &self.instances[at].process else { return };
            let Some((number, record)) = made(&mut self.ledger, *what) else { continue };
            if let Some(key) = record.key
                && self.mutation == Some(Mutation::UnknownKeysRefused)
                && self.database.is_away()
                && self.database.key(key.key).is_none()
            {
                // It could be on disk, and its client is told what somebody without consent is told.
                if process.journal.status().snapshot().state == JournalState::Open {
                    self.broken.get_or_insert(format!("record {number} was refused while the journal takes records"));
                }
                self.ledger.tell(number, Told::Refused);
                continue;
            }
            match with_disk(&self.instances[at].files, || process.journal.appender().append(record.encode())) {
                Ok(ack) => {
                    if let Some(process) = &mut self.instances[at].process {
                        process.acks.push((number, ack));
                    }
                }
                Err(_) => self.ledger.tell(number, Told::Refused),
            }
        }
    }

    fn commit(&mut self, at: usize) {
        let instance = &mut self.instances[at];
        let Some(process) = &mut instance.process else { return };
        with_disk(&instance.files, || process.commit.commit());
        let mut context = Context::from_waker(Waker::noop());
        for (number, mut ack) in std::mem::take(&mut process.acks) {
            match Pin::new(&mut ack).poll(&mut context) {
                Poll::Ready(Ok(())) => self.ledger.tell(number, Told::Acknowledged),
                // Of a process that has just died nobody hears.
                Poll::Ready(Err(_)) if instance.disk.is_dead() => {}
                Poll::Ready(Err(_)) => self.ledger.tell(number, Told::Refused),
                Poll::Pending => process.acks.push((number, ack)),
            }
        }
        self.bury(at);
    }

    fn apply(&mut self, at: usize, faults: &[DatabaseFault], pauses: usize) {
        let instance = &mut self.instances[at];
        let Some(Process { journal, applier, sink, .. }) = &mut instance.process else { return };
        sink.expect(faults);
        let is_silent = with_time(&self.time, || {
            with_disk(&instance.files, || work(applier, sink, &self.time, pauses, || instance.disk.is_dead()))
        });
        sink.expect(&[]);
        if journal.offsets().applied() < journal.offsets().durable() {
            // Whoever is left in the middle of a step does not come back to it: another one begins.
            *applier = with_disk(&instance.files, || new_applier(journal, sink, &self.clock, self.mutation));
        }
        if is_silent {
            instance.disk.die(Death::Killed);
        }
        self.bury(at);
    }

    fn collect(&mut self, at: usize) {
        let instance = &self.instances[at];
        if let Some(process) = &instance.process {
            // What is left is deleted by the next pass.
            let _ = with_disk(&instance.files, || process.journal.collector().collect());
        }
        self.bury(at);
    }

    fn replay(&mut self, at: usize) {
        self.database.take_poison();
        let instance = &mut self.instances[at];
        let Some(process) = &mut instance.process else { return };
        with_disk(&instance.files, || {
            let queue = process.journal.dead_letters();
            for letter in queue.list().unwrap_or_default() {
                let replayed = replay(&*process.sink, instance.id, &queue, &letter, UnixMillis(0));
                // What fails is tried again by the next one.
                let _ = pin!(replayed).poll(&mut Context::from_waker(Waker::noop()));
            }
        });
        self.bury(at);
    }

    /// Everything is mended, and everybody works until nothing is left to do.
    fn end(&mut self) -> Result<(), String> {
        self.database.set_away(false);
        self.database.settle();
        for at in 0..self.instances.len() {
            self.instances[at].disk.heal();
            self.start(at);
            self.commit(at);
        }
        for _ in 0..ROUNDS {
            for at in 0..self.instances.len() {
                self.apply(at, &[], PAUSES);
            }
            if self.behind().is_none() {
                if self.database.takes_poison() {
                    // One that died between the row and the letter's removal is tried again, and finds the row.
                    (0..self.instances.len()).for_each(|at| self.replay(at));
                }
                let letters = self.letters()?;
                return self.database.look(|tables| self.ledger.check(tables, &letters));
            }
        }
        Err(self.behind().unwrap_or_default())
    }

    /// What is not applied.
    fn behind(&self) -> Option<String> {
        self.instances.iter().enumerate().find_map(|(at, instance)| {
            let Some(process) = &instance.process else { return Some(format!("instance {at} does not start")) };
            let (position, durable) = (self.database.position(instance.id), process.journal.offsets().durable());
            (position < durable)
                .then(|| format!("instance {at} stays at {position} of {durable}, {:?}", process.state()))
        })
    }

    /// How often each record is set aside.
    fn letters(&self) -> Result<BTreeMap<Number, u32>, String> {
        let mut found: BTreeMap<Number, u32> = BTreeMap::new();
        for instance in &self.instances {
            let queue = instance.process.as_ref().map(|process| process.journal.dead_letters());
            let letters = with_disk(&instance.files, || queue.map(|queue| queue.list()));
            for letter in letters.transpose().map_err(|error| error.to_string())?.unwrap_or_default() {
                // An append that was torn may have its last records whole and those before them not. That nobody was promised
                // what is lost there is seen where what was promised is looked for.
                let Some(number) = number_in(&letter) else { continue };
                *found.entry(number).or_default() += 1;
            }
        }
        Ok(found)
    }
}

impl Process {
    fn state(&self) -> String {
        let reader = self.journal.reader();
        format!("trimmed up to {}, next {}", reader.trim_point(), reader.next_position())
    }
}

fn number_in(letter: &DeadLetter) -> Option<Number> {
    let digits = letter.record.as_bytes().chunks_exact(2);
    let bytes: Vec<u8> = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or_default(), 16).unwrap_or_default())
        .collect();
    AnalyticsRecord::<&str>::decode(&bytes).ok().map(|record| number_of(&record))
}

fn new_applier(
    journal: &Journal,
    sink: &Arc<VirtualSink>,
    clock: &Arc<Clock>,
    mutation: Option<Mutation>,
) -> Applier<VirtualSink> {
    let letters: Arc<dyn DeadLetterQueue> = Arc::new(journal.dead_letters());
    let dead_letters = match mutation {
        Some(Mutation::LettersAfterPosition) => Arc::new(LateLetters { queue: letters, kept: Mutex::default() }),
        _ => letters,
    };
    Applier::new(ApplierParts {
        database: "analytics",
        sink: Arc::clone(sink),
        log: Box::new(journal.reader()),
        offsets: Arc::new(journal.offsets()),
        dead_letters,
        state: Arc::new(ApplierState::default()),
        observer: Arc::new(()),
        clock: Arc::clone(clock),
    })
}

/// Lets an applier work, for so many pauses at most. True when its database fell silent.
fn work(
    applier: &mut Applier<VirtualSink>,
    sink: &VirtualSink,
    time: &VirtualTime,
    mut pauses: usize,
    is_dead: impl Fn() -> bool,
) -> bool {
    loop {
        let mut step = pin!(applier.step());
        loop {
            let polled = step.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if is_dead() {
                return false;
            }
            match polled {
                Poll::Ready(true) => break,
                Poll::Ready(false) => return false,
                Poll::Pending if sink.was_silent() => return true,
                Poll::Pending if pauses == 0 || !time.go_on() => return false,
                Poll::Pending => pauses -= 1,
            }
        }
    }
}

/// A record of this kind, if there is something that it can be about.
fn made(ledger: &mut Ledger, what: What) -> Option<(Number, AnalyticsRecord)> {
    let known = match what {
        What::Session(_) | What::Poison => Some(0),
        What::Leave(about) => ledger.some_view(about),
        What::View(about) | What::Heartbeat(about) | What::Identify(about) => ledger.some_session(about),
    }?;
    let kind = match what {
        What::Session(key) => Kind::Session(key),
        What::Poison => Kind::Poison,
        What::View(_) => Kind::View(known),
        What::Leave(_) => Kind::Leave,
        What::Heartbeat(_) => Kind::Heartbeat(known),
        What::Identify(_) => Kind::Identify,
    };
    let number = ledger.send(kind);
    Some((
        number,
        match what {
            What::Session(key) => keyed(session(number, false), key),
            What::Poison => keyed(session(number, true), None),
            What::View(_) => keyed(view(number, known), None),
            What::Leave(_) => keyed(leave(number, known), None),
            What::Heartbeat(_) => keyed(heartbeat(number, known), None),
            What::Identify(_) => keyed(identify(number, known), None),
        },
    ))
}
