//! What the list of forgeries is, for each kind of key. Whether the gateway refuses them is another test's matter.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::lab::issuer::jwk;

const NOW: i64 = 1_800_000_000;
/// Forgeries that are one token: under signatures of some lengths and last bytes, of an issuer that ends with a slash.
const ALIKE: [[&str; 2]; 5] = [
    ["ecdsa-psychic", "signature-zeros"],
    ["iss-shorter", "iss-slash"],
    ["base64-padding", "base64-padding-signature"],
    ["base64-letter-more", "signature-long"],
    ["shape-truncated-last", "signature-short"],
];

fn claims() -> Members {
    let claims =
        json!({"iss": "https://issuer.example/", "aud": "orders", "sub": "user", "exp": NOW + 600, "iat": NOW});
    claims.as_object().unwrap().clone()
}

fn list(key: &Key, algorithm: Algorithm) -> Vec<Attempt> {
    let kid = jwk::thumbprint(key);
    let claims = claims();
    let jwks = br#"{"keys":[]}"#;
    attempts(&Material { key, algorithm, kid: kid.as_deref(), claims: &claims, jwks: Some(jwks), now: NOW }).unwrap()
}

fn verifies(key: &Key, algorithm: Algorithm, token: &str) -> bool {
    let (method, bytes): (&'static dyn VerificationAlgorithm, Vec<u8>) = match algorithm {
        Algorithm::Rs256 => (&signature::RSA_PKCS1_2048_8192_SHA256, key.rsa_public_der().unwrap()),
        Algorithm::Ps384 => (&signature::RSA_PSS_2048_8192_SHA384, key.rsa_public_der().unwrap()),
        Algorithm::Es256 => (&signature::ECDSA_P256_SHA256_FIXED, key.public_der().unwrap()),
        Algorithm::Es384 => (&signature::ECDSA_P384_SHA384_FIXED, key.public_der().unwrap()),
        _ => (&signature::ED25519, key.public_der().unwrap()),
    };
    let Some((input, signature)) = token.rsplit_once('.') else { return false };
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
    UnparsedPublicKey::new(method, bytes).verify(input.as_bytes(), &signature).is_ok()
}

#[test]
fn each_kind_of_key_has_its_list_and_every_name_is_there_once() {
    for algorithm in
        [Algorithm::Rs256, Algorithm::Ps384, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Hs256]
    {
        let key = Key::generate(algorithm, 2048).unwrap();
        let list = list(&key, algorithm);
        let names: BTreeSet<&str> = list.iter().map(|attempt| attempt.name.as_str()).collect();
        assert_eq!(names.len(), list.len(), "{algorithm}: a name twice");
        let mut tokens = BTreeMap::<&str, BTreeSet<&str>>::new();
        for attempt in &list {
            tokens.entry(&attempt.token).or_default().insert(&attempt.name);
        }
        let good = &list[0].token;
        assert_eq!(
            list.iter().filter(|attempt| attempt.token == *good).count(),
            1,
            "{algorithm}: a forgery that is none"
        );
        for names in tokens.into_values().filter(|names| names.len() > 1) {
            assert!(ALIKE.iter().any(|alike| names == BTreeSet::from(*alike)), "{algorithm}: one token is {names:?}");
        }
        assert!(list.len() > 150, "{algorithm}: {}", list.len());
        assert!(list.iter().all(|attempt| !attempt.token.contains(['\n', '\r', '\0'])), "{algorithm}");
    }
}

#[test]
fn forgeries_of_claims_have_good_signatures_and_those_of_signatures_do_not() {
    for algorithm in [Algorithm::Rs256, Algorithm::Ps384, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let key = Key::generate(algorithm, 2048).unwrap();
        for attempt in list(&key, algorithm) {
            let verifies = verifies(&key, algorithm, &attempt.token);
            let begins = |words: &[&str]| words.iter().any(|word| attempt.name.starts_with(word));
            if begins(&["control", "exp", "aud-", "iss-", "not-yet", "crit-", "payload-", "ecdsa-mirrored"]) {
                assert!(verifies, "{algorithm}: {}", attempt.name);
            }
            if begins(&[
                "signature-",
                "ecdsa-psychic",
                "ecdsa-order",
                "eddsa-",
                "rsa-",
                "claims-",
                "hs",
                "jku-",
                "x5",
                "key-",
            ]) && attempt.expect == Expect::Refuse
            {
                assert!(!verifies, "{algorithm}: {}", attempt.name);
            }
        }
    }
}

#[test]
fn a_secret_is_not_tried_against_itself() {
    let key = Key::from_secret(b"secret").unwrap();
    let list = list(&key, Algorithm::Hs256);
    let named = |name: &str| list.iter().any(|attempt| attempt.name == name);
    assert!(!named("hmac-common-secret") && named("hmac-common-password") && !named("hs256-with-pem"));
}

#[test]
fn without_issuer_and_audience_nothing_is_expected_of_them() {
    let key = Key::generate(Algorithm::EdDsa, 2048).unwrap();
    let claims = json!({"exp": NOW + 600}).as_object().unwrap().clone();
    let material =
        Material { key: &key, algorithm: Algorithm::EdDsa, kid: None, claims: &claims, jwks: None, now: NOW };
    let list = attempts(&material).unwrap();
    assert!(list.iter().all(|attempt| !attempt.name.starts_with("iss-") && !attempt.name.starts_with("aud-")));
}
