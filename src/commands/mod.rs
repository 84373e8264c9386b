//! What each command does.

pub mod dead_letters;

use std::future::Future;
use std::io::Write;
use std::path::Path;

use secrecy::ExposeSecret;
use serde::Serialize;
use uuid::Uuid;

use weir::app::{self, AnalyticsSink, AppError, MainSink, Started, descriptors};
use weir::auth::{AccessTokens, IdTokens};
use weir::config::{Config, DatabaseUrl, JwtKey, Problems, Secrets};
use weir::domain::Clock;
use weir::enrich::geo::Geo;
use weir::enrich::token::TrackingTokens;
use weir::journal::{self, JournalId, OpenError, Position};
use weir::mail;
use weir::settings;
use weir::store::Sink;
use weir::telemetry::logs;

/// A command that did not do what it was asked.
pub struct Failure {
    pub message: String,
    pub code: u8,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { message: error.to_string(), code: 1 }
    }
}

type Done = Result<(), Failure>;

fn wrong(message: String) -> Failure {
    Failure { message, code: 2 }
}

pub fn serve(config: Config) -> Done {
    logs::install(config.log, config.log_format);
    actix_web::rt::System::new().block_on(app::serve(config, announce)).map_err(|error| match error {
        // Asking for what there cannot be is as wrong as a key that is none.
        AppError::Descriptors(_) => wrong(error.to_string()),
        _ => error.into(),
    })
}

pub fn migrate(config: &Config) -> Done {
    block_on(async {
        match app::open_analytics(&config.databases.analytics)? {
            AnalyticsSink::Sqlite(sink) => migrate_one(sink.as_ref()).await?,
            AnalyticsSink::Postgres(sink) => migrate_one(sink.as_ref()).await?,
        }
        match app::open_main(&config.databases.main)? {
            MainSink::Sqlite(sink) => migrate_one(sink.as_ref()).await,
            MainSink::Postgres(sink) => migrate_one(sink.as_ref()).await,
        }
    })
}

async fn migrate_one<S: Sink>(sink: &S) -> Done {
    sink.migrate().await.map_err(|error| Failure { message: format!("{}: {error}", sink.describe()), code: 1 })?;
    say(&format!("{} is up to date", sink.describe()))
}

/// Looks at everything that the configuration points to, beside the problems that it has itself.
pub fn check(config: &Config, Problems(mut problems): Problems) -> Done {
    if let Some(path) = &config.geoip_database {
        problems.extend(Geo::open(path).err().map(|error| error.to_string()));
    }
    if let Some(path) = &config.secrets.jwt_public_key_file {
        problems.extend(AccessTokens::new(&JwtKey::Public(path.clone())).err().map(|error| error.to_string()));
    }
    // One by one, so that the problems of all of them are found.
    for provider in &config.providers {
        problems.extend(IdTokens::open(std::slice::from_ref(provider)).err().map(|error| error.to_string()));
    }
    if let Some(settings) = &config.mail {
        problems.extend(mail::check(settings).err().map(|error| error.to_string()));
    }
    problems.extend(descriptors::divide(config.network.max_connections).err().map(|error| error.to_string()));
    if config.data_dir.exists() && !config.data_dir.is_dir() {
        problems.push(format!("data_dir {} is not a directory", config.data_dir.display()));
    }
    if !problems.is_empty() {
        let list: String = problems.iter().map(|problem| format!("\n  - {problem}")).collect();
        return Err(wrong(format!("the configuration is not usable:{list}")));
    }
    say(&format!(
        "the configuration is usable: listen {}, data_dir {}, analytics {}, main {}",
        config.network.listen,
        config.data_dir.display(),
        config.databases.analytics.describe(),
        config.databases.main.describe()
    ))
}

