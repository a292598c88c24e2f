//! Keys that sign: made, read from PEM or from a secret, and written. Prints itself without what is private.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding,
};
use aws_lc_rs::{error, hmac};
use thiserror::Error;

use super::algorithm::{Algorithm, Family};
use super::{der, pem};

/// A key that signs.
pub struct Key(Material);

enum Material {
    Secret(Vec<u8>),
    Rsa(Box<rsa::KeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why there is no key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// No block of PEM.
    #[error("no PEM block in it; a shared secret is given as --secret file:PATH, and has no public half")]
    NoPem,
    /// A public key, or a certificate.
    #[error("it holds a {0}, and signing needs the private key")]
    Public(String),
    /// Locked with a password.
    #[error("the key is encrypted; decrypt it with: openssl pkey -in FILE -out OPEN.pem")]
    Encrypted,
    /// Several keys.
    #[error("it holds several private keys")]
    Several,
    /// What the library does not take.
    #[error("not a private key that can be used: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519")]
    Rejected,
    /// An empty secret.
    #[error("the secret is empty")]
    EmptySecret,
    /// An algorithm for other keys.
    #[error("{0} needs {need}, and this is {1}", need = .0.family())]
    Mismatch(Algorithm, Family),
    /// A size that there is no key of.
    #[error("RSA keys have 2048, 3072 or 4096 bits")]
    Bits,
    /// The library failed.
    #[error("the cryptographic library failed")]
    Library,
}

/// The public half of a key, as numbers: big-endian bytes of the length that JWK wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicNumbers {
    /// RSA.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Exponent.
        e: Vec<u8>,
    },
    /// A point on a curve.
    Ec {
        /// The curve's name.
        curve: &'static str,
        /// First coordinate.
        x: Vec<u8>,
        /// Second coordinate.
        y: Vec<u8>,
    },
    /// Ed25519.
    Okp {
        /// The encoded point.
        x: Vec<u8>,
    },
}

impl Key {
    /// A new key for the algorithm; `bits` counts for RSA alone.
    ///
    /// # Errors
    /// A size that there is no key of.
    pub fn generate(algorithm: Algorithm, bits: u32) -> Result<Self, KeyError> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return Err(KeyError::Bits),
        };
        Ok(Self(match algorithm.family() {
            Family::Hmac => {
                let mut secret = vec![0; algorithm.least_secret()];
                rand::fill(&mut secret).map_err(failed)?;
                // Text, since a configuration takes secrets as text.
                Material::Secret(super::token::encode(&secret).into_bytes())
            }
            Family::Rsa => Material::Rsa(Box::new(rsa::KeyPair::generate(size).map_err(failed)?)),
            Family::P256 => Material::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?),
            Family::P384 => Material::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(failed)?),
            Family::Ed25519 => Material::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
        }))
    }

    /// The private key in a text of PEM: PKCS #8, PKCS #1 or SEC 1.
    ///
    /// # Errors
    /// What is in the text instead.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let mut blocks = pem::blocks(text);
        let all = blocks.len();
        if let Some(other) = blocks.iter().find(|block| !block.label.ends_with("PRIVATE KEY")).map(|b| b.label.clone())
        {
            blocks.retain(|block| block.label.ends_with("PRIVATE KEY"));
            // OpenSSL writes the parameters of a curve in front of its key.
            if blocks.is_empty() && all > 0 {
                return Err(KeyError::Public(other.to_lowercase()));
            }
        }
        match blocks.as_slice() {
            [] => Err(KeyError::NoPem),
            [block] if block.has_fields || block.label.starts_with("ENCRYPTED") => Err(KeyError::Encrypted),
            [block] => Self::from_der(&block.der),
            _ => Err(KeyError::Several),
        }
    }

    /// A shared secret.
    ///
    /// # Errors
    /// It is empty.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        match secret {
            [] => Err(KeyError::EmptySecret),
            _ => Ok(Self(Material::Secret(secret.to_vec()))),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let ec = |algorithm: &'static EcdsaSigningAlgorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).ok();
        let rsa = || rsa::KeyPair::from_pkcs8(der).or_else(|_| rsa::KeyPair::from_der(der)).ok();
        let found = ec(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map(Material::P256)
            .or_else(|| ec(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Material::P384))
            .or_else(|| Ed25519KeyPair::from_pkcs8(der).ok().map(Material::Ed25519))
            .or_else(|| rsa().map(|pair| Material::Rsa(Box::new(pair))));
        found.map(Self).ok_or(KeyError::Rejected)
    }

    /// What kind of key it is.
    pub fn family(&self) -> Family {
        match self.0 {
            Material::Secret(_) => Family::Hmac,
            Material::Rsa(_) => Family::Rsa,
            Material::P256(_) => Family::P256,
            Material::P384(_) => Family::P384,
            Material::Ed25519(_) => Family::Ed25519,
        }
    }

    /// The signature of a message: for ECDSA both numbers one behind the other (RFC 7518 §3.4).
    ///
    /// # Errors
    /// The algorithm is for other keys.
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        if algorithm.family() != self.family() {
            return Err(KeyError::Mismatch(algorithm, self.family()));
        }
        match &self.0 {
            Material::Secret(secret) => Ok(mac(algorithm, secret, message)),
            Material::P256(pair) | Material::P384(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Material::Ed25519(pair) => Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec()),
            Material::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding(algorithm), &SystemRandom::new(), message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }

    /// The public half; a shared secret has none.
    pub fn public(&self) -> Option<PublicNumbers> {
        let point = |curve, pair: &EcdsaKeyPair| {
            // Uncompressed: a four, then both coordinates.
            let (_, both) = pair.public_key().as_ref().split_first()?;
            let (x, y) = both.split_at(both.len() / 2);
            Some(PublicNumbers::Ec { curve, x: x.to_vec(), y: y.to_vec() })
        };
        match &self.0 {
            Material::Secret(_) => None,
            Material::P256(pair) => point("P-256", pair),
            Material::P384(pair) => point("P-384", pair),
            Material::Ed25519(pair) => Some(PublicNumbers::Okp { x: pair.public_key().as_ref().to_vec() }),
            Material::Rsa(pair) => {
                let (n, e) = der::rsa_public_key(pair.public_key().as_ref())?;
                Some(PublicNumbers::Rsa { n: n.to_vec(), e: e.to_vec() })
            }
        }
    }

    /// The public half as a `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
    pub fn public_der(&self) -> Option<Vec<u8>> {
        let der: Result<PublicKeyX509Der<'static>, _> = match &self.0 {
            Material::Secret(_) => return None,
            Material::Rsa(pair) => pair.public_key().as_der(),
            Material::P256(pair) | Material::P384(pair) => pair.public_key().as_der(),
            Material::Ed25519(pair) => pair.public_key().as_der(),
        };
        der.ok().map(|der| der.as_ref().to_vec())
    }

    /// The same as a text, as `public_key_file` takes it.
    pub fn public_pem(&self) -> Option<String> {
        self.public_der().map(|der| pem::write("PUBLIC KEY", &der))
    }

    /// The public half of an RSA key in its own form (PKCS #1).
    pub fn rsa_public_der(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Material::Rsa(pair) => Some(pair.public_key().as_ref().to_vec()),
            _ => None,
        }
    }

    /// What has to be kept safe: PKCS #8 in PEM, or the secret itself.
    ///
    /// # Errors
    /// The library failed.
    pub fn private_text(&self) -> Result<String, KeyError> {
        let pem = |der: &[u8]| pem::write("PRIVATE KEY", der);
        match &self.0 {
            Material::Secret(secret) => Ok(String::from_utf8_lossy(secret).into_owned()),
            Material::Rsa(pair) => {
                let der: Pkcs8V1Der<'static> = pair.as_der().map_err(failed)?;
                Ok(pem(der.as_ref()))
            }
            Material::P256(pair) | Material::P384(pair) => Ok(pem(pair.to_pkcs8v1().map_err(failed)?.as_ref())),
            Material::Ed25519(pair) => Ok(pem(pair.to_pkcs8v1().map_err(failed)?.as_ref())),
        }
    }

    /// Bytes of a shared secret.
    pub fn secret_length(&self) -> Option<usize> {
        match &self.0 {
            Material::Secret(secret) => Some(secret.len()),
            _ => None,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.family())
    }
}

