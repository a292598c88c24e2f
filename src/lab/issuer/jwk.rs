//! Public keys as JSON (RFC 7517, RFC 7518 §6, RFC 8037 §2) and their thumbprints (RFC 7638). A shared secret has no
//! such form here: to publish one would be to give it away.

use aws_lc_rs::digest;
use serde_json::{Value, json};

use super::algorithm::{Algorithm, Family};
use super::key::{Key, PublicNumbers};
use super::token::encode;

/// The thumbprint of a public key: the usual `kid`. A secret has none, since a hash of it would help to guess it
/// (RFC 7638 §7).
pub fn thumbprint(key: &Key) -> Option<String> {
    let text = required(&key.public()?);
    Some(encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()))
}

/// The public key. `alg` is said where it is given, or where the key can do nothing else.
pub fn public(key: &Key, kid: Option<&str>, algorithm: Option<Algorithm>) -> Option<Value> {
    let mut jwk: Value = serde_json::from_str(&required(&key.public()?)).ok()?;
    let only = (key.family() != Family::Rsa).then(|| key.family().usual());
    jwk["use"] = json!("sig");
    if let Some(algorithm) = algorithm.or(only) {
        jwk["alg"] = json!(algorithm.as_str());
    }
    if let Some(kid) = kid {
        jwk["kid"] = json!(kid);
    }
    Some(jwk)
}

/// A set of public keys.
pub fn set(keys: impl IntoIterator<Item = Value>) -> Value {
    json!({ "keys": keys.into_iter().collect::<Vec<Value>>() })
}

/// The members that make a key what it is, in the order and form that the thumbprint wants (RFC 7638 §3.2).
fn required(key: &PublicNumbers) -> String {
    match key {
        PublicNumbers::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n)),
        PublicNumbers::Ec { curve, x, y } => {
            format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
        }
        PublicNumbers::Okp { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
        // RFC 7638 §3.1
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF\
                 V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9\
                 c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1\
                 jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = PublicNumbers::Rsa { n: URL_SAFE_NO_PAD.decode(n).unwrap(), e: vec![1, 0, 1] };
        let hash = |text: String| encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        assert_eq!(hash(required(&key)), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        // RFC 8037 §A.3
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(hash(required(&PublicNumbers::Okp { x })), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_is_published_with_what_it_is_for_and_a_secret_is_not() {
        let key = Key::generate(Algorithm::Es256, 2048).unwrap();
        let jwk = public(&key, Some("one"), None).unwrap();
        assert_eq!(
            (&jwk["kty"], &jwk["crv"], &jwk["alg"], &jwk["use"]),
            (&json!("EC"), &json!("P-256"), &json!("ES256"), &json!("sig"))
        );
        assert_eq!(jwk["kid"], "one");
        assert!(jwk.get("d").is_none());
        let rsa = Key::generate(Algorithm::Ps256, 2048).unwrap();
        assert!(public(&rsa, None, None).unwrap().get("alg").is_none(), "an RSA key signs in several ways");
        assert_eq!(public(&rsa, None, Some(Algorithm::Ps256)).unwrap()["alg"], "PS256");
        let secret = Key::from_secret(b"hunter2").unwrap();
        assert_eq!((public(&secret, None, None), thumbprint(&secret)), (None, None));
    }
}
