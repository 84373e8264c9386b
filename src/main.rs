//! The command line.
//!
//! Exit codes: 0 done, 1 it failed, 2 the command or the configuration is wrong.

// A command line is no hot path, and what clap shows as help is no rustdoc.
#![allow(clippy::doc_markdown, clippy::format_collect, clippy::format_push_string)]
#![forbid(unsafe_code)]

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use weir::config::Config;

// What a request allocates on one thread is often freed on another; the system's allocator locks for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tracking ingestion: an id in an answer is a record on disk.
///
/// Without a command, weir serves. Configuration comes from weir.toml (or --config), overridden by WEIR_* variables,
/// e.g. WEIR_LISTEN=127.0.0.1:9000 or WEIR_JOURNAL__MAX_BYTES=1GiB.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Read this file instead of weir.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve requests until a signal ends it (the default).
    Serve,
    /// Bring both databases to this version's schema, then exit.
    Migrate,
    /// Ask a running weir whether it accepts records: exits with 0 when it does.
    Health {
        /// The weir to ask, instead of the one that the configuration's listen names.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Watch a running weir: rates, latencies, queues, disk and databases.
    Top {
        /// The weir to watch, instead of the one that the configuration's metrics_listen or listen names.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// How often its metrics are read.
        #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval_seconds: u64,
    },
    /// Check the configuration and everything it points to, and list every problem.
    Check,
    /// Print every key of the configuration with its default and its meaning, as Markdown.
    Configuration,
    /// Say what becomes of a user agent: whether it is a bot's, and what is stored of it.
    Explain {
        /// The user agent; `-` reads one from each line of the input.
        #[arg(long)]
        user_agent: String,
        /// Print JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Print a tracking token for a bio page, valid for five to ten minutes.
    Token {
        /// The page's UUID.
        bio_page_id: String,
    },
    /// Print an access token for a user.
    Jwt {
        /// The user's id: any text of 1 to 255 characters.
        user_id: String,
        /// How long it is valid.
        #[arg(long, default_value_t = 3600)]
        seconds: u32,
    },
    /// Read and change the settings in the main database.
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Look at the journals; a server may be running.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Print which analytics rows are past their retention, and delete them; a server may be running.
    Retention {
        #[command(subcommand)]
        command: Option<RetentionCommand>,
    },
    /// Look at records that were set aside, and decide what becomes of them; a server may be running.
    #[command(subcommand)]
    DeadLetters(LettersCommand),
}

#[derive(Subcommand)]
enum RetentionCommand {
    /// Delete them now. A server does so every hour.
    Run {
        /// Take the clock for right, however far it is ahead of the last run.
        #[arg(long)]
        confirm: bool,
    },
}

#[derive(Subcommand)]
enum LettersCommand {
    /// Print every dead letter: database, position, time, reason.
    List {
        #[arg(value_parser = ["analytics", "main"])]
        database: Option<String>,
        /// Print JSON instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Print one dead letter with its record, which is personal data.
    Show {
        #[arg(value_parser = ["analytics", "main"])]
        database: String,
        position: u64,
    },
    /// Apply one dead letter, or all, once the cause is repaired.
    Replay {
        #[arg(value_parser = ["analytics", "main"])]
        database: String,
        position: Option<u64>,
        #[arg(long)]
        all: bool,
    },
    /// Delete one dead letter, or all.
    Drop {
        #[arg(value_parser = ["analytics", "main"])]
        database: String,
        position: Option<u64>,
        #[arg(long)]
        all: bool,
    },
}

#[derive(Subcommand)]
enum SettingsCommand {
    /// Print one setting's value.
    Get { key: String },
    /// Set one setting; a running server sees it within 5 seconds.
    Set { key: String, value: String },
    /// Print all settings with their values and meanings.
    List,
}

#[derive(Subcommand)]
enum JournalCommand {
    /// Print each journal's positions, lag and bytes.
    Status {
        /// Print JSON instead of text.
        #[arg(long)]
        json: bool,
        /// Look again every second, and tell how fast it goes and how long it will take, until interrupted.
        #[arg(long)]
        follow: bool,
        /// Follow until nothing is behind.
        #[arg(long, requires = "follow")]
        until_applied: bool,
    },
    /// Accept a new database for a journal: what is not applied yet goes there. A server that runs takes it up within
    /// ten seconds.
    AcceptDatabase {
        #[arg(value_parser = ["analytics", "main"])]
        database: String,
        /// Apply all that the journal still has: for a database that is lost.
        #[arg(long)]
        with_kept: bool,
    },
}

/// Pages of memory stay small. The allocator asks for large regions and uses parts of them; where the kernel backs those
/// with huge pages, an idle process keeps twice the memory, and requests cost the same
/// (docs/decisions/0020-mimalloc-without-huge-pages.md).
#[cfg(target_os = "linux")]
fn refuse_huge_pages() {
    // Where that cannot be had, it is only memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    refuse_huge_pages();
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Serve);
    // These need no configuration: a broken one must not be in their way.
    match &command {
        Command::Health { url: Some(url) } => return end(commands::health(url)),
        Command::Configuration => return end(commands::configuration()),
        Command::Top { url: Some(url), interval_seconds } => return end(commands::top::top(url, *interval_seconds)),
        _ => {}
    }
    let (config, problems) = match Config::read(arguments.config.as_deref()) {
        // `check` looks for more.
        Ok((config, problems)) if problems.0.is_empty() || matches!(command, Command::Check) => (config, problems),
        Ok((_, problems)) | Err(problems) => {
            commands::complain(format!("the configuration is not usable:\n{problems}").trim_end());
            return ExitCode::from(2);
        }
    };
    end(match command {
        Command::Serve => commands::serve(config),
        Command::Migrate => commands::migrate(&config),
        Command::Health { .. } => commands::health_of(&config),
        Command::Top { interval_seconds, .. } => commands::top::top_of(&config, interval_seconds),
        Command::Configuration => commands::configuration(),
        Command::Check => commands::check(&config, problems),
        Command::Explain { user_agent, json } => commands::explain::explain(&config, &user_agent, json),
        Command::Token { bio_page_id } => commands::token(&config, &bio_page_id),
        Command::Jwt { user_id, seconds } => commands::jwt(&config, &user_id, seconds),
        Command::Settings(SettingsCommand::Get { key }) => commands::settings_get(&config, &key),
        Command::Settings(SettingsCommand::Set { key, value }) => commands::settings_set(&config, &key, &value),
        Command::Settings(SettingsCommand::List) => commands::settings_list(&config),
        Command::Journal(JournalCommand::Status { json, follow: false, .. }) => {
            commands::journal::status(&config, json)
        }
        Command::Journal(JournalCommand::Status { json, until_applied, .. }) => {
            commands::journal::follow(&config, json, until_applied)
        }
        Command::Journal(JournalCommand::AcceptDatabase { database, with_kept }) => {
            commands::journal::accept_database(&config, &database, with_kept)
        }
        Command::Retention { command: None } => commands::retention::show(&config),
        Command::Retention { command: Some(RetentionCommand::Run { confirm }) } => {
            commands::retention::run(&config, confirm)
        }
        Command::DeadLetters(command) => dead_letters(&config, &command),
    })
}

fn end(done: Result<(), commands::Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            commands::complain(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn dead_letters(config: &Config, command: &LettersCommand) -> Result<(), commands::Failure> {
    use commands::dead_letters::{drop, list, replay, show, which};
    match command {
        LettersCommand::List { database, json } => list(config, database.as_deref(), *json),
        LettersCommand::Show { database, position } => show(config, database, *position),
        LettersCommand::Replay { database, position, all } => replay(config, database, which(*position, *all)?),
        LettersCommand::Drop { database, position, all } => drop(config, database, which(*position, *all)?),
    }
}
