//! Lies about the algorithm: none at all, or one that takes the public key for a shared secret (RFC 8725 §2.1).

use serde_json::{Value, json};

use super::{Bench, without};
use crate::lab::issuer::algorithm::{Algorithm, Family};
use crate::lab::issuer::jwk;
use crate::lab::issuer::key::{KeyError, PublicNumbers, mac};
use crate::lab::issuer::token::{self, encode};

/// Secrets that are guessed first.
const COMMON: &[&str] = &["secret", "password", "changeme", "your-256-bit-secret", "key"];

pub(super) fn add(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    none(bench);
    named_wrongly(bench)?;
    weak_secrets(bench);
    if bench.of.key.family() != Family::Hmac {
        confused(bench);
    }
    Ok(())
}

fn none(bench: &mut Bench<'_>) {
    let about = "no signature at all";
    for (name, spelling) in [
        ("none", "none"),
        ("none-capital", "None"),
        ("none-upper", "NONE"),
        ("none-mixed", "nOnE"),
        ("none-space", "none "),
        ("none-space-before", " none"),
        ("none-tab", "none\t"),
        ("none-nul", "none\0"),
        ("none-dotless", "n\u{f6}ne"),
        ("empty", ""),
    ] {
        let input = input(bench, &bench.header_with("alg", spelling).into());
        bench.bad(format!("alg-{name}"), about, format!("{input}."));
    }
    let input_of_none = input(bench, &bench.header_with("alg", "none").into());
    let signature = bench.parts()[2].to_owned();
    bench.bad("alg-none-no-last-dot", "no signature, nor the dot before it", input_of_none.clone());
    bench.bad(
        "alg-none-old-signature",
        "`none` with the signature of another token",
        format!("{input_of_none}.{signature}"),
    );
    bench.bad("alg-none-some-signature", "`none` with a signature of one byte", format!("{input_of_none}.AA"));
}

/// Signed by the real key, with a name that the verifier must not take for its algorithm.
fn named_wrongly(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let right = bench.of.algorithm.as_str();
    let missing = bench.seal(&without(&bench.header, "alg"), bench.of.claims)?;
    bench.bad("alg-missing", "a good signature under a header without `alg`", missing);
    for (name, value) in [
        ("null", Value::Null),
        ("number", json!(256)),
        ("list", json!([right])),
        ("object", json!({ "name": right })),
        ("lower-case", json!(right.to_ascii_lowercase())),
        ("space", json!(format!("{right} "))),
        ("unknown", json!("XS256")),
    ] {
        if value == right {
            continue;
        }
        let token = bench.seal(&bench.header_with("alg", value), bench.of.claims)?;
        bench.bad(format!("alg-{name}"), "a good signature, and an `alg` that is no name of one", token);
    }
    let others = Algorithm::ALL.into_iter().filter(|other| *other != bench.of.algorithm);
    for other in others {
        let token = bench.seal(&bench.header_with("alg", other.as_str()), bench.of.claims)?;
        let name = format!("alg-says-{}", other.as_str().to_ascii_lowercase());
        bench.bad(name, "a good signature under the name of another algorithm", token);
    }
    Ok(())
}

fn weak_secrets(bench: &mut Bench<'_>) {
    let empty = hmac(bench, Algorithm::Hs256, b"");
    bench.bad("hmac-empty-key", "HS256 with an empty secret", empty);
    for secret in COMMON {
        let token = hmac(bench, Algorithm::Hs256, secret.as_bytes());
        let real = bench.of.algorithm == Algorithm::Hs256 && token == bench.good;
        if !real {
            bench.bad(format!("hmac-common-{secret}"), "HS256 with a secret that is guessed first", token);
        }
    }
}

/// HMAC under what everybody knows: the public key, in every form that a program may hold it in.
fn confused(bench: &mut Bench<'_>) {
    let key = bench.of.key;
    let mut forms: Vec<(&str, Vec<u8>)> = Vec::new();
    if let (Some(pem), Some(der)) = (key.public_pem(), key.public_der()) {
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        forms.push(("pem-trimmed", pem.trim_end().into()));
        forms.push(("pem-crlf", pem.replace('\n', "\r\n").into()));
        forms.push(("pem-body", body.into()));
        forms.push(("pem", pem.into()));
        forms.push(("der", der));
    }
    if let Some(der) = key.rsa_public_der() {
        forms.push(("pkcs1-pem", crate::lab::issuer::pem::write("RSA PUBLIC KEY", &der).into()));
        forms.push(("pkcs1-der", der));
    }
    match key.public() {
        Some(PublicNumbers::Rsa { n, .. }) => {
            forms.push(("jwk-n-text", encode(&n).into()));
            forms.push(("jwk-n", n));
        }
        Some(PublicNumbers::Ec { x, y, .. }) => {
            forms.push(("point", [&[4][..], &x, &y].concat()));
            forms.push(("jwk-x-text", encode(&x).into()));
            forms.push(("jwk-x", x));
        }
        Some(PublicNumbers::Okp { x }) => {
            forms.push(("jwk-x-text", encode(&x).into()));
            forms.push(("jwk-x", x));
        }
        None => {}
    }
    if let Some(jwk) = jwk::public(key, bench.of.kid, Some(bench.of.algorithm)) {
        forms.push(("jwk", jwk.to_string().into()));
        forms.push(("jwks", jwk::set([jwk]).to_string().into()));
    }
    if let Some(published) = bench.of.jwks {
        forms.push(("jwks-as-published", published.to_vec()));
    }
    for (name, bytes) in forms {
        for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
            let token = hmac(bench, algorithm, &bytes);
            let digest = algorithm.as_str().to_ascii_lowercase();
            bench.bad(format!("{digest}-with-{name}"), "HMAC with the public key for a secret", token);
        }
    }
}

/// The good claims under an HMAC.
fn hmac(bench: &Bench<'_>, algorithm: Algorithm, secret: &[u8]) -> String {
    let input = input(bench, &bench.header_with("alg", algorithm.as_str()).into());
    let signature = encode(&mac(algorithm, secret, input.as_bytes()));
    format!("{input}.{signature}")
}

fn input(bench: &Bench<'_>, header: &Value) -> String {
    token::input(header.to_string().as_bytes(), bench.payload().as_bytes())
}
