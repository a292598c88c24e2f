//! Public keys in PEM (RFC 7468): `PUBLIC KEY`, `RSA PUBLIC KEY` and certificates, of which only the key counts.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use jsonwebtoken::DecodingKey;

use super::{Key, RSA_BYTES};
use crate::layers::auth::algorithm::{Algorithm, Algorithms};

const BEGIN: &str = "-----BEGIN ";

/// The keys of a file, in order.
pub(super) fn keys(text: &[u8]) -> Result<Vec<Key>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the file is not PEM".to_owned())?;
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let block = &rest[at..];
        let label = block[BEGIN.len()..].split("-----").next().unwrap_or_default();
        let end_mark = format!("-----END {label}-----");
        let end = block.find(&end_mark).ok_or_else(|| format!("`{BEGIN}{label}-----` has no end"))? + end_mark.len();
        let place = || format!("block {} (`{label}`)", found.len() + 1);
        if label.contains("PRIVATE") {
            return Err(format!("{} is a private key: give the gateway the public one", place()));
        }
        let key = key(&block.as_bytes()[..end]).ok_or_else(|| {
            format!("{} is not an RSA key of 2048 to 8192 bits, nor one on P-256, P-384 or Ed25519", place())
        })?;
        found.push(key);
        rest = &block[end..];
    }
    Ok(found)
}

fn key(block: &[u8]) -> Option<Key> {
    rsa(block).or_else(|| elliptic(block)).or_else(|| edwards(block))
}

fn rsa(block: &[u8]) -> Option<Key> {
    let primitive = DecodingKey::from_rsa_pem(block).ok()?;
    let der = primitive.try_get_as_bytes().ok()?;
    ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).ok()?;
    if !RSA_BYTES.contains(&modulus_length(der)?) {
        return None;
    }
    Some(Key { id: None, algorithms: Algorithms::RSA, primitive })
}

/// Bytes of the first number of an `RSAPublicKey` (RFC 8017 §A.1.1), known to be well-formed.
fn modulus_length(der: &[u8]) -> Option<usize> {
    let (_, inside) = length(der.strip_prefix(&[0x30])?)?;
    let (length, modulus) = length(inside.strip_prefix(&[0x02])?)?;
    Some(length - usize::from(modulus.first() == Some(&0)))
}

/// A length of DER (X.690 §8.1.3), and what follows it.
fn length(der: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = der.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    Some((digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest))
}

fn elliptic(block: &[u8]) -> Option<Key> {
    let primitive = DecodingKey::from_ec_pem(block).ok()?;
    let point = primitive.try_get_as_bytes().ok()?;
    let algorithm = match point.len() {
        65 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok().map(|_| Algorithm::Es256),
        97 => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).ok().map(|_| Algorithm::Es384),
        _ => None,
    };
    Some(Key { id: None, algorithms: Algorithms::of(&[algorithm?]), primitive })
}

fn edwards(block: &[u8]) -> Option<Key> {
    let primitive = DecodingKey::from_ed_pem(block).ok()?;
    ParsedPublicKey::new(&ED25519, primitive.try_get_as_bytes().ok()?).ok()?;
    Some(Key { id: None, algorithms: Algorithms::of(&[Algorithm::EdDsa]), primitive })
}
