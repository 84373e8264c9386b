//! Public keys that check signatures, from one file: a key in PEM form, or a JSON Web Key Set (RFC 7517).
//!
//! Invariants: the algorithm belongs to the key, never to the token; a key that could check nothing is not taken; a
//! file that no longer holds a usable key leaves those in use for [`KEEP`], and then there are none. The kinds of key are the same in both
//! forms: RSA of 2048 to 4096 bits, P-256 and Ed25519.
//! Not a `moka` cache: it has no refresh beside a value that stays (moka-rs/moka#467). Once an entry expired, every request
//! would wait for the one that reads the file (`try_get_with`), and a file without keys would leave none.
//! Cost: an atomic load a token. Once in [`EVERY`], in the task of the one caller whose turn it is, a `stat`, and the
//! reading of a small file when it has changed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Header, Validation};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::file_version::FileVersion;

/// How often the file is looked at, at most.
pub const EVERY: Duration = Duration::from_secs(1);
/// How long keys stay in use when the file is gone or holds none: it may be in the middle of being replaced. Whoever emptied it to
/// have a key refused waits no longer than this.
pub const KEEP: Duration = Duration::from_mins(5);
const LEEWAY_SECONDS: u64 = 30;
/// Shorter ones are not to be used (RFC 7518, 3.3), longer ones the library does not check.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
const RSA_EXPONENTS: std::ops::RangeInclusive<u64> = 3..=(1 << 33) - 1;

/// Why a file gives no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{0} is not one RSA (2048 to 4096 bits), P-256 or Ed25519 public key in PEM form")]
    NotAKey(PathBuf),
    #[error("{0} is not a JSON Web Key Set")]
    NotAKeySet(PathBuf),
    #[error("{0} has no RSA (2048 to 4096 bits), P-256 or Ed25519 key for signatures")]
    NoUsableKey(PathBuf),
}

/// The keys of one file, exchanged when it changes.
pub struct VerificationKeys {
    path: PathBuf,
    keys: ArcSwap<Vec<VerificationKey>>,
    began: Instant,
    /// Milliseconds after `began`.
    next_look: AtomicU64,
    file: Mutex<WatchedFile>,
    keep: Duration,
}

/// What was seen of the file.
struct WatchedFile {
    version: Option<FileVersion>,
    /// Since when it gives no keys.
    unusable_since: Option<Instant>,
}

struct VerificationKey {
    id: Option<String>,
    algorithm: Algorithm,
    public: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl VerificationKeys {
    /// Reads the keys.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key to check a signature with.
    pub fn open(path: &Path) -> Result<Self, KeysError> {
        Self::open_keeping(path, KEEP)
    }

    fn open_keeping(path: &Path, keep: Duration) -> Result<Self, KeysError> {
        // Before the file is read, or an exchange in between is missed.
        let seen = FileVersion::of(path);
        Ok(Self {
            keys: ArcSwap::from_pointee(read(path)?),
            path: path.to_owned(),
            began: Instant::now(),
            next_look: AtomicU64::new(millis(EVERY)),
            file: Mutex::new(WatchedFile { version: seen, unusable_since: None }),
            keep,
        })
    }

    /// What a token claims, when one of the keys signed it and it is valid now: `exp` is required, `nbf` is honoured.
    #[must_use]
    pub fn claims<C: DeserializeOwned>(&self, token: &str) -> Option<C> {
        self.look();
        let header = jsonwebtoken::decode_header(token).ok()?;
        let keys = self.keys.load();
        let candidates: Vec<&VerificationKey> = fitting(&keys, &header).take(MOST_TRIED).collect();
        // A name that two keys have names none of them.
        if header.kid.is_some() && candidates.len() > 1 {
            return None;
        }
        candidates
            .into_iter()
            .find_map(|key| jsonwebtoken::decode(token, &key.public, &key.validation).ok().map(|token| token.claims))
    }

    fn look(&self) {
        let (now, due) = (millis(self.began.elapsed()), self.next_look.load(Ordering::Relaxed));
        let next = now + millis(EVERY);
        let my_turn =
            now >= due && self.next_look.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !my_turn {
            return;
        }
        let version = FileVersion::of(&self.path);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.version != version {
            file.version = version;
            match read(&self.path) {
                Ok(keys) => {
                    tracing::info!(path = %self.path.display(), keys = keys.len(), "public keys reloaded");
                    self.keys.store(keys.into());
                    file.unusable_since = None;
                }
                Err(error) => {
                    file.unusable_since.get_or_insert_with(Instant::now);
                    let for_seconds = self.keep.as_secs();
                    tracing::warn!(%error, for_seconds, "changed public keys refused, those in memory stay in use for a while");
                }
            }
        }
        let is_over = file.unusable_since.is_some_and(|since| since.elapsed() >= self.keep);
        if is_over && !self.keys.load().is_empty() {
            tracing::error!(path = %self.path.display(), "no public keys any more: every token is refused until the file has some");
            self.keys.store(Arc::default());
        }
    }
}

/// How many keys a token that names none is tried against; each costs a signature's check.
const MOST_TRIED: usize = 8;

/// How a token is judged, whoever signed it. Issuer and audience are the caller's to check.
pub(super) fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY_SECONDS;
    validation.validate_nbf = true;
    validation.validate_aud = false;
    validation
}

