//! Key pairs for tests. Their private halves are public, so they protect nothing.

use std::path::Path;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// A key pair and what it signs with.
#[derive(Clone, Copy)]
pub struct Signer {
    pub algorithm: Algorithm,
    pub private: &'static str,
    pub public: &'static str,
}

pub const RSA: Signer = Signer {
    algorithm: Algorithm::RS256,
    private: include_str!("../../tests/fixtures/keys/rsa.pem"),
    public: include_str!("../../tests/fixtures/keys/rsa.pub.pem"),
};
pub const P256_1: Signer = Signer {
    algorithm: Algorithm::ES256,
    private: include_str!("../../tests/fixtures/keys/p256-1.pem"),
    public: include_str!("../../tests/fixtures/keys/p256-1.pub.pem"),
};
pub const P256_2: Signer = Signer {
    algorithm: Algorithm::ES256,
    private: include_str!("../../tests/fixtures/keys/p256-2.pem"),
    public: include_str!("../../tests/fixtures/keys/p256-2.pub.pem"),
};
pub const ED25519: Signer = Signer {
    algorithm: Algorithm::EdDSA,
    private: include_str!("../../tests/fixtures/keys/ed25519.pem"),
    public: include_str!("../../tests/fixtures/keys/ed25519.pub.pem"),
};
/// One of each kind.
pub const SIGNERS: [Signer; 3] = [RSA, P256_1, ED25519];

impl Signer {
    fn key(self) -> EncodingKey {
        let pem = self.private.as_bytes();
        match self.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem),
            _ => EncodingKey::from_ed_pem(pem),
        }
        .unwrap()
    }

    pub fn sign(self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key()).unwrap()
    }

    /// The public half, as a member of a set.
    pub fn jwk(self, kid: Option<&str>) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key(), self.algorithm).unwrap();
        jwk.common.key_id = kid.map(str::to_owned);
        serde_json::to_value(jwk).unwrap()
    }
}

/// Writes a set of public keys, as a rotation does.
pub fn write_set(path: &Path, signers: &[(Signer, Option<&str>)]) {
    let keys: Vec<Value> = signers.iter().map(|(signer, kid)| signer.jwk(*kid)).collect();
    std::fs::write(path, json!({"keys": keys}).to_string()).unwrap();
}

pub fn now_seconds() -> i64 {
    crate::domain::Clock::system().now().0 / 1000
}

/// What a good access token says.
pub fn claims() -> Value {
    json!({"sub": "user", "exp": now_seconds() + 60})
}
