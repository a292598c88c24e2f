//! Which keys are taken from a set or a file, and which are left out.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::*;
use crate::layers::auth::testing::{Signer, encode, pem, set};

fn network(keys: &Value) -> Result<Keys, KeysError> {
    Keys::from_jwks(json!({ "keys": keys }).to_string().as_bytes(), Origin::Network)
}

fn with(jwk: &Value, changes: &Value) -> Value {
    let mut jwk = jwk.clone();
    for (name, value) in changes.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

#[test]
fn a_bad_key_does_not_spoil_the_set() {
    let good = Signer::es256("good").jwk;
    let rsa = Signer::rsa("rsa", Algorithm::Rs256).jwk;
    let short: String = rsa["n"].as_str().unwrap().chars().take(171).collect();
    let bad = [
        json!(null),
        json!("a"),
        json!({}),
        json!({"kty": 5}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
        json!({"kty": "oct", "k": encode([7; 32])}),
        with(&good, &json!({"use": "enc"})),
        with(&good, &json!({"key_ops": ["sign"]})),
        with(&good, &json!({"alg": "RS256"})),
        with(&good, &json!({"alg": "HS256"})),
        with(&good, &json!({"alg": "none"})),
        with(&good, &json!({"crv": "secp256k1"})),
        with(&good, &json!({"crv": "P-384"})),
        with(&good, &json!({"x": "AA"})),
        with(&good, &json!({"x": good["y"], "y": good["x"]})),
        with(&good, &json!({"kid": "k".repeat(257)})),
        with(&good, &json!({"kid": 1})),
        with(&good, &json!({"y": null})),
        with(&rsa, &json!({"n": short})),
        with(&rsa, &json!({"e": ""})),
        with(&rsa, &json!({"e": "Ag"})),
        with(&rsa, &json!({"e": "AQ"})),
        with(&rsa, &json!({"n": "!"})),
        json!({"kty": "OKP", "crv": "X25519", "x": encode([1; 32])}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": encode([1; 31])}),
    ];
    for key in &bad {
        assert!(matches!(network(&json!([key])), Err(KeysError::NoneUsable(_))), "{key}");
    }
    let mut all = bad.to_vec();
    all.insert(3, good);
    let keys = network(&all.into()).unwrap();
    assert_eq!((keys.list().len(), keys.skipped().len()), (1, bad.len()));
    assert_eq!(keys.ids().into_iter().collect::<Vec<_>>(), ["good"]);
}

#[test]
fn a_key_does_what_it_says_and_no_more() {
    let rsa = Signer::rsa("r", Algorithm::Rs256).jwk;
    let padded = with(&rsa, &json!({"n": format!("{}=", rsa["n"].as_str().unwrap())}));
    for (jwk, algorithms) in [
        (rsa.clone(), Algorithms::RSA),
        (padded, Algorithms::RSA),
        (with(&rsa, &json!({"alg": "PS384", "use": "sig"})), Algorithms::of(&[Algorithm::Ps384])),
        (with(&rsa, &json!({"key_ops": ["verify", "sign"]})), Algorithms::RSA),
        (Signer::es384("e").jwk, Algorithms::of(&[Algorithm::Es384])),
        (Signer::eddsa("d").jwk, Algorithms::of(&[Algorithm::EdDsa])),
        (with(&Signer::eddsa("d").jwk, &json!({"alg": "Ed25519"})), Algorithms::of(&[Algorithm::EdDsa])),
    ] {
        assert_eq!(network(&json!([jwk])).unwrap().list()[0].algorithms, algorithms, "{jwk}");
    }
}

#[test]
fn secrets_and_public_keys_never_mix() {
    let secret = Signer::hmac(&[7; 32], Algorithm::Hs256).jwk;
    let public = Signer::es256("p").jwk;
    assert!(set(&[&secret]).list()[0].algorithms.has(Algorithm::Hs256));
    let mixed = set(&[&secret, &public]);
    assert_eq!(mixed.list().len(), 1);
    assert!(!mixed.list()[0].algorithms.has(Algorithm::Hs256));
}

#[test]
fn sets_are_sets_and_not_too_large() {
    let key = Signer::es256("a").jwk;
    assert!(network(&Value::from(vec![key.clone(); 100])).is_ok());
    assert_eq!(network(&Value::from(vec![key.clone(); 101])).unwrap_err(), KeysError::TooMany(101));
    for text in ["", "[]", "{}", "{\"keys\":{}}", "<html>", "{\"keys\":[]", &key.to_string()] {
        assert!(matches!(Keys::from_jwks(text.as_bytes(), Origin::File), Err(KeysError::NotASet(_))), "{text}");
    }
    assert!(matches!(network(&json!([])), Err(KeysError::NoneUsable(_))));
}

#[test]
fn a_key_is_found_by_its_id_or_by_having_none() {
    let mut nameless = Signer::es256("x").jwk;
    nameless.as_object_mut().unwrap().remove("kid");
    let keys = set(&[&Signer::es256("a").jwk, &Signer::es256("b").jwk, &nameless, &Signer::eddsa("b").jwk]);
    let found = |id| keys.named(id).map(|key| key.id.as_deref().unwrap_or("-")).collect::<Vec<_>>();
    assert_eq!(found(Some("a")), ["a"]);
    assert_eq!(found(Some("b")), ["b", "b"]);
    assert_eq!(found(Some("c")), ["-"]);
    assert_eq!(found(None), ["a", "b", "-", "b"]);
}

#[test]
fn pem_files_hold_public_keys() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let public = pem("PUBLIC KEY", public.as_ref());
    let private = pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
    let keys = Keys::from_pem(format!("a comment\n{public}\n{public}").as_bytes()).unwrap();
    assert_eq!(keys.list().len(), 2);
    assert_eq!(keys.list()[0].algorithms, Algorithms::of(&[Algorithm::Es256]));
    for (text, why) in [
        (String::new(), "BEGIN PUBLIC KEY"),
        (private, "private key"),
        (public.replace("-----END", "----- END"), "has no end"),
        (pem("PUBLIC KEY", b"0"), "is not an RSA key"),
        (pem("CERTIFICATE REQUEST", &[0x30, 0]), "is not an RSA key"),
        (public.repeat(9), "at most 8"),
    ] {
        let error = Keys::from_pem(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(Keys::from_pem(b"\xff").is_err());
}
