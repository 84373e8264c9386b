//! Settings that operators change while Weir runs: rows of the main database's `settings` table.
//!
//! Invariants: only known keys with checked values are written or believed; a running server sees a change within
//! [`MAX_AGE`]; while the database is away the last known values stay, also across a restart.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};
use arc_swap::ArcSwap;

use crate::actor::RestartBudget;
use weir_store::{SettingsTable, within};

/// At most this long until a running server sees a change.
pub const MAX_AGE: Duration = Duration::from_secs(5);
/// The file in `data_dir` that keeps them; see [`write_durably`].
const FILE: &str = "settings.json";
const REFRESH_EVERY: Duration = Duration::from_secs(2);
/// How long the database may take for its answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A setting that exists.
#[derive(Debug)]
pub struct Setting {
    pub name: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    check: fn(&str) -> Result<(), &'static str>,
}

/// Every setting.
pub const KEYS: [Setting; 3] = [
    Setting {
        name: "legal.privacy_version",
        default: "1.0",
        help: "the version of the privacy policy that a saved consent agrees to",
        check: |value| {
            let fits = !value.trim().is_empty() && value.chars().count() <= 64 && !value.contains('\0');
            if fits { Ok(()) } else { Err("must have 1 to 64 characters") }
        },
    },
    Setting {
        name: "analytics.tracking_enabled",
        default: "true",
        help: "whether funnel events are stored",
        check: |value| if ["true", "false"].contains(&value) { Ok(()) } else { Err("must be true or false") },
    },
    Setting {
        name: "analytics.max_event_data_bytes",
        default: "10000",
        help: "the most bytes that the properties of a funnel event may have",
        check: |value| match value.parse::<u32>() {
            Ok(1..=65_536) => Ok(()),
            _ => Err("must be a number from 1 to 65536"),
        },
    },
];

/// Why a setting is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("there is no setting {0:?}; see `weir settings list`")]
    Unknown(String),
    #[error("{key} {rule}")]
    Value { key: &'static str, rule: &'static str },
}

/// The setting of this name.
///
/// # Errors
/// When there is none.
pub fn key(name: &str) -> Result<&'static Setting, SettingError> {
    KEYS.iter().find(|key| key.name == name).ok_or_else(|| SettingError::Unknown(name.to_owned()))
}

impl Setting {
    /// Whether the value is one that this setting may have.
    ///
    /// # Errors
    /// With the rule that it breaks.
    pub fn check(&self, value: &str) -> Result<(), SettingError> {
        (self.check)(value).map_err(|rule| SettingError::Value { key: self.name, rule })
    }
}

/// The settings in use. Clones share them.
#[derive(Clone)]
pub struct Settings {
    values: Arc<ArcSwap<[String; KEYS.len()]>>,
    /// Where the last values that were read are kept: a start during an outage must not fall back to defaults, or a
    /// consent is saved under the wrong version for good.
    data_dir: PathBuf,
}

impl Settings {
    /// The settings as an earlier run last saw them, the defaults for the rest.
    #[must_use]
    pub fn open(data_dir: &Path) -> Self {
        let kept = fs::read(data_dir.join(FILE)).ok();
        let known: BTreeMap<String, String> =
            kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let values = chosen(|name| known.get(name));
        Self { values: Arc::new(ArcSwap::from_pointee(values)), data_dir: data_dir.to_owned() }
    }

    /// `legal.privacy_version`
    #[must_use]
    pub fn privacy_version(&self) -> String {
        self.values.load()[0].clone()
    }

    /// `analytics.tracking_enabled`
    #[must_use]
    pub fn tracking_enabled(&self) -> bool {
        self.values.load()[1] == "true"
    }

    /// `analytics.max_event_data_bytes`
    #[must_use]
    pub fn max_event_data_bytes(&self) -> usize {
        self.values.load()[2].parse().unwrap_or(0)
    }

    /// Reads the table.
    ///
    /// # Errors
    /// When the database cannot be read; the values in use stay.
    pub async fn refresh(&self, table: &dyn SettingsTable) -> Result<(), weir_store::StoreError> {
        let rows = within(ANSWER, table.settings()).await?;
        let current = self.values.load_full();
        let fresh = chosen(|name| rows.iter().find(|(key, _)| key == name).map(|(_, value)| value));
        for ((key, old), new) in KEYS.iter().zip(current.iter()).zip(&fresh) {
            if old != new {
                tracing::info!(key = key.name, old, new, "setting changed");
            }
        }
        if *current != fresh {
            let fresh = Arc::new(fresh);
            self.values.store(Arc::clone(&fresh));
            self.keep(&fresh).await;
        }
        Ok(())
    }

