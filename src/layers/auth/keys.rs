//! Keys that verify: from a JWK set (RFC 7517), from PEM files, from a secret. What a key may be used for is decided here,
//! once, by the key itself, and never by a token. One bad key does not spoil a set.

mod pem;

use std::collections::BTreeSet;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::algorithm::{Algorithm, Algorithms};
use super::jws::LONGEST_KEY_ID;
use crate::base::secret::Secret;

/// Bytes of an RSA modulus that are neither too few to be safe nor too many to be verified in time.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Most keys in a set.
pub const MOST: usize = 100;

/// Keys that verify tokens. Either all of them are public, or all of them are shared secrets.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    list: Vec<Key>,
    skipped: Vec<String>,
}

/// A key that verifies.
#[derive(Clone)]
pub struct Key {
    /// Its id, where it has one.
    pub id: Option<Box<str>>,
    /// What its signatures may be made with.
    pub algorithms: Algorithms,
    pub(super) primitive: DecodingKey,
}

/// Whether the set is one's own: only then it may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file beside the configuration.
    File,
    /// Somebody on the network, who publishes it to everybody.
    Network,
}

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeysError {
    /// Not a JWK set.
    #[error("this is no JWK set: {0}")]
    NotASet(String),
    /// More keys than anybody needs.
    #[error("the set has {0} keys, more than {MOST}")]
    TooMany(usize),
    /// A PEM file with something else in it.
    #[error("{0}")]
    Pem(String),
    /// Keys, but none that verifies.
    #[error("there is no key that can verify{}", if .0.is_empty() { String::new() } else { format!(": {}", .0.join("; ")) })]
    NoneUsable(Vec<String>),
}

#[derive(Deserialize)]
struct WrittenSet {
    keys: Vec<Value>,
}

/// A key as it is written (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
#[derive(Deserialize)]
struct Written {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    k: Option<String>,
}

impl Keys {
    /// The keys of a JWK set. Those that cannot be used here are left out: other uses, unknown kinds, malformed ones,
    /// and secrets among public keys or from the network.
    ///
    /// # Errors
    /// When it is no set, or when no key is left.
    pub fn from_jwks(json: &[u8], origin: Origin) -> Result<Self, KeysError> {
        let set: WrittenSet = serde_json::from_slice(json).map_err(|error| KeysError::NotASet(error.to_string()))?;
        if set.keys.len() > MOST {
            return Err(KeysError::TooMany(set.keys.len()));
        }
        let mut keys = Self::default();
        for (at, value) in set.keys.into_iter().enumerate() {
            let id = value.get("kid").and_then(Value::as_str).map(super::failure::shown);
            match serde_json::from_value(value)
                .map_err(|error| error.to_string())
                .and_then(|written| key(written, origin))
            {
                Ok(key) => keys.list.push(key),
                Err(why) => {
                    keys.skipped.push(format!("key {} ({}): {why}", at + 1, id.as_deref().unwrap_or("no id")));
                }
            }
        }
        if keys.list.iter().any(|key| !key.is_secret()) {
            let before = keys.list.len();
            keys.list.retain(|key| !key.is_secret());
            if keys.list.len() < before {
                keys.skipped.push("secrets among public keys".to_owned());
            }
        }
        match keys.list.is_empty() {
            true => Err(KeysError::NoneUsable(keys.skipped)),
            false => Ok(keys),
        }
    }

    /// The public keys and certificates of a PEM file, one or several. They have no id, so each is tried.
    ///
    /// # Errors
    /// When something in the file is not a public key that can verify: a file like this is written by hand.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeysError> {
        let list = pem::keys(text).map_err(KeysError::Pem)?;
        match list.len() {
            0 => Err(KeysError::Pem("there is no `-----BEGIN PUBLIC KEY-----`".to_owned())),
            1..=super::verify::TRIES => Ok(Self { list, skipped: Vec::new() }),
            more => Err(KeysError::Pem(format!(
                "the file has {more} keys; without ids at most {} can be told apart: use a JWK set",
                super::verify::TRIES
            ))),
        }
    }

    /// A shared secret, of which the bytes of the text are the key.
    pub fn from_secret(secret: &Secret) -> Self {
        let primitive = DecodingKey::from_secret(secret.expose().as_bytes());
        Self { list: vec![Key { id: None, algorithms: Algorithms::HMAC, primitive }], skipped: Vec::new() }
    }

    /// The keys of several sources.
    #[must_use]
    pub fn joined(mut self, more: Self) -> Self {
        self.list.extend(more.list);
        self.skipped.extend(more.skipped);
        self
    }

    /// The keys.
    pub fn list(&self) -> &[Key] {
        &self.list
    }

    /// What was left out, and why.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The ids that the keys have.
    pub fn ids(&self) -> BTreeSet<&str> {
        self.list.iter().filter_map(|key| key.id.as_deref()).collect()
    }

    /// The keys that a token with this key id may have been signed with: those of that id; where none has it, or the
    /// token names none, those without an id, and for a token that names none all others too.
    pub fn named<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        let known = id.is_some_and(|id| self.list.iter().any(|key| key.id.as_deref() == Some(id)));
        self.list.iter().filter(move |key| match (id, key.id.as_deref()) {
            (None, _) => true,
            (Some(id), Some(own)) => own == id,
            (Some(_), None) => !known,
        })
    }
}

