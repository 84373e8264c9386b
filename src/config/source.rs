//! Where values come from, and how they are taken one by one so that every problem is found.
//!
//! Invariant: what nobody took is an unknown key, and an unknown key is a problem: a misspelt bound is no bound.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use config::{Environment, File, FileFormat};
use secrecy::SecretString;

use super::keys::nearest;

const DEFAULT_FILE: &str = "weir.toml";

/// Everything that is wrong with a configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(formatter, "  - {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// All values that were given, by dotted name, until somebody takes them.
#[derive(Default)]
pub struct Values {
    given: BTreeMap<String, String>,
    problems: Problems,
    /// Every name that was asked for, given or not.
    #[cfg(test)]
    asked: std::collections::BTreeSet<String>,
}

impl Values {
    /// Reads the file and the environment.
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML: then nothing else can be said.
    pub fn read(file: Option<&Path>) -> Result<Self, Problems> {
        let name = file.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(name) {
            Ok(text) => text,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Problems(vec![format!("{}: {error}", name.display())])),
        };
        Self::from_layers(&text, environment(variables()?))
            .map_err(|error| Problems(vec![format!("{}: {}", name.display(), without_the_line(&error.to_string()))]))
    }

    fn from_layers(text: &str, environment: Environment) -> Result<Self, config::ConfigError> {
        let layers = config::Config::builder()
            .add_source(File::from_str(text, FileFormat::Toml))
            .add_source(environment)
            .build()?;
        let tree: serde_json::Value = layers.try_deserialize()?;
        let mut values = Self::default();
        values.flatten(String::new(), tree);
        Ok(values)
    }

    fn flatten(&mut self, name: String, value: serde_json::Value) {
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match value {
            serde_json::Value::Object(table) => {
                for (key, value) in table {
                    let name = if name.is_empty() { key } else { format!("{name}.{key}") };
                    self.flatten(name, value);
                }
            }
            serde_json::Value::Array(items) => {
                let items: Vec<String> = items.iter().map(text).collect();
                self.given.insert(name, items.join(","));
            }
            value => {
                self.given.insert(name, text(&value));
            }
        }
    }

    /// Takes a value as it was given.
    pub fn take(&mut self, name: &str) -> Option<String> {
        #[cfg(test)]
        self.asked.insert(name.to_owned());
        self.given.remove(name)
    }

    /// The names of the tables within a section, in order: `a` and `b` for `section.a.key` and `section.b.key`.
    #[must_use]
    pub fn names_under(&self, section: &str) -> Vec<String> {
        let inner = |name: &str| {
            let (table, _) = name.strip_prefix(section)?.strip_prefix('.')?.split_once('.')?;
            Some(table.to_owned())
        };
        let mut names: Vec<String> = self.given.keys().filter_map(|name| inner(name)).collect();
        names.dedup();
        names
    }

    /// Takes and parses a value; `expected` says what it should have been.
    pub fn parse<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let text = self.take(name)?;
        let parsed = text.trim().parse().ok();
        if parsed.is_none() {
            self.problem(format!("{name} = {text:?} is not {expected}"));
        }
        parsed
    }

    /// Takes a whole number within bounds.
    pub fn number(&mut self, name: &str, default: u32, bounds: std::ops::RangeInclusive<u32>) -> u32 {
        let expected = format!("a number from {} to {}", bounds.start(), bounds.end());
        let value = self.parse(name, &expected).unwrap_or(default);
        if !bounds.contains(&value) {
            self.problem(format!("{name} = {value} is not {expected}"));
        }
        value
    }

    /// Takes one of a few words.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.take(name)?;
        let chosen = choices.iter().find(|(word, _)| *word == text.trim()).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.problem(format!("{name} = {text:?} is not one of {}", words.join(", ")));
        }
        chosen
    }

    /// Takes a list: an array in the file, separated by commas in the environment.
    pub fn list<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<Vec<T>> {
        let text = self.take(name)?;
        let mut items = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item.parse() {
                Ok(item) => items.push(item),
                Err(_) => self.problem(format!("{name}: {item:?} is not {expected}")),
            }
        }
        Some(items)
    }

    /// Takes a secret, from `name` or from the file that `name_file` points to. Problems never quote it.
    pub fn secret(&mut self, name: &str) -> Option<SecretString> {
        let file_name = format!("{name}_file");
        let (given, file) = (self.take(name), self.take(&file_name));
        match (given, file) {
            (Some(_), Some(_)) => {
                self.problem(format!("{name} and {file_name} are both set"));
                None
            }
            (Some(secret), None) => Some(secret.into()),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(secret) => Some(secret.trim_end_matches(['\r', '\n']).to_owned().into()),
                Err(error) => {
                    // Without the path: now and then it is the secret itself.
                    self.problem(format!("{file_name} cannot be read: {error}"));
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// Notes a problem.
    pub fn problem(&mut self, problem: String) {
        self.problems.0.push(problem);
    }

    /// Notes what nobody took.
    ///
    /// # Errors
    /// When there was any problem.
    pub fn finish(mut self) -> Result<(), Problems> {
        for name in self.given.keys() {
            let variable = name.to_uppercase().replace('.', "__");
            let meant = nearest(name).map_or(String::new(), |nearest| format!("; did you mean {nearest}?"));
            self.problems.0.push(format!("unknown key {name} (in the environment: WEIR_{variable}){meant}"));
        }
        if self.problems.0.is_empty() { Ok(()) } else { Err(self.problems) }
    }
}

/// What a TOML error says first (where) and last (why). Between them it shows the line, which may hold a secret.
fn without_the_line(error: &str) -> String {
    let mut lines = error.lines().map(str::trim).filter(|line| !line.is_empty());
    let place = lines.next().unwrap_or_default();
    match lines.next_back() {
        Some(reason) => format!("{place}: {reason}"),
        None => place.to_owned(),
    }
}

/// The `WEIR_*` variables, without those that container platforms make for a service called `weir`.
fn variables() -> Result<config::Map<String, String>, Problems> {
    let mut variables = config::Map::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("WEIR_") && !is_service_link(name)) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => variables.insert(name.to_owned(), value),
            // The value is not quoted: it may be a secret.
            Err(_) => return Err(Problems(vec![format!("{name} is not valid UTF-8")])),
        };
    }
    Ok(variables)
}