    /// Writes the values down, off this thread: a disk may take its time.
    async fn keep(&self, values: &[String; KEYS.len()]) {
        let named: BTreeMap<&str, &str> =
            KEYS.iter().map(|key| key.name).zip(values.iter().map(String::as_str)).collect();
        let kept = match serde_json::to_vec(&named) {
            Ok(json) => {
                let data_dir = self.data_dir.clone();
                let written = tokio::task::spawn_blocking(move || write_durably(&data_dir, &json)).await;
                written.map_err(io::Error::other).flatten()
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "settings could not be kept for a start without the database");
        }
    }
}

/// Writes the file. It is there as a whole, the old one or the new one, and durable when this returns.
fn write_durably(data_dir: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = data_dir.join(format!("{FILE}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, data_dir.join(FILE))?;
    File::open(data_dir)?.sync_all()
}

/// Each key's value where it has a good one, else its default.
fn chosen<'a>(value_of: impl Fn(&str) -> Option<&'a String>) -> [String; KEYS.len()] {
    KEYS.map(|key| {
        let value = value_of(key.name).filter(|value| key.check(value).is_ok());
        value.cloned().unwrap_or_else(|| key.default.to_owned())
    })
}

/// The supervised actor that keeps [`Settings`] fresh.
pub struct SettingsRefresher {
    pub settings: Settings,
    pub table: Arc<dyn SettingsTable>,
    pub restart_budget: RestartBudget,
}

impl Actor for SettingsRefresher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let (settings, table, restart_budget) =
            (self.settings.clone(), Arc::clone(&self.table), self.restart_budget.clone());
        let run = async move {
            while let Some(refreshed) = restart_budget.guard_async(settings.refresh(table.as_ref())).await {
                // The writer tells when the database is away; here it only means that nothing changes.
                if let Err(error) = refreshed {
                    tracing::debug!(%error, "settings could not be read, the last known ones stay");
                }
                tokio::time::sleep(REFRESH_EVERY).await;
            }
        };
        context.spawn(run.into_actor(self).map(|(), _, context| context.stop()));
    }
}

impl Supervised for SettingsRefresher {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_of_every_setting_passes_its_check() {
        for key in &KEYS {
            assert_eq!(key.check(key.default), Ok(()), "{}", key.name);
        }
    }

    #[test]
    fn unknown_names_and_bad_values_are_refused() {
        assert!(key("legal.privacy").is_err());
        for (name, value) in [
            ("analytics.tracking_enabled", "yes"),
            ("analytics.max_event_data_bytes", "0"),
            ("analytics.max_event_data_bytes", "1e3"),
            ("legal.privacy_version", " "),
        ] {
            assert!(key(name).unwrap().check(value).is_err(), "{name} = {value:?}");
        }
    }

    fn values(privacy_version: &str) -> [String; KEYS.len()] {
        [privacy_version, "false", "5"].map(str::to_owned)
    }

    #[tokio::test]
    async fn kept_settings_are_those_of_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        // What a process leaves that was killed in the middle.
        fs::write(directory.path().join("settings.json.new"), "{\"legal.pri").unwrap();
        let settings = Settings::open(directory.path());
        assert_eq!(settings.privacy_version(), "1.0");
        for version in ["2", "2.1 with a longer name", "3"] {
            settings.keep(&values(version)).await;
            let next = Settings::open(directory.path());
            assert_eq!(next.privacy_version(), version);
            assert_eq!((next.tracking_enabled(), next.max_event_data_bytes()), (false, 5));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing but the file stays");
    }

    #[tokio::test]
    async fn settings_that_cannot_be_kept_leave_the_file_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::open(directory.path());
        settings.keep(&values("2")).await;
        // Nothing can be written there.
        fs::create_dir(directory.path().join("settings.json.new")).unwrap();
        settings.keep(&values("3")).await;
        assert_eq!(Settings::open(directory.path()).privacy_version(), "2");
    }

    // A sync itself cannot be seen; that the directory is opened once the file is in its place can.
    #[cfg(target_os = "linux")]
    #[test]
    fn kept_settings_are_renamed_into_place_before_the_directory_is_synced() {
        use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

        let directory = tempfile::tempdir().unwrap();
        let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
        let watched = WatchFlags::MODIFY | WatchFlags::MOVED_TO | WatchFlags::OPEN;
        inotify::add_watch(&watch, directory.path(), watched).unwrap();
        write_durably(directory.path(), b"{}").unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        let mut seen = Vec::new();
        while let Ok(event) = events.next() {
            seen.push((event.events(), event.file_name().map(|name| name.to_str().unwrap().to_owned())));
        }
        let [new, kept] = ["settings.json.new", FILE].map(|name| Some(name.to_owned()));
        let expected = [
            (ReadFlags::OPEN, new.clone()),
            (ReadFlags::MODIFY, new),
            (ReadFlags::MOVED_TO, kept),
            (ReadFlags::OPEN | ReadFlags::ISDIR, None),
        ];
        assert_eq!(seen, expected);
    }
}
