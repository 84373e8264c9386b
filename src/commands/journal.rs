//! `weir journal status`: how far the databases are behind, once or second by second. `weir journal accept-database`: another
//! database is used from now on. A server may be running.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use weir::app;
use weir::config::{Config, DatabaseUrl};
use weir_apply::Throughput;
use weir_domain::approximate;
use weir_journal::{DeadLetters, Inspection, JournalId, JournalStatus, OpenError, Position, inspect};
use weir_log::{AcceptedDatabase, DeadLetterQueue as _};
use weir_store::{AnalyticsSink, DatabaseIdentity, MainSink, Positions, StoreError};

use super::outcome::{Done, Failure, block_on, say, tell};
use super::words::{bytes, count, duration, rate};

/// How often it is looked again.
const EVERY: Duration = Duration::from_secs(1);
/// How long a database may take to say how far it is.
const ANSWER: Duration = Duration::from_secs(10);

/// One journal, as JSON.
#[derive(Serialize)]
struct Line {
    journal: &'static str,
    id: String,
    durable_position: u64,
    applied_position: Option<u64>,
    lag_records: u64,
    segments: usize,
    disk_bytes: u64,
    kept_bytes: u64,
    max_bytes: u64,
    dead_letters: usize,
    /// Told while it is followed, once it was looked at twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    appended_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
}

/// Prints both journals.
pub fn status(config: &Config, json: bool) -> Done {
    block_on(async {
        for watched in &mut Watched::both(config) {
            let look = watched.look().await?;
            if json { say(&serde_json::to_string(&look.line(&Throughputs::default()))?)? } else { look.print()? }
        }
        Ok(())
    })
}

/// Prints both journals again and again: until it is interrupted, its reader goes, or nothing is behind.
pub fn follow(config: &Config, json: bool, until_applied: bool) -> Done {
    block_on(async {
        let screen = (!json && std::io::stdout().is_terminal()).then(Bars::new);
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
            done = follow_on(config, json, until_applied, screen.as_ref()) => done,
        }
    })
}

async fn follow_on(config: &Config, json: bool, until_applied: bool, bars: Option<&Bars>) -> Done {
    let mut followed = Watched::both(config).map(|watched| (watched, Throughputs::default()));
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut is_behind = false;
        for (number, (watched, throughputs)) in followed.iter_mut().enumerate() {
            let look = watched.look().await?;
            throughputs.note(&look);
            is_behind |= look.applied.is_err() || look.status.lag_records > 0;
            let line = match bars {
                Some(bars) => {
                    bars.show(number, &look, throughputs);
                    continue;
                }
                None if json => serde_json::to_string(&look.line(throughputs))?,
                None => format!("{:9}  {}", look.name, look.words(throughputs)),
            };
            if tell(&line)?.is_break() {
                return Ok(());
            }
        }
        if until_applied && !is_behind {
            return Ok(());
        }
    }
}

/// Says that a journal is to be applied to the database that the configuration names, whatever it was applied to before.
pub fn accept_database(config: &Config, name: &str, with_kept: bool) -> Done {
    block_on(async {
        let directory = app::journal_directory(config, name);
        let (known_applied, trim_point) = inspect(&directory)?.applied_and_trimmed();
        let databases = &config.databases;
        let identity = if name == "main" {
            let sink = app::open_main(&databases.main)?;
            sink.find_server().await?;
            identity(sink.positions(), databases.main.describe()).await?
        } else {
            let sink = app::open_analytics(&databases.analytics)?;
            sink.find_server().await?;
            identity(sink.positions(), databases.analytics.describe()).await?
        };
        let from = if with_kept { trim_point } else { known_applied };
        weir_journal::accept_database(&directory, &AcceptedDatabase { id: identity.id.clone(), from })?;
        say(&format!(
            "the {name} journal goes to database {} from now on, with what lies behind position {from}",
            identity.id
        ))
    })
}