pub fn token(config: &Config, bio_page_id: &str) -> Done {
    if bio_page_id.len() != 36 || Uuid::parse_str(bio_page_id).is_err() {
        return Err(wrong(format!("{bio_page_id:?} is not a UUID")));
    }
    let secrets = secrets(config)?;
    let tokens = TrackingTokens::new(secrets.tracking_hmac_secret.expose_secret().as_bytes());
    say(&tokens.mint(bio_page_id, Clock::system().now()))
}

pub fn jwt(config: &Config, user_id: &str, seconds: u32) -> Done {
    if !(1..=255).contains(&user_id.chars().count()) {
        return Err(wrong("a user id has 1 to 255 characters".to_owned()));
    }
    let secrets = secrets(config)?;
    let tokens = AccessTokens::new(&secrets.jwt)?;
    say(&tokens.mint(user_id, Clock::system().now(), i64::from(seconds))?)
}

/// The secrets in use; says so when it had to make some.
fn secrets(config: &Config) -> Result<Secrets, Failure> {
    let secrets = config.secrets.resolve(&config.data_dir)?;
    if !secrets.made.is_empty() {
        let kept = config.data_dir.join("secrets.toml");
        eprintln!("weir: made {}, kept in {}", secrets.made.join(", "), kept.display());
    }
    Ok(secrets)
}

pub fn settings_get(config: &Config, key: &str) -> Done {
    let key = settings::key(key).map_err(|error| wrong(error.to_string()))?;
    let rows = stored_settings(config)?;
    say(value_of(&rows, key))
}

pub fn settings_set(config: &Config, key: &str, value: &str) -> Done {
    let key = settings::key(key).map_err(|error| wrong(error.to_string()))?;
    key.check(value).map_err(|error| wrong(error.to_string()))?;
    block_on(async {
        let table = migrated_settings(config).await?;
        Ok(table.set_setting(key.name, value).await?)
    })?;
    say(&format!("{} = {value}", key.name))
}

pub fn settings_list(config: &Config) -> Done {
    let rows = stored_settings(config)?;
    for key in &settings::KEYS {
        say(&format!("{} = {}\n    {} (default {})", key.name, value_of(&rows, key), key.help, key.default))?;
    }
    Ok(())
}

fn stored_settings(config: &Config) -> Result<Vec<(String, String)>, Failure> {
    block_on(async { Ok(migrated_settings(config).await?.settings().await?) })
}

async fn migrated_settings(config: &Config) -> Result<std::sync::Arc<dyn weir::store::SettingsTable>, Failure> {
    let sink = app::open_main(&config.databases.main)?;
    match &sink {
        MainSink::Sqlite(sink) => sink.migrate().await?,
        MainSink::Postgres(sink) => sink.migrate().await?,
    }
    Ok(sink.tables().settings)
}

fn value_of<'a>(rows: &'a [(String, String)], key: &'a settings::Key) -> &'a str {
    rows.iter().find(|(name, _)| name == key.name).map_or(key.default, |(_, value)| value)
}

/// One journal for `journal status`.
#[derive(Serialize)]
struct StatusLine {
    journal: &'static str,
    id: String,
    durable_position: u64,
    applied_position: Option<u64>,
    lag_records: u64,
    segments: usize,
    disk_bytes: u64,
    max_bytes: u64,
    dead_letters: usize,
}

