//! What each command does.

mod ask;
pub mod dead_letters;
pub mod explain;
mod health;
pub mod journal;
mod outcome;
mod progress;
pub mod retention;
pub mod top;
mod words;

use secrecy::ExposeSecret;
use uuid::Uuid;

use weir::app::{self, AppError, Started, fd_limit};
use weir::auth::{AccessTokens, IdTokens};
use weir::config::{Config, DatabaseUrl, JwtKey, Problems, Secrets};
use weir::enrich::geo;
use weir::enrich::token::TrackingTokens;
use weir::mail;
use weir::settings;
use weir::telemetry::logs;
use weir::telemetry::progress::watched;
use weir_domain::Clock;
use weir_store::{AnalyticsSink, MainSink, MigrationEvent, Sink, StoreError};

use progress::{LINE_EVERY, Waiting};

use outcome::{block_on, say, wrong};

pub use health::{health, health_of};
pub use outcome::{Done, Failure, complain};

/// How long a database may take to say what it lacks.
const ADVICE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

pub fn serve(config: Config) -> Done {
    logs::install(config.log, config.log_format);
    app::serve(config, announce).map_err(|error| match error {
        // Asking for what there cannot be is as wrong as a key that is none.
        AppError::FdLimit(_) => wrong(error.to_string()),
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
    let (database, waiting) = (sink.describe(), Waiting::new());
    waiting.on(&format!("{database}: waiting for the database"));
    let tell = |migrating: MigrationEvent<'_>| {
        let line = match migrating {
            MigrationEvent::WaitsForLock => {
                return waiting.on(&format!("{database}: waiting for another instance that changes the schema"));
            }
            MigrationEvent::LockAcquired => return waiting.on(&format!("{database}: looking at what is there")),
            MigrationEvent::Begins { version, description } => {
                waiting.on(&format!("{database}: version {version}, {description}"));
                format!("{database}: version {version}, {description}: begins")
            }
            MigrationEvent::Done { version, description, took } => {
                let took = words::time(took.as_secs_f64());
                format!("{database}: version {version}, {description}: done in {took}")
            }
        };
        // Nobody may be reading; the schema is changed all the same.
        let _ = waiting.say(&line);
    };
    let migrated = watched(LINE_EVERY, sink.migrate_observed(&tell), |_| waiting.tell()).await;
    migrated.map_err(|error| Failure { message: format!("{database}: {error}"), code: 1 })?;
    waiting.say(&format!("{database} is up to date"))
}

/// Looks at everything that the configuration points to, beside the problems that it has itself.
pub fn check(config: &Config, Problems(mut problems): Problems) -> Done {
    if let Some(path) = &config.geoip_database {
        problems.extend(geo::check(path).err().map(|error| error.to_string()));
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
    problems.extend(fd_limit::divide(config.network.max_connections).err().map(|error| error.to_string()));
    if config.data_dir.exists() && !config.data_dir.is_dir() {
        problems.push(format!("data_dir {} is not a directory", config.data_dir.display()));
    }
    problems.extend(unfit_databases(config));
    if !problems.is_empty() {
        let list: String = problems.iter().map(|problem| format!("\n  - {problem}")).collect();
        return Err(wrong(format!("the configuration is not usable:{list}")));
    }
    advise(config);
    say(&format!(
        "the configuration is usable: listen {}, data_dir {}, analytics {}, main {}",
        config.network.listen,
        config.data_dir.display(),
        config.databases.analytics.describe(),
        config.databases.main.describe()
    ))
}

/// The databases that are there and cannot hold every record.
fn unfit_databases(config: &Config) -> Vec<String> {
    let urls = &config.databases;
    // Weir makes a SQLite file itself; a check makes nothing.
    let is_server = |url: &&DatabaseUrl| matches!(url, DatabaseUrl::Postgres(_));
    let asked = block_on(async {
        let analytics = async {
            let url = Some(&urls.analytics).filter(is_server)?;
            encoding_refusal(url, app::open_analytics(url).ok()?.check_encoding()).await
        };
        let main = async {
            let url = Some(&urls.main).filter(is_server)?;
            encoding_refusal(url, app::open_main(url).ok()?.check_encoding()).await
        };
        Ok(tokio::join!(analytics, main))
    });
    asked.into_iter().flat_map(|(analytics, main)| [analytics, main]).flatten().collect()
}

/// What is to be said of a database that answers in time, where it cannot hold every text.
async fn encoding_refusal(url: &DatabaseUrl, asked: impl Future<Output = Result<(), StoreError>>) -> Option<String> {
    match tokio::time::timeout(ADVICE_TIMEOUT, asked).await {
        Ok(Err(error @ StoreError::Encoding(_))) => Some(format!("{}: {error}", url.describe())),
        _ => None,
    }
}

/// Prints what an operator should set in a database that is there. One that is away has no advice to give.
fn advise(config: &Config) {
    let DatabaseUrl::Postgres(_) = &config.databases.analytics else { return };
    let database = config.databases.analytics.describe();
    let advised = block_on(async {
        let sink = app::open_analytics(&config.databases.analytics)?;
        let advice = async {
            sink.find_server().await?;
            sink.advice().await
        };
        tokio::time::timeout(ADVICE_TIMEOUT, advice)
            .await
            .map_err(|_| Failure { message: "no answer in time".to_owned(), code: 1 })?
            .map_err(Failure::from)
    });
    match advised {
        Ok(statements) => {
            for statement in statements {
                complain(&format!("advice for {database}, see docs/postgresql.md: {statement};"));
            }
        }
        Err(Failure { message, .. }) => {
            complain(&format!("{database} was not looked at for advice: {message}"));
        }
    }
}

pub fn configuration() -> Done {
    say(weir::config::document().trim_end())
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
        complain(&format!("made {}, kept in {}", secrets.made.join(", "), kept.display()));
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

async fn migrated_settings(config: &Config) -> Result<std::sync::Arc<dyn weir_store::SettingsTable>, Failure> {
    let sink = app::open_main(&config.databases.main)?;
    match &sink {
        MainSink::Sqlite(sink) => sink.migrate().await?,
        MainSink::Postgres(sink) => sink.migrate().await?,
    }
    Ok(sink.tables().settings)
}

fn value_of<'a>(rows: &'a [(String, String)], key: &'a settings::Setting) -> &'a str {
    rows.iter().find(|(name, _)| name == key.name).map_or(key.default, |(_, value)| value)
}

fn announce(config: &Config, started: &Started) {
    const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let url = format!("http://{}", started.address);
    let mut lines = vec![
        format!("weir {} serves requests at {url}", env!("CARGO_PKG_VERSION")),
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