impl Key {
    fn is_secret(&self) -> bool {
        self.algorithms.has(Algorithm::Hs256)
            || self.algorithms.has(Algorithm::Hs384)
            || self.algorithms.has(Algorithm::Hs512)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.id)
    }
}

/// The key, or why it is of no use here.
fn key(written: Written, origin: Origin) -> Result<Key, String> {
    if written.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err("its use is not `sig`".to_owned());
    }
    if written.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|one| one == "verify")) {
        return Err("its key_ops do not have `verify`".to_owned());
    }
    if written.kid.as_ref().is_some_and(|id| id.len() > LONGEST_KEY_ID) {
        return Err(format!("its id is longer than {LONGEST_KEY_ID} bytes"));
    }
    let (able, primitive) = match (written.kty.as_str(), origin) {
        ("RSA", _) => (Algorithms::RSA, rsa(&written)?),
        ("EC", _) => elliptic(&written)?,
        ("OKP", _) => (Algorithms::of(&[Algorithm::EdDsa]), edwards(&written)?),
        ("oct", Origin::Network) => return Err("a secret that everybody can read is none".to_owned()),
        ("oct", Origin::File) => (Algorithms::HMAC, DecodingKey::from_secret(&member(written.k.as_deref(), "k")?)),
        (other, _) => return Err(format!("the kind `{}` is not known", super::failure::shown(other))),
    };
    let algorithms = match written.alg.as_deref() {
        None => able,
        Some(name) => match Algorithm::named(name) {
            Some(algorithm) if able.has(algorithm) => Algorithms::of(&[algorithm]),
            _ => return Err(format!("the algorithm `{}` is not for such a key", super::failure::shown(name))),
        },
    };
    Ok(Key { id: written.kid.map(Into::into), algorithms, primitive })
}

fn rsa(written: &Written) -> Result<DecodingKey, String> {
    let (n, e) = (member(written.n.as_deref(), "n")?, member(written.e.as_deref(), "e")?);
    let significant = |bytes: &[u8]| bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let (n, e) = (&n[significant(&n)..], &e[significant(&e)..]);
    if e == [1] || e.last().is_none_or(|last| last % 2 == 0) {
        return Err("`e` is not the exponent of an RSA key".to_owned());
    }
    let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
    if parsed.is_err() || !RSA_BYTES.contains(&n.len()) {
        return Err("not an RSA key of 2048 to 8192 bits".to_owned());
    }
    Ok(DecodingKey::from_rsa_raw_components(n, e))
}

fn elliptic(written: &Written) -> Result<(Algorithms, DecodingKey), String> {
    let (x, y) = (member(written.x.as_deref(), "x")?, member(written.y.as_deref(), "y")?);
    let (size, algorithm, checked): (_, _, &'static dyn VerificationAlgorithm) = match written.crv.as_deref() {
        Some("P-256") => (32, Algorithm::Es256, &ECDSA_P256_SHA256_FIXED),
        Some("P-384") => (48, Algorithm::Es384, &ECDSA_P384_SHA384_FIXED),
        _ => return Err("the curve is not P-256 or P-384".to_owned()),
    };
    if x.len() != size || y.len() != size {
        return Err(format!("x and y do not have {size} bytes"));
    }
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    ParsedPublicKey::new(checked, &point).map_err(|_| "not a point of its curve".to_owned())?;
    Ok((Algorithms::of(&[algorithm]), DecodingKey::from_ec_der(&point)))
}

fn edwards(written: &Written) -> Result<DecodingKey, String> {
    if written.crv.as_deref() != Some("Ed25519") {
        return Err("the curve is not Ed25519".to_owned());
    }
    let x = member(written.x.as_deref(), "x")?;
    ParsedPublicKey::new(&ED25519, &x).map_err(|_| "not an Ed25519 key".to_owned())?;
    Ok(DecodingKey::from_ed_der(&x))
}

/// A member of base64url; padding is forgiven, since it changes nothing here.
fn member(text: Option<&str>, name: &str) -> Result<Vec<u8>, String> {
    let text = text.ok_or_else(|| format!("`{name}` is missing"))?;
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| format!("`{name}` is not base64url"))?;
    match bytes.is_empty() {
        true => Err(format!("`{name}` is empty")),
        false => Ok(bytes),
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
