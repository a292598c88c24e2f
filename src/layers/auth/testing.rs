//! Keys and tokens for the tests of this module: any header, any payload, rightly signed.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::algorithm::Algorithm;
use super::keys::{Keys, Origin};

/// A moment for tests.
pub(super) const NOW: u64 = 1_800_000_000;

/// Somebody who signs.
pub(super) struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    /// The key that verifies.
    pub(super) jwk: Value,
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub(super) fn es256(id: &str) -> Self {
        Self::elliptic(id, Algorithm::Es256, "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub(super) fn es384(id: &str) -> Self {
        Self::elliptic(id, Algorithm::Es384, "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn elliptic(id: &str, algorithm: Algorithm, curve: &str, signing: &'static EcdsaSigningAlgorithm) -> Self {
        let pair = EcdsaKeyPair::generate(signing).unwrap();
        let point = pair.public_key().as_ref()[1..].to_vec();
        let (x, y) = point.split_at(point.len() / 2);
        let jwk = json!({"kty": "EC", "crv": curve, "kid": id, "x": encode(x), "y": encode(y)});
        Self { algorithm, key: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()), jwk }
    }

    pub(super) fn eddsa(id: &str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(pair.public_key())});
        let key = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { algorithm: Algorithm::EdDsa, key, jwk }
    }

    pub(super) fn rsa(id: &str, algorithm: Algorithm) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
        let (n, e) = (n.big_endian_without_leading_zero().to_vec(), e.big_endian_without_leading_zero().to_vec());
        let jwk = json!({"kty": "RSA", "kid": id, "n": encode(n), "e": encode(e)});
        let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let pem = pem("PRIVATE KEY", pkcs8.as_ref());
        Self { algorithm, key: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(), jwk }
    }

    pub(super) fn hmac(secret: &[u8], algorithm: Algorithm) -> Self {
        let jwk = json!({"kty": "oct", "kid": "s", "k": encode(secret)});
        Self { algorithm, key: EncodingKey::from_secret(secret), jwk }
    }

    pub(super) fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The token of this header and these claims, as they are.
    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm.primitive()).unwrap();
        format!("{message}.{signature}")
    }

    /// A usual token.
    pub(super) fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm.name(), "typ": "JWT", "kid": self.jwk["kid"]});
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// The set of its one key.
    pub(super) fn keys(&self) -> Keys {
        set(&[&self.jwk])
    }
}

/// A key set from a file.
pub(super) fn set(jwks: &[&Value]) -> Keys {
    Keys::from_jwks(json!({"keys": jwks}).to_string().as_bytes(), Origin::File).unwrap()
}

/// PEM around DER.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