/// `WEIR_SERVICE_HOST`, `WEIR_SERVICE_PORT…`, `WEIR_PORT`, `WEIR_PORT_8080_TCP…`: Kubernetes and Docker links.
fn is_service_link(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("WEIR_") else { return false };
    let numbered_port =
        rest.strip_prefix("PORT_").is_some_and(|port| port.starts_with(|first: char| first.is_ascii_digit()));
    rest == "PORT" || rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT") || numbered_port
}

fn environment(variables: config::Map<String, String>) -> Environment {
    Environment::with_prefix("WEIR").prefix_separator("_").separator("__").source(Some(variables))
}

#[cfg(test)]
impl Values {
    pub(super) fn from_toml(text: &str) -> Self {
        Self::from_layers(text, environment(config::Map::new())).unwrap()
    }

    pub(super) fn asked(&self) -> &std::collections::BTreeSet<String> {
        &self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn problems(text: &str) -> Vec<String> {
        let mut values = Values::from_toml(text);
        let _ = Config::take(&mut values);
        values.finish().err().unwrap_or_default().0
    }

    #[test]
    fn configuration_empty_is_valid() {
        assert_eq!(problems(""), Vec::<String>::new());
    }

    #[test]
    fn configuration_problems_are_all_listed_at_once() {
        let found = problems(
            "listen = \"nowhere\"\nlisten_adress = \"x\"\nlog = \"loud\"\nlog_format = \"xml\"\ntrusted_proxies = [\"10.0.0.0/8\", \"home\"]\n\
             [journal]\nmax_bytes = \"lots\"\nmax_byte = 3\n[throttle]\nsession = \"ten\"\nsesion = \"1/1s\"\n",
        );
        for part in [
            "listen = \"nowhere\"",
            "unknown key listen_adress (in the environment: WEIR_LISTEN_ADRESS)",
            "log = \"loud\"",
            "log_format = \"xml\"",
            "\"home\"",
            "journal.max_bytes = \"lots\"",
            "unknown key journal.max_byte (in the environment: WEIR_JOURNAL__MAX_BYTE); did you mean journal.max_bytes?",
            "throttle.session = \"ten\"",
            "unknown key throttle.sesion (in the environment: WEIR_THROTTLE__SESION); did you mean throttle.session?",
        ] {
            assert!(found.iter().any(|problem| problem.contains(part)), "{part} is not in {found:#?}");
        }
        assert_eq!(found.len(), 9, "{found:#?}");
    }

    #[test]
    fn environment_variables_override_file_and_nest_by_double_underscore() {
        let variables: config::Map<String, String> = [
            ("WEIR_LISTEN", "127.0.0.1:9"),
            ("WEIR_JOURNAL__MAX_BYTES", "64 MiB"),
            ("WEIR_TRUSTED_PROXIES", "192.0.2.1, 2001:db8::/32"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut values =
            Values::from_layers("listen = \"127.0.0.1:8\"\n[journal]\nsegment_bytes = 1048576", environment(variables))
                .unwrap();
        let config = Config::take(&mut values);
        values.finish().unwrap();
        assert_eq!(config.network.listen.port(), 9);
        assert_eq!((config.journal.max_bytes, config.journal.segment_bytes), (64 << 20, 1 << 20));
        assert!(config.network.proxies.trusts("192.0.2.1".parse().unwrap()));
        assert!(!config.network.proxies.trusts("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn environment_variables_configure_providers() {
        let variables: config::Map<String, String> = [
            ("WEIR_PROVIDERS__MY_IDP__ISSUERS", "https://idp.example"),
            ("WEIR_PROVIDERS__MY_IDP__AUDIENCES", "weir"),
            ("WEIR_PROVIDERS__MY_IDP__JWKS_FILE", "/etc/idp.json"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut values = Values::from_layers("[providers.my_idp]\naudiences = \"x\"", environment(variables)).unwrap();
        let config = Config::take(&mut values);
        values.finish().unwrap();
        let [provider] = &config.providers[..] else { panic!("{:#?}", config.providers) };
        assert_eq!((provider.name.as_str(), &provider.audiences), ("my_idp", &vec!["weir".to_owned()]));
    }

    #[test]
    fn service_link_variables_are_not_configuration() {
        for name in
            ["WEIR_SERVICE_HOST", "WEIR_SERVICE_PORT", "WEIR_SERVICE_PORT_HTTP", "WEIR_PORT", "WEIR_PORT_8080_TCP_ADDR"]
        {
            assert!(is_service_link(name), "{name}");
        }
        for name in ["WEIR_LISTEN", "WEIR_PORTS", "WEIR_PORT_X", "WEIR_SERVICE", "PORT"] {
            assert!(!is_service_link(name), "{name}");
        }
    }

    #[test]
    fn toml_error_says_where_and_why_without_quoting_the_line() {
        for (text, place, reason) in [
            ("jwt_secret = s3cret", "line 1, column 14", "quote"),
            ("listen = \"a\"\njwt_secret = \"s3cret", "line 2, column", "string"),
            ("jwt_secret = \"\\s3cret\"", "line 1, column 16", "escape"),
            ("jwt_secret \"s3cret\"", "line 1, column 12", "="),
            ("[journal\njwt_secret = \"s3cret\"", "line 1, column 9", "table"),
            ("jwt_secret = { s3cret", "line 1, column 22", "inline table"),
            ("jwt_secret = 1s3cret", "line 1, column", ""),
        ] {
            let error = Values::from_layers(text, environment(config::Map::new())).err().unwrap().to_string();
            let said = without_the_line(&error);
            assert!(said.contains(place) && said.contains(reason) && !said.contains("s3cret"), "{text}: {said}");
        }
    }

    #[test]
    fn configuration_problems_never_quote_secrets() {
        let found = problems(
            "jwt_secret = \"s3cret\"\njwt_secret_file = \"/nowhere\"\nmain_database_url = \"mysql://u:s3cret@h/d\"\nsmtp_url = \"mail://u:s3cret@h\"\nmail_from = \"weir@example.org\"",
        );
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(!found.concat().contains("s3cret"), "{found:#?}");
    }
}