pub fn journal_status(config: &Config, json: bool) -> Done {
    for name in ["analytics", "main"] {
        let directory = app::journal_directory(config, name);
        let inspection = match journal::inspect(&directory) {
            Ok(inspection) => inspection,
            Err(error @ (OpenError::Io { .. } | OpenError::NoIdentity { .. })) if !directory.exists() => {
                return Err(Failure { message: format!("there is no journal yet ({error})"), code: 1 });
            }
            Err(error) => return Err(error.into()),
        };
        let applied = block_on(applied_position(config, name, inspection.id));
        let status = inspection.status(applied.as_ref().ok().copied().flatten(), config.journal.max_bytes);
        let line = StatusLine {
            journal: name,
            id: status.id.to_string(),
            durable_position: status.durable.0,
            applied_position: status.applied.map(|position| position.0),
            lag_records: status.lag_records,
            segments: status.segments,
            disk_bytes: status.disk_bytes,
            max_bytes: status.max_bytes,
            dead_letters: journal::DeadLetters::of(&directory).list()?.len(),
        };
        if json {
            say(&serde_json::to_string(&line)?)?;
            continue;
        }
        say(&format!("{name} (journal {})", line.id))?;
        say(&format!("  durable position  {}", line.durable_position))?;
        match (&applied, line.applied_position) {
            (_, Some(position)) => say(&format!("  applied position  {position}"))?,
            (Ok(_), None) => say("  applied position  none: the database does not know this journal yet")?,
            (Err(failure), None) => say(&format!("  applied position  unknown: {}", failure.message))?,
        }
        say(&format!("  lag               {} records", line.lag_records))?;
        say(&format!(
            "  disk              {} of {} bytes in {} segments",
            line.disk_bytes, line.max_bytes, line.segments
        ))?;
        say(&format!("  dead letters      {}", line.dead_letters))?;
    }
    Ok(())
}

async fn applied_position(config: &Config, name: &str, id: JournalId) -> Result<Option<Position>, Failure> {
    let url = if name == "main" { &config.databases.main } else { &config.databases.analytics };
    // To look is not to make.
    if let DatabaseUrl::Sqlite(url) = url
        && let Some(file) = url.trim_start_matches("sqlite://").split('?').next()
        && !Path::new(file).exists()
    {
        return Ok(None);
    }
    let found = if name == "main" {
        match app::open_main(&config.databases.main)? {
            MainSink::Sqlite(sink) => sink.positions().position(id).await,
            MainSink::Postgres(sink) => sink.positions().position(id).await,
        }
    } else {
        match app::open_analytics(&config.databases.analytics)? {
            AnalyticsSink::Sqlite(sink) => sink.positions().position(id).await,
            AnalyticsSink::Postgres(sink) => sink.positions().position(id).await,
        }
    };
    Ok(found?.map(|(position, _)| position))
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    actix_web::rt::System::new().block_on(work)
}

/// Writes a line. A reader that has gone away (`weir settings list | head -1`) is no failure.
fn say(line: &str) -> Done {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn announce(config: &Config, started: &Started) {
    const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let url = format!("http://{}", started.address);
    let mut lines = vec![
        format!("weir {} takes requests at {url}", env!("CARGO_PKG_VERSION")),
        format!("  data       {}", config.data_dir.display()),
        format!("  analytics  {}", config.databases.analytics.describe()),
        format!("  main       {}", config.databases.main.describe()),
    ];
    if let Some(address) = started.metrics_address {
        lines.push(format!("  metrics    http://{address}/metrics"));
    }
    let sign_in = match (&config.secrets.jwt_public_key_file, &config.mail) {
        (Some(_), _) => "by another service: only its public key is configured, so the /auth routes are not here",
        (None, Some(_)) => "codes go by mail",
        (None, None) => "codes go into this log, which is for development only: set smtp_url",
    };
    lines.push(format!("  sign-in    {sign_in}"));
    if !started.secrets.made.is_empty() {
        let kept = config.data_dir.join("secrets.toml");
        lines.push(format!("  secrets    made {}, kept in {}", started.secrets.made.join(", "), kept.display()));
    }
    lines.push("Try it from another shell:".to_owned());
    lines.push(format!(
        "  curl -A '{BROWSER}' -H 'Content-Type: application/json' -d '{{\"visitorId\":\"visitor-1\",\"landingPage\":\"https://example.org/\",\"consentAnalytics\":\"granted\"}}' {url}/api/v1/analytics/session"
    ));
    lines.push(format!(
        "  curl -A '{BROWSER}' -H 'Content-Type: application/json' -d '{{\"analytics\":true,\"marketing\":false,\"functional\":true}}' {url}/api/v1/consent/cookies"
    ));
    for line in lines {
        // Nobody may be reading; the server runs all the same.
        let _ = say(&line);
    }
}
