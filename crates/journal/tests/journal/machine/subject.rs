//! The journal under test, the process and the disk around it.

use std::path::PathBuf;

use proptest::sample::Index;
use weir_journal::{AppendError, Journal, JournalOptions, JournalReader, Position};
use weir_log::{LogReader as _, Offsets as _, ReadLimits};

use super::ledger::Ledger;
use super::{Harm, Plan, Stop, files};
use crate::{read_all, segments, start};

pub struct Subject {
    root: tempfile::TempDir,
    /// How many processes there were.
    lives: usize,
    options: JournalOptions,
    runtime: tokio::runtime::Runtime,
    /// `None` while no process has it.
    journal: Option<Journal>,
    /// A reader with a place of its own.
    reader: Option<(JournalReader, Position)>,
    ledger: Ledger,
    /// How many records were ever handed over: each has its number.
    numbered: usize,
    applied: Position,
    disk_works: bool,
    /// Bytes that harm has added to the files.
    foreign_bytes: u64,
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.reader = None;
        if let Some(journal) = self.journal.take() {
            journal.appender().close();
        }
    }
}

impl Subject {
    pub fn new(plan: &Plan) -> Self {
        let options = JournalOptions {
            segment_bytes: plan.segment_bytes,
            max_bytes: plan.max_bytes,
            keep_applied: std::time::Duration::from_hours(1),
            keep_applied_bytes: plan.keep_applied_bytes,
            // No power is cut here.
            fsync: false,
            ..JournalOptions::default()
        };
        // Nor is anything gained by waiting for a disk.
        let memory = tempfile::tempdir_in("/dev/shm");
        let mut subject = Self {
            root: memory.or_else(|_| tempfile::tempdir()).unwrap(),
            lives: 0,
            options,
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            journal: None,
            reader: None,
            ledger: Ledger::default(),
            numbered: 0,
            applied: Position::START,
            disk_works: true,
            foreign_bytes: 0,
        };
        subject.launch();
        subject
    }

    fn home(&self) -> PathBuf {
        self.root.path().join(self.lives.to_string())
    }

    fn away(&self) -> PathBuf {
        self.root.path().join("away")
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("a process is running")
    }

    fn launch(&mut self) {
        let journal = start(&self.home(), self.options);
        // As a writer does that has asked its database.
        journal.offsets().commit(self.applied);
        self.reader = Some((journal.reader(), journal.reader().trim_point()));
        self.journal = Some(journal);
    }

    pub fn append(&mut self, lengths: &[usize]) {
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        for length in lengths {
            self.numbered += 1;
            let mut payload = format!("{:08}", self.numbered).into_bytes();
            payload.resize(*length, b'x');
            payloads.push(payload);
        }
        let journal = self.journal().clone();
        let acks: Vec<_> = payloads.iter().map(|payload| journal.appender().append(payload.clone()).unwrap()).collect();
        for (ack, payload) in acks.into_iter().zip(payloads) {
            match self.runtime.block_on(ack) {
                Ok(()) => self.ledger.acknowledged(payload),
                Err(AppendError::DiskFull) => {}
                Err(AppendError::Failed) => assert!(!self.disk_works, "refused for no reason"),
                Err(error) => panic!("{error}"),
            }
        }
        if self.disk_works {
            self.learn();
        }
    }

    /// Reads what is new, with whatever was refused among it: nothing.
    fn learn(&mut self) {
        let after = self.ledger.last().max(self.journal().reader().trim_point());
        let (read, corrupt) = read_all(self.journal(), after);
        // What a crash cost may be named right here; `check` looks at that.
        drop(corrupt);
        self.ledger.learn(read, &self.home());
    }

    pub fn fail_disk(&mut self) {
        self.disk_works = false;
        // A reader may hold its files open; a new one finds none.
        std::fs::rename(self.home(), self.away()).unwrap();
    }

    pub fn heal_disk(&mut self) {
        std::fs::rename(self.away(), self.home()).unwrap();
        self.disk_works = true;
        self.learn();
    }

