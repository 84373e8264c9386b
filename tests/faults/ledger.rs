//! What the clients saw, held against what the databases have.
//!
//! Every request of a load carries a name of its own, so that a doubled record shows whatever its id. A line is printed
//! for every fault, and appended to the file that `WEIR_FAULTS_LEDGER` names.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use weir_testkit::{Backend, Database, TestApp};

/// Where the landing page of every session of a load begins.
pub const PAGES: &str = "https://example.org/load/";

/// One kind of request.
#[derive(Default)]
pub struct Account {
    pub sent: u64,
    /// By id (sessions) or by name (events).
    pub acknowledged: BTreeSet<String>,
    /// By landing page (sessions) or by name (events).
    pub refused: BTreeSet<String>,
}

impl Account {
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.refused.extend(other.refused);
        self.acknowledged.extend(other.acknowledged);
    }
}

/// One fault's ledger.
pub struct Ledger {
    fault: &'static str,
    backend: Backend,
    /// They go to the analytics database.
    pub sessions: Account,
    /// They go to the main database.
    pub events: Account,
    /// Requests that ended without an answer: they may be stored or not.
    pub unanswered: u64,
    pub longest: Duration,
    /// Sessions that were acknowledged and destroyed on purpose afterwards, by id: gone, and not missing.
    pub destroyed: BTreeSet<String>,
    notes: Vec<String>,
}

/// A ledger's bottom line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub sent: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub unanswered: u64,
    pub stored: u64,
    pub missing: u64,
    pub doubled: u64,
    pub longest: Duration,
}

impl Sums {
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.stored += other.stored;
        self.missing += other.missing;
        self.doubled += other.doubled;
        self.longest = self.longest.max(other.longest);
    }
}

impl Ledger {
    pub fn of(fault: &'static str, backend: Backend) -> Self {
        Self {
            fault,
            backend,
            sessions: Account::default(),
            events: Account::default(),
            unanswered: 0,
            longest: Duration::ZERO,
            destroyed: BTreeSet::new(),
            notes: Vec::new(),
        }
    }

    /// A figure that belongs beside the sums.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// A session that was sent beside a load: its landing page, and the id that it got.
    pub fn session(&mut self, page: String, id: Option<String>) {
        self.sessions.sent += 1;
        match id {
            Some(id) => self.sessions.acknowledged.insert(id),
            None => self.sessions.refused.insert(page),
        };
    }

    pub fn refused(&self) -> u64 {
        (self.sessions.refused.len() + self.events.refused.len()) as u64
    }

    /// What was refused for want of a disk is not stored later, silently.
    pub async fn refused_are_not_stored(&self, app: &TestApp) {
        for (database, sql, account) in [
            (Database::Analytics, "SELECT landing_page AS name FROM analytics_sessions", &self.sessions),
            (Database::Main, "SELECT event AS name FROM funnel_events", &self.events),
        ] {
            let rows = app.rows(database, sql).await;
            let stored: BTreeSet<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
            let after_all: Vec<&String> =
                account.refused.iter().filter(|refused| stored.contains(refused.as_str())).collect();
            assert!(after_all.is_empty(), "refused and stored: {after_all:?}");
        }
    }

    pub fn acknowledged(&self) -> usize {
        self.sessions.acknowledged.len() + self.events.acknowledged.len()
    }

    /// Waits until everything is applied, and holds the ledger against both databases.
    pub async fn settle(&self, app: &TestApp) {
        self.close(self.sums(app).await);
    }

    /// Waits until everything is applied, and adds up what is in both databases.
    pub async fn sums(&self, app: &TestApp) -> Sums {
        app.applied().await;
        let sql = format!("SELECT id, landing_page FROM analytics_sessions WHERE landing_page LIKE '{PAGES}%'");
        let rows = app.rows(Database::Analytics, &sql).await;
        let ids: BTreeSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        let pages: BTreeSet<&str> = rows.iter().map(|row| row["landing_page"].as_str().unwrap()).collect();
        let events = app.rows(Database::Main, "SELECT event FROM funnel_events").await;
        let names: BTreeSet<&str> = events.iter().map(|row| row["event"].as_str().unwrap()).collect();
        let missing = |account: &Account, stored: &BTreeSet<&str>| {
            let acknowledged = account.acknowledged.difference(&self.destroyed);
            acknowledged.filter(|acknowledged| !stored.contains(acknowledged.as_str())).count() as u64
        };
        assert!(rows.len() as u64 <= self.sessions.sent && events.len() as u64 <= self.events.sent);
        Sums {
            sent: self.sessions.sent + self.events.sent,
            acknowledged: self.acknowledged() as u64,
            refused: self.refused(),
            unanswered: self.unanswered,
            stored: (rows.len() + events.len()) as u64,
            missing: missing(&self.sessions, &ids) + missing(&self.events, &names),
            doubled: (rows.len() - pages.len() + events.len() - names.len()) as u64,
            longest: self.longest,
        }
    }

    /// Prints the bottom line, keeps it, and fails where something is missing or doubled.
    pub fn close(&self, sums: Sums) {
        let database = match self.backend {
            Backend::Sqlite => "SQLite",
            Backend::Postgres => "PostgreSQL",
        };
        let Sums { sent, acknowledged, refused, unanswered, stored, missing, doubled, longest } = sums;
        let mut notes = self.notes.clone();
        if !self.destroyed.is_empty() {
            notes.push(format!("{} destroyed on purpose after they were acknowledged", self.destroyed.len()));
        }
        let line = format!(
            "| {} | {database} | {sent} | {acknowledged} | {refused} | {unanswered} | {stored} | {missing} | {doubled} | {} | {} |",
            self.fault,
            longest.as_millis(),
            notes.join("; "),
        );
        println!("{line}");
        if let Some(file) = std::env::var_os("WEIR_FAULTS_LEDGER") {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
            // One write, so that tests side by side do not mix their lines.
            file.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        assert_eq!((missing, doubled), (0, 0), "missing, doubled");
        assert_eq!(sent, acknowledged + refused + unanswered, "every request is in one column");
    }
}
