//! `weir dead-letters`: look at what was set aside, and decide. A server may be running.

use weir::app;
use weir::config::Config;
use weir_apply::replay as replay_letter;
use weir_domain::{AnalyticsRecord, Clock, JournalRecord, MainRecord, UnixMillis};
use weir_journal::{DeadLetters, JournalId, inspect};
use weir_log::{DeadLetter, DeadLetterQueue as _};
use weir_store::{AnalyticsSink, MainSink, Sink};

use super::outcome::{Done, Failure, block_on, say, wrong};
use super::progress::Progress;

/// Which letters a command is about.
#[derive(Clone, Copy)]
pub enum Which {
    All,
    One(u64),
}

/// One database's letters.
struct Letters {
    journal: JournalId,
    letters: DeadLetters,
}

impl Letters {
    fn of(config: &Config, database: &str) -> Result<Self, Failure> {
        let directory = app::journal_directory(config, database);
        let journal = inspect(&directory)?.id;
        Ok(Self { journal, letters: DeadLetters::of(&directory, config.journal.max_bytes) })
    }

    fn pick(&self, which: Which) -> Result<Vec<DeadLetter>, Failure> {
        let letters = self.letters.list()?;
        let Which::One(position) = which else { return Ok(letters) };
        let one: Vec<_> = letters.into_iter().filter(|letter| letter.position.0 == position).collect();
        if one.is_empty() { Err(wrong(format!("there is no dead letter at position {position}"))) } else { Ok(one) }
    }
}

/// Prints every letter of both databases, or of one.
pub fn list(config: &Config, database: Option<&str>, json: bool) -> Done {
    for name in ["analytics", "main"] {
        if database.is_some_and(|database| database != name) {
            continue;
        }
        for letter in Letters::of(config, name)?.pick(Which::All)? {
            if json {
                let mut line = serde_json::to_value(&letter)?;
                line["database"] = name.into();
                say(&line.to_string())?;
            } else {
                let (at, reason) = (UnixMillis(letter.at_ms).to_rfc3339(), letter.reason.label());
                let positions = match letter.last {
                    last if last > letter.position => format!("{} to {last}", letter.position),
                    _ => letter.position.to_string(),
                };
                say(&format!("{name} {positions}  {at}  {reason}  {}", letter.detail))?;
            }
        }
    }
    Ok(())
}

/// Prints one letter with what its record says. That is personal data.
pub fn show(config: &Config, database: &str, position: u64) -> Done {
    for letter in Letters::of(config, database)?.pick(Which::One(position))? {
        say(&serde_json::to_string_pretty(&letter)?)?;
        let bytes = hex::decode(&letter.record).unwrap_or_default();
        let record = if database == "main" {
            MainRecord::decode(&bytes).map(|record| format!("{record:#?}"))
        } else {
            <AnalyticsRecord>::decode(&bytes).map(|record| format!("{record:#?}"))
        };
        match record {
            Ok(record) => say(&record)?,
            Err(error) => say(&format!("the record cannot be read: {error}"))?,
        }
    }
    Ok(())
}

/// Applies letters and takes out those that the database took.
pub fn replay(config: &Config, database: &str, which: Which) -> Done {
    let found = Letters::of(config, database)?;
    let picked = found.pick(which)?;
    block_on(async {
        if database == "main" {
            let sink = app::open_main(&config.databases.main)?;
            sink.find_server().await?;
            match sink {
                MainSink::Sqlite(sink) => replay_into(sink.as_ref(), &found, &picked).await,
                MainSink::Postgres(sink) => replay_into(sink.as_ref(), &found, &picked).await,
            }
        } else {
            let sink = app::open_analytics(&config.databases.analytics)?;
            sink.find_server().await?;
            match sink {
                AnalyticsSink::Sqlite(sink) => replay_into(sink.as_ref(), &found, &picked).await,
                AnalyticsSink::Postgres(sink) => replay_into(sink.as_ref(), &found, &picked).await,
            }
        }
    })
}

async fn replay_into<S: Sink>(sink: &S, found: &Letters, picked: &[DeadLetter]) -> Done {
    let mut kept = 0;
    let mut progress = Progress::of("letters", picked.len() as u64);
    for (done, letter) in (1..).zip(picked) {
        match replay_letter(sink, found.journal, &found.letters, letter, Clock::system().now()).await {
            Ok(()) => progress.say(&format!("{} applied", letter.position))?,
            Err(error) => {
                kept += 1;
                progress.say(&format!("{} kept: {error}", letter.position))?;
            }
        }
        progress.reached(done);
    }
    std::mem::drop(progress);
    if kept > 0 {
        return Err(Failure { message: format!("{kept} of {} dead letters are still there", picked.len()), code: 1 });
    }
    Ok(())
}

/// Takes letters out for good: their records are lost.
pub fn drop(config: &Config, database: &str, which: Which) -> Done {
    let found = Letters::of(config, database)?;
    for letter in found.pick(which)? {
        found.letters.remove(letter.position)?;
        say(&format!("{} dropped", letter.position))?;
    }
    Ok(())
}

/// A position, or all.
pub fn which(position: Option<u64>, all: bool) -> Result<Which, Failure> {
    match (position, all) {
        (Some(position), false) => Ok(Which::One(position)),
        (None, true) => Ok(Which::All),
        _ => Err(wrong("name one position, or say --all".to_owned())),
    }
}