    pub fn read_on(&mut self, from: Option<Index>, records: usize, bytes: usize) {
        let (mut reader, at) = self.reader.take().expect("a process is running");
        let at = from.map_or(at, |from| self.ledger.some_position(from));
        let after = at.max(self.journal().reader().trim_point());
        let batch = reader.read(after, self.journal().offsets().durable(), ReadLimits { records, bytes }).unwrap();
        assert!(batch.records.len() <= records);
        assert!(
            batch.through > after || after >= self.journal().offsets().durable(),
            "reading stands still at {after}"
        );
        let read: Vec<_> = batch.records.iter().map(|entry| (entry.position, entry.payload.to_vec())).collect();
        self.ledger.check(after, batch.through, &read, &batch.corrupt);
        self.reader = Some((reader, batch.through));
    }

    pub fn apply(&mut self, through: Index) {
        self.applied = self.applied.max(self.ledger.some_position(through));
        self.journal().offsets().commit(self.applied);
        self.journal().collector().collect().unwrap();
        assert!(self.journal().reader().trim_point() <= self.applied, "deleted before it was applied");
    }

    pub fn rewind(&mut self, to: Index) {
        let to = self.ledger.some_position(to).max(self.journal().reader().trim_point());
        self.applied = self.applied.min(to);
        self.journal().offsets().commit(self.applied);
        self.journal().collector().collect().unwrap();
        assert!(self.journal().reader().trim_point() <= self.applied, "deleted what is to be applied again");
    }

    pub fn flip(&mut self, record: Index, bit: Index) {
        self.ledger.flip(&self.home(), record, bit);
        self.ledger.look(&self.home(), false);
    }

    pub fn restart(&mut self, stop: &Stop, harm: &[Harm]) {
        if !self.disk_works {
            self.heal_disk();
        }
        match stop {
            Stop::InOrder => self.stop(),
            Stop::Crash { unfinished, torn } => self.crash(unfinished, *torn),
        }
        let home = self.home();
        for harm in harm {
            self.foreign_bytes += harm.befall(&home, &self.ledger);
        }
        // Only an end that was noted is known to the next process.
        self.ledger.look(&home, !home.join("clean").exists());
        self.launch();
    }

    fn stop(&mut self) {
        self.reader = None;
        self.journal.take().expect("a process is running").appender().close();
    }

    /// What a killed process leaves is what its files say at that moment, with a part of what it was writing.
    fn crash(&mut self, unfinished: &[usize], torn: Index) {
        let before: Vec<_> = segments(&self.home());
        let newest = before.last().cloned();
        let end = newest.as_ref().map_or(0, |file| files::end(file));
        self.append(unfinished);
        let left = self.home();
        self.lives += 1;
        files::copy(&left, &self.home());
        self.stop();
        std::fs::remove_dir_all(left).unwrap();
        let newest_now = segments(&self.home()).pop();
        if let Some(file) = newest_now {
            let is_new = newest.is_none_or(|newest| newest.file_name() != file.file_name());
            let least = if is_new { 0 } else { end };
            let unsure = usize::try_from(files::end(&file) - least).unwrap();
            let (kept, length) = (torn.index(unsure + 1), std::fs::metadata(&file).unwrap().len());
            files::resize(&file, least + kept as u64);
            if kept % 2 == 0 {
                // The file had run ahead before: what did not arrive is zeros.
                files::resize(&file, length);
            }
        }
    }

    /// Everything that must hold at any moment.
    pub fn check(&self) {
        let journal = self.journal();
        let (released, durable) = (journal.reader().trim_point(), journal.offsets().durable());
        let (read, corrupt) = read_all(journal, released);
        self.ledger.check(released, durable, &read, &corrupt);
        let status = journal.status().snapshot();
        let (least, most) = self.ledger.lag(self.applied.max(released));
        assert!((least..=most).contains(&status.lag_records), "lag {} not {least}..={most}", status.lag_records);
        let (bytes, bound) = (files::bytes(&self.home()), self.options.max_bytes + self.foreign_bytes);
        assert!(bytes <= bound, "{bytes} bytes on disk, bound {bound}");
    }
}
