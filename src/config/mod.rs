//! Configuration: one file, overridden by the environment, every problem listed at once.
//!
//! `weir.toml` (or `--config FILE`), then `WEIR_*` variables (`__` for nesting). One module a concern: `database`,
//! `journal`, `mail`, `network`, `providers`, `secrets`, `throttle`; `keys` describes all of them. Invariant: an unknown key, a bad value or an
//! unsafe combination refuses to start; nothing is guessed, and no secret has a constant default.

mod bots;
mod database;
mod document;
mod journal;
mod keys;
mod mail;
mod network;
mod providers;
mod secrets;
mod source;
mod throttle;

use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;

pub use database::{DatabaseUrl, Databases};
pub use document::document;
pub use mail::MailSettings;
pub use network::{Network, Origins, Proxies, XForwardedFor};
pub use providers::Provider;
pub use secrets::{JwtKey, SecretSettings, Secrets, SecretsError};
pub use source::{Problems, Values};
pub use throttle::throttled;

use crate::limit::Limit;
use weir_domain::{BotFilter, Route};
use weir_journal::JournalOptions;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub network: Network,
    /// Where everything that Weir keeps lies.
    pub data_dir: PathBuf,
    pub databases: Databases,
    pub journal: JournalOptions,
    pub throttle: Vec<(Route, Limit)>,
    pub secrets: SecretSettings,
    /// Services whose id tokens are taken.
    pub providers: Vec<Provider>,
    /// Without it sign-in codes are written to the log.
    pub mail: Option<MailSettings>,
    /// What tells bots from people.
    pub bots: BotFilter,
    /// A MaxMind-format database with cities or countries.
    pub geoip_database: Option<PathBuf>,
    /// Whether a city keeps the district that DB-IP adds to its name.
    pub geoip_city_districts: bool,
    /// How long an access token of a sign-in is valid.
    pub access_token_seconds: u32,
    /// How many days analytics rows are kept; 0 keeps them.
    pub retention_days: u32,
    /// How long a stop may take before what is left is left to the next start.
    pub shutdown_timeout_seconds: u32,
    pub log: LevelFilter,
    pub log_format: LogFormat,
}

impl Config {
    /// Reads the configuration, with every problem that was found: with one it is not to be used, only to be looked at
    /// for more. `file` must exist; without one, `weir.toml` is read where it exists.
    ///
    /// # Errors
    /// When nothing can be read at all.
    pub fn read(file: Option<&Path>) -> Result<(Self, Problems), Problems> {
        let mut values = Values::read(file)?;
        let config = Self::take(&mut values);
        Ok((config, values.finish().err().unwrap_or_default()))
    }

    fn take(values: &mut Values) -> Self {
        let data_dir: PathBuf = values.parse("data_dir", "a path").unwrap_or_else(|| PathBuf::from("data"));
        Self {
            network: Network::take(values),
            databases: Databases::take(values, &data_dir),
            journal: journal::take(values),
            throttle: throttle::take(values),
            secrets: SecretSettings::take(values),
            providers: providers::take(values),
            mail: mail::take(values),
            bots: bots::take(values),
            geoip_database: values.parse("geoip_database", "a path"),
            geoip_city_districts: values
                .choice("geoip.city_districts", &[("false", false), ("true", true)])
                .unwrap_or(false),
            access_token_seconds: values.number("access_token_seconds", 3600, 60..=31_536_000),
            retention_days: values.number("retention_days", 0, 0..=36_500),
            shutdown_timeout_seconds: values.number("shutdown_timeout_seconds", 25, 0..=3600),
            log: values.parse("log", "one of off, error, warn, info, debug, trace").unwrap_or(LevelFilter::INFO),
            log_format: values
                .choice("log_format", &[("text", LogFormat::Text), ("json", LogFormat::Json)])
                .unwrap_or(LogFormat::Text),
            data_dir,
        }
    }
}
