//! Key pairs for tests. Their private halves are public, so they protect nothing.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// A key pair and what it signs with.
#[derive(Clone, Copy)]
pub struct Signer {
    /// What its tokens say that they are signed with.
    pub algorithm: Algorithm,
    /// In PEM form.
    pub private: &'static str,
    /// In PEM form.
    pub public: &'static str,
}

/// 2048 bits, for RS256.
pub const RSA: Signer = Signer {
    algorithm: Algorithm::RS256,
    private: include_str!("../fixtures/keys/rsa.pem"),
    public: include_str!("../fixtures/keys/rsa.pub.pem"),
};
/// One for ES256.
pub const P256_1: Signer = Signer {
    algorithm: Algorithm::ES256,
    private: include_str!("../fixtures/keys/p256-1.pem"),
    public: include_str!("../fixtures/keys/p256-1.pub.pem"),
};
/// Another one for ES256.
pub const P256_2: Signer = Signer {
    algorithm: Algorithm::ES256,
    private: include_str!("../fixtures/keys/p256-2.pem"),
    public: include_str!("../fixtures/keys/p256-2.pub.pem"),
};
/// One for `EdDSA`.
pub const ED25519: Signer = Signer {
    algorithm: Algorithm::EdDSA,
    private: include_str!("../fixtures/keys/ed25519.pem"),
    public: include_str!("../fixtures/keys/ed25519.pub.pem"),
};
/// One of each kind.
pub const SIGNERS: [Signer; 3] = [RSA, P256_1, ED25519];

/// The public half of an RSA key that is too short to be used.
pub const RSA_1024_PUBLIC: &str = include_str!("../fixtures/keys/rsa-1024.pub.pem");
/// A public key on a curve that Weir does not take.
pub const P384_PUBLIC: &str = include_str!("../fixtures/keys/p384.pub.pem");
/// A public key on the curve secp256k1, which looks like P-256 and is not.
pub const K256_PUBLIC: &str = include_str!("../fixtures/keys/k256.pub.pem");

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

    /// A token with these claims, signed; with the key's id when there is one.
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

/// Seconds since 1970, as tokens count them.
pub fn now_seconds() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since_epoch.as_secs()).unwrap()
}

/// What a good access token says.
pub fn claims() -> Value {
    json!({"sub": "user", "exp": now_seconds() + 60})
}

/// Header and claims of a token, as a signature covers them.
pub fn message(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| {
        // The library encodes the claims of a token; a header is as good as a claim.
        let token = jsonwebtoken::encode(&Header::default(), json, &EncodingKey::from_secret(b"x")).unwrap();
        token.split('.').nth(1).unwrap().to_owned()
    };
    format!("{}.{}", part(header), part(claims))
}

/// A token that calls itself signed with `algorithm`, and is not signed at all.
pub fn unsigned(algorithm: &str, kid: &str, claims: &Value) -> String {
    message(&json!({"alg": algorithm, "typ": "JWT", "kid": kid}), claims) + "."
}

/// A token that calls itself signed with `algorithm`, and is an HMAC under `secret`.
pub fn confused(algorithm: &str, kid: &str, secret: &str, claims: &Value) -> String {
    let message = message(&json!({"alg": algorithm, "typ": "JWT", "kid": kid}), claims);
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}