/// The HMAC of a message under any bytes; SHA-256 unless the algorithm says more.
pub(super) fn mac(algorithm: Algorithm, secret: &[u8], message: &[u8]) -> Vec<u8> {
    let digest = match algorithm {
        Algorithm::Hs384 => hmac::HMAC_SHA384,
        Algorithm::Hs512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    hmac::sign(&hmac::Key::new(digest, secret), message).as_ref().to_vec()
}

fn padding(algorithm: Algorithm) -> &'static dyn RsaEncoding {
    match algorithm {
        Algorithm::Rs384 => &RSA_PKCS1_SHA384,
        Algorithm::Rs512 => &RSA_PKCS1_SHA512,
        Algorithm::Ps256 => &RSA_PSS_SHA256,
        Algorithm::Ps384 => &RSA_PSS_SHA384,
        Algorithm::Ps512 => &RSA_PSS_SHA512,
        _ => &RSA_PKCS1_SHA256,
    }
}

fn failed(_: error::Unspecified) -> KeyError {
    KeyError::Library
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_and_read_and_prints_nothing_of_itself() {
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
            let key = Key::generate(algorithm, 2048).unwrap();
            let text = key.private_text().unwrap();
            let again = Key::from_pem(&text).unwrap();
            assert_eq!(again.family(), algorithm.family());
            assert_eq!(again.public(), key.public());
            assert!(format!("{key:?}").len() < 30, "{key:?}");
            assert_eq!(Key::from_pem(&key.public_pem().unwrap()).unwrap_err(), KeyError::Public("public key".into()));
            assert!(matches!(key.sign(Algorithm::Hs256, b""), Err(KeyError::Mismatch(..))));
        }
        assert_eq!(Key::generate(Algorithm::Rs256, 1024).unwrap_err(), KeyError::Bits);
    }

    #[test]
    fn what_is_no_private_key_is_named() {
        assert_eq!(Key::from_pem("hello").unwrap_err(), KeyError::NoPem);
        let encrypted = pem::write("ENCRYPTED PRIVATE KEY", b"x");
        assert_eq!(Key::from_pem(&encrypted).unwrap_err(), KeyError::Encrypted);
        assert_eq!(Key::from_pem(&pem::write("PRIVATE KEY", b"x")).unwrap_err(), KeyError::Rejected);
        assert_eq!(Key::from_secret(b"").unwrap_err(), KeyError::EmptySecret);
        let one = Key::generate(Algorithm::EdDsa, 2048).unwrap().private_text().unwrap();
        assert_eq!(Key::from_pem(&format!("{one}{one}")).unwrap_err(), KeyError::Several);
    }

    #[test]
    fn secrets_are_as_long_as_their_hash() {
        for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
            let key = Key::generate(algorithm, 2048).unwrap();
            assert!(key.secret_length().unwrap() >= algorithm.least_secret());
            assert_eq!((key.public(), key.public_pem()), (None, None));
        }
    }
}