/// The keys that a token may have been signed with: the one that it names, or all of its algorithm when it names none.
/// Extensions that a token insists on (`crit`) are not understood.
fn fitting<'a>(keys: &'a [VerificationKey], header: &'a Header) -> impl Iterator<Item = &'a VerificationKey> {
    keys.iter().filter(|key| {
        let named = match (&header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            // Without two names to compare there must be nothing to choose between.
            (Some(_), None) => keys.len() == 1,
            (None, _) => true,
        };
        named && key.algorithm == header.alg && header.crit.is_none()
    })
}

fn read(path: &Path) -> Result<Vec<VerificationKey>, KeysError> {
    let bytes = std::fs::read(path).map_err(|source| KeysError::Read { path: path.to_owned(), source })?;
    let bytes = bytes.trim_ascii();
    if !bytes.starts_with(b"{") {
        let key = from_pem(bytes).ok_or_else(|| KeysError::NotAKey(path.to_owned()))?;
        return Ok(vec![key]);
    }
    // What the parser says is not passed on: it may quote a symmetric key.
    let set: KeySet = serde_json::from_slice(bytes).map_err(|_| KeysError::NotAKeySet(path.to_owned()))?;
    let keys: Vec<VerificationKey> = set.keys.into_iter().filter_map(from_jwk).collect();
    if keys.is_empty() {
        return Err(KeysError::NoUsableKey(path.to_owned()));
    }
    Ok(keys)
}

fn from_pem(pem: &[u8]) -> Option<VerificationKey> {
    // The parser takes the first key and passes over others in silence.
    if pem.windows(11).filter(|text| text == b"-----BEGIN ").count() != 1 {
        return None;
    }
    let rsa = DecodingKey::from_rsa_pem(pem).map(|key| (key, Algorithm::RS256));
    let ec = || DecodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256));
    let ed = || DecodingKey::from_ed_pem(pem).map(|key| (key, Algorithm::EdDSA));
    let (key, algorithm) = rsa.or_else(|_| ec()).or_else(|_| ed()).ok()?;
    VerificationKey::new(None, algorithm, key)
}

/// `None` for a key that is malformed, of a kind that is not checked here, or not for signatures: a set may hold such.
fn from_jwk(value: Value) -> Option<VerificationKey> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature))
        && jwk.common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !for_signatures {
        return None;
    }
    let usual = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return None,
    };
    let algorithm = jwk.common.key_algorithm.map_or(Ok(usual), Algorithm::try_from).ok()?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    VerificationKey::new(jwk.common.key_id, algorithm, key)
}

impl VerificationKey {
    fn new(id: Option<String>, algorithm: Algorithm, public: DecodingKey) -> Option<Self> {
        can_check(&public, algorithm).then(|| Self { id, algorithm, public, validation: validation(algorithm) })
    }
}

/// Whether a signature could pass at all. The library finds out at the first token, and panics at a short Ed25519 key.
fn can_check(key: &DecodingKey, algorithm: Algorithm) -> bool {
    // The signature is wrong, but to say so the library has to make a verifier of the key.
    let is_point = || jsonwebtoken::crypto::verify("", b"", key, algorithm).is_ok();
    match (key.family(), algorithm.family()) {
        (AlgorithmFamily::Rsa, AlgorithmFamily::Rsa) => is_sound_rsa(key),
        (AlgorithmFamily::Ec, AlgorithmFamily::Ec) => algorithm == Algorithm::ES256 && is_point(),
        (AlgorithmFamily::Ed, AlgorithmFamily::Ed) => {
            key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == 32) && is_point()
        }
        _ => false,
    }
}

