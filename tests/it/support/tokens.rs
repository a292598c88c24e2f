//! Tokens for tests: any header and any claims, rightly signed, and the keys that verify them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// Somebody who signs tokens.
pub(crate) struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    /// The key that verifies them.
    pub(crate) jwk: Value,
    /// The same as a PEM file.
    pub(crate) pem: String,
}

impl Signer {
    /// A new key on P-256.
    pub(crate) fn es256(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": encode(x), "y": encode(y)});
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { algorithm: Algorithm::ES256, key, jwk, pem: pem("PUBLIC KEY", public.as_ref()) }
    }

    /// A new RSA key.
    pub(crate) fn rs256(id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let n = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
        let e = pair.public_key().exponent().big_endian_without_leading_zero().to_vec();
        let jwk = json!({"kty": "RSA", "kid": id, "n": encode(n), "e": encode(e)});
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let key = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).unwrap();
        Self { algorithm: Algorithm::RS256, key, jwk, pem: pem("PUBLIC KEY", public.as_ref()) }
    }

    /// A shared secret.
    pub(crate) fn hs256(secret: &[u8]) -> Self {
        let jwk = json!({"kty": "oct", "k": encode(secret)});
        Self { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret), jwk, pem: String::new() }
    }

    /// A token with this header and these claims, as they are.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// A token with the usual header and these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let mut header = json!({"alg": format!("{:?}", self.algorithm), "typ": "JWT"});
        if let Some(id) = self.jwk.get("kid") {
            header["kid"] = id.clone();
        }
        self.sign(&header, claims)
    }

    /// A valid token of this subject, different each time.
    pub(crate) fn good(&self, subject: &str) -> String {
        self.token(&json!({"sub": subject, "exp": now() + 600, "iat": now(), "n": fastrand::u64(..)}))
    }
}

/// The JWK set of these signers.
pub(crate) fn jwks(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| &signer.jwk).collect::<Vec<_>>()}).to_string()
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Base64url.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