async fn identity(positions: &dyn Positions, database: String) -> Result<DatabaseIdentity, Failure> {
    match tokio::time::timeout(ANSWER, positions.identity()).await {
        Ok(Ok(identity)) => Ok(identity),
        Ok(Err(StoreError::Schema(_))) => {
            Err(Failure { message: format!("{database} has no schema yet: run weir migrate first"), code: 1 })
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure { message: format!("no answer within {} s", ANSWER.as_secs()), code: 1 }),
    }
}

/// A journal with its database, as often as it is looked at.
struct Watched<'a> {
    config: &'a Config,
    name: &'static str,
    directory: PathBuf,
    database: Option<Database>,
}

enum Database {
    Analytics(AnalyticsSink),
    Main(MainSink),
}

impl Database {
    async fn find_server(&self) -> Result<(), StoreError> {
        match self {
            Self::Analytics(sink) => sink.find_server().await,
            Self::Main(sink) => sink.find_server().await,
        }
    }

    fn positions(&self) -> &dyn Positions {
        match self {
            Self::Analytics(sink) => sink.positions(),
            Self::Main(sink) => sink.positions(),
        }
    }
}

impl<'a> Watched<'a> {
    fn both(config: &'a Config) -> [Self; 2] {
        ["analytics", "main"].map(|name| {
            let directory = app::journal_directory(config, name);
            Self { config, name, directory, database: None }
        })
    }

    async fn look(&mut self) -> Result<Look, Failure> {
        let inspection = match inspect(&self.directory) {
            Err(error @ (OpenError::Io { .. } | OpenError::NoIdentity { .. })) if !self.directory.exists() => {
                return Err(Failure { message: format!("there is no journal yet ({error})"), code: 1 });
            }
            inspected => inspected?,
        };
        let applied = self.applied_position(inspection.id).await;
        let status = inspection.status(applied.as_ref().ok().copied().flatten(), self.config.journal.max_bytes);
        let dead_letters = DeadLetters::of(&self.directory, self.config.journal.max_bytes).list()?.len();
        Ok(Look { name: self.name, at: Instant::now(), inspection, applied, status, dead_letters })
    }

    async fn applied_position(&mut self, id: JournalId) -> Result<Option<Position>, Failure> {
        let Some(database) = self.database()? else { return Ok(None) };
        let asked = tokio::time::timeout(ANSWER, async {
            database.find_server().await?;
            database.positions().position(id).await
        });
        let silent = |_| Failure { message: format!("no answer within {} s", ANSWER.as_secs()), code: 1 };
        Ok(asked.await.map_err(silent)??.map(|(position, _)| position))
    }

    fn database(&mut self) -> Result<Option<&Database>, Failure> {
        let databases = &self.config.databases;
        let url = if self.name == "main" { &databases.main } else { &databases.analytics };
        // To look is not to make.
        if let DatabaseUrl::Sqlite(url) = url
            && let Some(file) = url.trim_start_matches("sqlite://").split('?').next()
            && !Path::new(file).exists()
        {
            return Ok(None);
        }
        if self.database.is_none() {
            self.database = Some(if self.name == "main" {
                Database::Main(app::open_main(url)?)
            } else {
                Database::Analytics(app::open_analytics(url)?)
            });
        }
        Ok(self.database.as_ref())
    }
}

/// One look at a journal.
struct Look {
    name: &'static str,
    at: Instant,
    inspection: Inspection,
    /// What the database says; `None` while it does not know the journal.
    applied: Result<Option<Position>, Failure>,
    status: JournalStatus,
    dead_letters: usize,
}

impl Look {
    fn print(&self) -> Done {
        let status = &self.status;
        say(&format!("{} (journal {})", self.name, status.id))?;
        say(&format!("  durable position  {}", status.durable))?;
        match &self.applied {
            Ok(Some(position)) => say(&format!("  applied position  {position}"))?,
            Ok(None) => say("  applied position  none: the database does not know this journal yet")?,
            Err(failure) => say(&format!("  applied position  unknown: {}", failure.message))?,
        }
        say(&format!("  lag               {} records", status.lag_records))?;
        let (disk, most, segments) = (status.disk_bytes, status.max_bytes, status.segments);
        say(&format!("  disk              {disk} of {most} bytes in {segments} segments"))?;
        say(&format!("  applied and kept  {} bytes of these", status.kept_bytes))?;
        say(&format!("  dead letters      {}", self.dead_letters))
    }