fn is_sound_rsa(key: &DecodingKey) -> bool {
    let parts = match key.kind() {
        DecodingKeyKind::SecretOrDer(der) => (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der).ok(),
        DecodingKeyKind::RsaModulusExponent { n, e } => Some((n.clone(), e.clone())),
    };
    let Some((modulus, exponent)) = parts else { return false };
    let (modulus, exponent) = (significant(&modulus), significant(&exponent));
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    let value = exponent.iter().take(9).fold(0_u64, |value, byte| value.wrapping_shl(8) | u64::from(*byte));
    RSA_BITS.contains(&bits) && exponent.len() <= 8 && RSA_EXPONENTS.contains(&value) && value % 2 == 1
}

fn significant(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;
    use serde_json::json;
    use weir_testkit::keys::{self as testing, SIGNERS, Signer, claims, write_set};

    use super::*;

    fn keys_of(content: &[u8]) -> Result<Vec<(Option<String>, Algorithm)>, KeysError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        Ok(read(file.path())?.into_iter().map(|key| (key.id, key.algorithm)).collect())
    }

    #[test]
    fn pem_key_decides_the_algorithm() {
        for signer in SIGNERS {
            let found = keys_of(signer.public.as_bytes()).unwrap();
            assert_eq!(found, [(None, signer.algorithm)]);
        }
    }

    #[test]
    fn file_without_a_usable_key_is_refused() {
        let two = format!("{}{}", testing::RSA.public, testing::ED25519.public);
        for (why, content) in [
            ("nothing", ""),
            ("no key", "key"),
            ("P-384", testing::P384_PUBLIC),
            ("secp256k1", testing::K256_PUBLIC),
            ("a short RSA key", testing::RSA_1024_PUBLIC),
            ("a private RSA key", testing::RSA.private),
            ("a private P-256 key", testing::P256_1.private),
            ("a private Ed25519 key", testing::ED25519.private),
            ("two keys", &two),
        ] {
            assert!(matches!(keys_of(content.as_bytes()), Err(KeysError::NotAKey(_))), "{why}");
        }
        assert!(matches!(keys_of(b"{\"kty\":\"RSA\"}"), Err(KeysError::NotAKeySet(_))));
        assert!(matches!(keys_of(b"{\"keys\":[]}"), Err(KeysError::NoUsableKey(_))));
        assert!(matches!(VerificationKeys::open(Path::new("/nowhere/keys")), Err(KeysError::Read { .. })));
    }

    #[test]
    fn key_set_gives_its_usable_keys_and_each_pins_its_algorithm() {
        let with = |signer: Signer, id: &str, field: &str, value: Value| {
            let mut jwk = signer.jwk(Some(id));
            jwk[field] = value;
            jwk
        };
        let mut plain = testing::RSA.jwk(Some("plain"));
        plain.as_object_mut().unwrap().remove("alg");
        let set = json!({"keys": [
            plain,
            with(testing::RSA, "pss", "alg", "PS256".into()),
            with(testing::P256_1, "ops", "key_ops", json!(["verify"])),
            with(testing::ED25519, "sig", "use", "sig".into()),
            // What follows is passed over.
            with(testing::RSA, "enc", "use", "enc".into()),
            with(testing::RSA, "other family", "alg", "ES256".into()),
            with(testing::RSA, "public key as a secret", "alg", "HS256".into()),
            with(testing::RSA, "encryption", "alg", "RSA-OAEP".into()),
            with(testing::RSA, "even exponent", "e", "AQAA".into()),
            with(testing::RSA, "short", "n", "AQAB".into()),
            with(testing::P256_1, "signs", "key_ops", json!(["sign"])),
            with(testing::P256_1, "wrong algorithm", "alg", "ES384".into()),
            with(testing::P256_1, "no point", "y", testing::P256_2.jwk(None)["y"].clone()),
            with(testing::P256_1, "another curve", "crv", "secp256k1".into()),
            with(testing::ED25519, "short", "x", "AAAA".into()),
            with(testing::ED25519, "a number", "alg", 7.into()),
            {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"},
            {"kty": "new", "kid": "unknown"},
            "not even a key",
        ]});
        let found = keys_of(format!(" \n{set}").as_bytes()).unwrap();
        let expected = [("plain", "RS256"), ("pss", "PS256"), ("ops", "ES256"), ("sig", "EdDSA")];
        assert_eq!(found, expected.map(|(id, algorithm)| (Some(id.to_owned()), algorithm.parse().unwrap())));
    }

    #[test]
    fn token_whose_key_id_or_algorithm_differs_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let passes = |keys: &VerificationKeys, signer: Signer, kid: Option<&str>| {
            keys.claims::<Value>(&signer.sign(kid, &claims())).is_some()
        };
        write_set(file.path(), &[(testing::P256_1, Some("1")), (testing::P256_2, Some("2")), (testing::RSA, None)]);
        let several = VerificationKeys::open(file.path()).unwrap();
        assert!(passes(&several, testing::P256_1, Some("1")));
        assert!(passes(&several, testing::P256_2, Some("2")));
        assert!(!passes(&several, testing::P256_2, Some("1")), "another key's name");
        assert!(!passes(&several, testing::P256_1, Some("3")), "an unknown name");
        for signer in [testing::P256_1, testing::P256_2, testing::RSA] {
            assert!(passes(&several, signer, None), "no name: every key of its algorithm is tried");
        }
        assert!(!passes(&several, testing::ED25519, None), "no name, and no key of its algorithm");
        assert!(!passes(&several, testing::RSA, Some("1")), "another algorithm");

        write_set(file.path(), &[(testing::ED25519, Some("1"))]);
        let one = VerificationKeys::open(file.path()).unwrap();
        assert!(passes(&one, testing::ED25519, Some("1")));
        assert!(passes(&one, testing::ED25519, None));
        assert!(!passes(&one, testing::ED25519, Some("2")));

        write_set(file.path(), &[(testing::P256_1, Some("1")), (testing::P256_2, Some("1"))]);
        let ambiguous = VerificationKeys::open(file.path()).unwrap();
        assert!(!passes(&ambiguous, testing::P256_1, Some("1")), "two keys of one name");

        let mut header = Header::new(Algorithm::EdDSA);
        header.crit = Some(vec!["b64".to_owned()]);
        let key = EncodingKey::from_ed_pem(testing::ED25519.private.as_bytes()).unwrap();
        let token = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
        assert!(one.claims::<Value>(&token).is_none(), "an extension that must be understood");
    }

    #[test]
    fn changed_file_replaces_keys_unless_it_holds_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        write_set(&path, &[(testing::P256_1, Some("1"))]);
        let keys = VerificationKeys::open(&path).unwrap();
        let (old, new) = (testing::P256_1.sign(Some("1"), &claims()), testing::P256_2.sign(Some("2"), &claims()));
        let passes = |token: &str| {
            std::thread::sleep(EVERY + Duration::from_millis(50));
            keys.claims::<Value>(token).is_some()
        };
        std::fs::write(&path, "{\"keys\": [").unwrap();
        assert!(passes(&old), "half a file");
        std::fs::remove_file(&path).unwrap();
        assert!(passes(&old), "no file");
        write_set(&path, &[(testing::P256_2, Some("2"))]);
        assert!(passes(&new));
        assert!(!passes(&old));
    }

    #[test]
    fn keys_of_emptied_or_deleted_file_are_refused_after_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        let token = testing::P256_1.sign(Some("1"), &claims());
        let empty: [fn(&Path); 4] = [
            |path| std::fs::write(path, "").unwrap(),
            |path| std::fs::write(path, "{\"keys\":[]}").unwrap(),
            |path| std::fs::write(path, "{\"keys\": [").unwrap(),
            |path| std::fs::remove_file(path).unwrap(),
        ];
        for empty in empty {
            write_set(&path, &[(testing::P256_1, Some("1"))]);
            let keys = VerificationKeys::open_keeping(&path, EVERY * 2).unwrap();
            let passes = |after: Duration| {
                std::thread::sleep(after);
                keys.claims::<Value>(&token).is_some()
            };
            empty(&path);
            assert!(
                passes(EVERY + Duration::from_millis(50)),
                "they stay while the file may be in the middle of a change"
            );
            assert!(!passes(EVERY * 2 + Duration::from_millis(50)), "they do not stay for ever");
            write_set(&path, &[(testing::P256_1, Some("1"))]);
            assert!(passes(EVERY + Duration::from_millis(50)), "a good file is taken at once");
        }
    }
}
