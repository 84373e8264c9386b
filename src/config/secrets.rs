//! Secrets: given, or made at the first start and kept.
//!
//! Invariants: no secret has a constant default; the file that keeps them is readable by its owner only; nothing here can
//! be printed (`SecretString` shows nothing in `Debug`).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use super::Values;

const FILE: &str = "secrets.toml";

/// What the configuration says of secrets.
#[derive(Clone, Debug, Default)]
pub struct SecretSettings {
    pub tracking_hmac_secret: Option<SecretString>,
    pub jwt_secret: Option<SecretString>,
    pub jwt_public_key_file: Option<PathBuf>,
    pub internal_key: Option<SecretString>,
    /// Empty: fingerprints are kept in their plain form.
    pub fingerprint_key: Option<SecretString>,
    pub sign_in_key: Option<SecretString>,
}

/// How access tokens are checked.
#[derive(Clone, Debug)]
pub enum JwtKey {
    /// HS256.
    Shared(SecretString),
    /// RS256, ES256 or EdDSA, by the kind of the keys in this PEM or JWKS file.
    Public(PathBuf),
}

/// The secrets in use.
#[derive(Clone, Debug)]
pub struct Secrets {
    pub tracking_hmac_secret: SecretString,
    pub jwt: JwtKey,
    /// What a trusted service sends as `X-Internal-Key`.
    pub internal_key: SecretString,
    /// Under which fingerprints of visitors are kept.
    pub fingerprint_key: SecretString,
    /// Under which sign-in codes and the addresses that asked for them are kept.
    pub sign_in_key: SecretString,
    /// The names of those that this call made.
    pub made: Vec<&'static str>,
}

/// Why there are no secrets to use.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("{path}: {source}{}", cure(source.kind()))]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a secrets file: {reason}")]
    Unreadable { path: PathBuf, reason: String },
    #[error("the operating system gives no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

fn cure(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => {
            "; this user may not read or write it: change the owner, or set another data_dir"
        }
        ErrorKind::ReadOnlyFilesystem => "; data_dir is on a read-only disk: set another one",
        _ => "",
    }
}

/// The file that keeps what was made.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    tracking_hmac_secret: Option<String>,
    jwt_secret: Option<String>,
    internal_key: Option<String>,
    fingerprint_key: Option<String>,
    sign_in_key: Option<String>,
}

impl SecretSettings {
    pub(super) fn take(values: &mut Values) -> Self {
        let settings = Self {
            tracking_hmac_secret: values.secret("tracking_hmac_secret"),
            jwt_secret: values.secret("jwt_secret"),
            jwt_public_key_file: values.parse("jwt_public_key_file", "a path"),
            internal_key: values.secret("internal_key"),
            fingerprint_key: values.secret("fingerprint_key"),
            sign_in_key: values.secret("sign_in_key"),
        };
        if settings.jwt_secret.is_some() && settings.jwt_public_key_file.is_some() {
            // With both, a token signed with the public key as its HMAC secret might pass.
            values.problem(
                "jwt_secret and jwt_public_key_file are both set; tokens are checked with one of them".to_owned(),
            );
        }
        for (name, secret) in [
            ("tracking_hmac_secret", &settings.tracking_hmac_secret),
            ("jwt_secret", &settings.jwt_secret),
            ("internal_key", &settings.internal_key),
            ("sign_in_key", &settings.sign_in_key),
        ] {
            if secret.as_ref().is_some_and(|secret| secrecy::ExposeSecret::expose_secret(secret).is_empty()) {
                values.problem(format!("{name} is empty"));
            }
        }
        settings
    }