    fn line(&self, throughputs: &Throughputs) -> Line {
        let status = &self.status;
        Line {
            journal: self.name,
            id: status.id.to_string(),
            durable_position: status.durable.0,
            applied_position: status.applied.map(|position| position.0),
            lag_records: status.lag_records,
            segments: status.segments,
            disk_bytes: status.disk_bytes,
            kept_bytes: status.kept_bytes,
            max_bytes: status.max_bytes,
            dead_letters: self.dead_letters,
            applied_per_second: throughputs.applied.per_second(),
            appended_per_second: throughputs.appended.per_second(),
            seconds_left: throughputs.time_left().map(|left| left.as_secs()),
        }
    }

    /// Everything in one line.
    fn words(&self, throughputs: &Throughputs) -> String {
        let status = &self.status;
        let mut said = match (&self.applied, status.lag_records) {
            (Err(failure), lag) => format!("{} behind when last known: {}", count(approximate(lag)), failure.message),
            (Ok(_), 0) => "nothing behind".to_owned(),
            (Ok(_), lag) => format!("{} behind", count(approximate(lag))),
        };
        if let Some(applied) = throughputs.applied.per_second() {
            said += &format!(", applying {} a second", rate(applied));
        }
        if let Some(appended) = throughputs.appended.per_second() {
            said += &format!(", taking {} a second", rate(appended));
        }
        match throughputs.time_left() {
            Some(left) => said += &format!(", about {} left", duration(left)),
            None if status.lag_records > 0 && throughputs.behind.per_second().is_some_and(|growth| growth >= 0.0) => {
                said += ", not getting less";
            }
            None => {}
        }
        let (disk, most) = (bytes(approximate(status.disk_bytes)), bytes(approximate(status.max_bytes)));
        said += &format!("; disk {disk} of {most}");
        if self.dead_letters > 0 {
            said += &format!("; {} dead letters", self.dead_letters);
        }
        said
    }
}

/// How fast a journal's numbers change.
#[derive(Default)]
struct Throughputs {
    /// The positions of the last look, and the records that were counted up to them: positions themselves have gaps.
    last: Option<(Position, Option<Position>)>,
    appended_records: u64,
    applied_records: u64,
    appended: Throughput,
    applied: Throughput,
    behind: Throughput,
}

impl Throughputs {
    fn note(&mut self, look: &Look) {
        let (durable, applied) = (look.status.durable, look.status.applied);
        let between = |before: Position, now: Position| look.inspection.records_between(before, now);
        if let Some((durable_before, applied_before)) = self.last {
            self.appended_records += between(durable_before, durable);
            if let (Some(before), Some(now)) = (applied_before, applied) {
                self.applied_records += between(before, now);
            }
        }
        // While the database is away, what it had stays what it is measured from.
        let known = applied.or(self.last.and_then(|(_, applied)| applied));
        self.last = Some((durable, known));
        self.appended.note(look.at, self.appended_records);
        if applied.is_some() {
            self.applied.note(look.at, self.applied_records);
            self.behind.note(look.at, look.status.lag_records);
        }
    }

    fn time_left(&self) -> Option<Duration> {
        self.behind.time_left().filter(|left| !left.is_zero())
    }
}

/// A bar for each journal, full when nothing is behind.
struct Bars([ProgressBar; 2]);

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let style = ProgressStyle::with_template("{prefix:9} [{bar:20}] {wide_msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
        Self(std::array::from_fn(|_| all.add(ProgressBar::new(0).with_style(style.clone()))))
    }

    fn show(&self, number: usize, look: &Look, throughputs: &Throughputs) {
        let (bar, lag) = (&self.0[number], look.status.lag_records);
        // As long as the most that was ever behind.
        let most = bar.length().unwrap_or_default().max(lag).max(1);
        bar.set_length(most);
        bar.set_position(most - lag);
        bar.set_prefix(look.name);
        bar.set_message(look.words(throughputs));
        bar.tick();
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // What they say last stays.
        self.0.iter().for_each(ProgressBar::abandon);
    }
}