    /// The secrets to use: those given, those kept in `data_dir`, and new ones for the rest. Two processes that begin at
    /// the same instant agree on them: the file is locked while one of them adds what is missing.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn resolve(&self, data_dir: &Path) -> Result<Secrets, SecretsError> {
        let path = data_dir.join(FILE);
        let (secrets, made) = self.choose(read(&path)?)?;
        if made.is_empty() {
            return Ok(secrets);
        }
        let io = |source| SecretsError::Io { path: path.clone(), source };
        let mut file = open(&path).map_err(io)?;
        let (secrets, made) = self.choose(read_locked(&path, &mut file)?)?;
        keep(&mut file, &made).map_err(io)?;
        Ok(Secrets { made: made.into_iter().map(|(name, _)| name).collect(), ..secrets })
    }

    /// Each secret as given, else as kept, else new; the new ones by name.
    fn choose(&self, kept: Kept) -> Result<(Secrets, Vec<Made>), SecretsError> {
        let mut made = Vec::new();
        let mut choose = |name: &'static str, given: &Option<SecretString>, kept: Option<String>| match (given, kept) {
            (Some(given), _) => Ok(given.clone()),
            (None, Some(kept)) => Ok(kept.into()),
            (None, None) => {
                let secret = random_hex()?;
                made.push((name, secret.clone()));
                Ok(secret.into())
            }
        };
        let secrets = Secrets {
            tracking_hmac_secret: choose(
                "tracking_hmac_secret",
                &self.tracking_hmac_secret,
                kept.tracking_hmac_secret,
            )?,
            jwt: match &self.jwt_public_key_file {
                Some(file) => JwtKey::Public(file.clone()),
                None => JwtKey::Shared(choose("jwt_secret", &self.jwt_secret, kept.jwt_secret)?),
            },
            internal_key: choose("internal_key", &self.internal_key, kept.internal_key)?,
            fingerprint_key: choose("fingerprint_key", &self.fingerprint_key, kept.fingerprint_key)?,
            sign_in_key: choose("sign_in_key", &self.sign_in_key, kept.sign_in_key)?,
            made: Vec::new(),
        };
        Ok((secrets, made))
    }
}

/// A new secret and its name.
type Made = (&'static str, String);

/// What the file keeps; waits for a process that is adding to it.
fn read(path: &Path) -> Result<Kept, SecretsError> {
    let io = |source| SecretsError::Io { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(io(error)),
    };
    file.lock_shared().map_err(io)?;
    read_locked(path, &mut file)
}

fn read_locked(path: &Path, file: &mut File) -> Result<Kept, SecretsError> {
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|source| SecretsError::Io { path: path.to_owned(), source })?;
    let unreadable = |error: config::ConfigError| SecretsError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    let file = config::File::from_str(&text, config::FileFormat::Toml);
    config::Config::builder().add_source(file).build().and_then(config::Config::try_deserialize).map_err(unreadable)
}

/// The file, made if it is not there, and locked until it is closed.
fn open(path: &Path) -> std::io::Result<File> {
    if let Some(parent) = path.parent() {
        // For its owner only, as a server makes it: what comes to lie there may hold addresses.
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    file.lock()?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// In one write: nobody finds half a line.
fn keep(file: &mut File, made: &[Made]) -> std::io::Result<()> {
    let lines: Vec<String> = made.iter().map(|(name, secret)| format!("{name} = \"{secret}\"\n")).collect();
    file.write_all(lines.concat().as_bytes())?;
    file.sync_all()
}

fn random_hex() -> Result<String, SecretsError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(SecretsError::NoRandomness)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn secrets_absent_are_generated_once_with_mode_0600() {
        let directory = tempfile::tempdir().unwrap();
        let first = SecretSettings::default().resolve(directory.path()).unwrap();
        let all = ["tracking_hmac_secret", "jwt_secret", "internal_key", "fingerprint_key", "sign_in_key"];
        assert_eq!(first.made, all);
        let again = SecretSettings::default().resolve(directory.path()).unwrap();
        assert!(again.made.is_empty());
        assert_eq!(first.tracking_hmac_secret.expose_secret(), again.tracking_hmac_secret.expose_secret());
        let mode = std::fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn secrets_generated_concurrently_agree() {
        let directory = tempfile::tempdir().unwrap();
        let keys: Vec<String> = std::thread::scope(|scope| {
            let resolve = || SecretSettings::default().resolve(directory.path()).unwrap();
            let all: Vec<_> = (0..8).map(|_| scope.spawn(resolve)).collect();
            all.into_iter().map(|one| one.join().unwrap().internal_key.expose_secret().to_owned()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]), "{} keys", keys.len());
    }

    #[test]
    fn secrets_given_are_not_written_to_file() {
        let directory = tempfile::tempdir().unwrap();
        let given = SecretSettings {
            tracking_hmac_secret: Some("given".to_owned().into()),
            jwt_public_key_file: Some("key.pem".into()),
            internal_key: Some("given".to_owned().into()),
            fingerprint_key: Some(String::new().into()),
            sign_in_key: Some("given".to_owned().into()),
            ..SecretSettings::default()
        };
        let secrets = given.resolve(directory.path()).unwrap();
        assert_eq!(secrets.tracking_hmac_secret.expose_secret(), "given");
        assert!(!directory.path().join(FILE).exists());
        assert!(!format!("{secrets:?}").contains("given"));
    }
}
