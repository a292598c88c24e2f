//! Headers that bring their own key, name one that leads elsewhere, or demand what nobody understands (RFC 7515 §4.1,
//! RFC 8725 §3.10).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Bench, Expect, certificate, with, without};
use crate::lab::issuer::algorithm::Algorithm;
use crate::lab::issuer::jwk;
use crate::lab::issuer::key::{KeyError, mac};
use crate::lab::issuer::token::{self, encode};

/// Where the forger's keys would be.
const ELSEWHERE: &str = "https://forger.example/keys";

pub(super) fn add(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    keys_of_its_own(bench)?;
    names_that_lead_elsewhere(bench)?;
    names_of_other_types(bench)?;
    demands(bench)?;
    unencoded(bench)
}

fn keys_of_its_own(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let rogue_kid = jwk::thumbprint(&bench.rogue).unwrap_or_else(|| "forger".to_owned());
    let own = bench.header_with("kid", rogue_kid.clone());
    let token = bench.forge(&own)?;
    bench.bad("kid-of-the-forger", "signed by another key under its own name", token);
    if let Some(jwk) = jwk::public(&bench.rogue, Some(&rogue_kid), Some(bench.of.algorithm)) {
        let token = bench.forge(&with(&own, "jwk", jwk.clone()))?;
        bench.bad("jwk", "the forger's key in the header", token);
        let mut renamed = jwk;
        renamed["kid"] = bench.header.get("kid").cloned().unwrap_or(Value::Null);
        let token = bench.forge(&bench.header_with("jwk", renamed))?;
        bench.bad("jwk-named-as-the-real", "the forger's key in the header under the real key's name", token);
    }
    if let Some(certificate) = certificate::of(&bench.rogue, bench.of.algorithm, bench.of.now) {
        let chain = json!([STANDARD.encode(certificate)]);
        let token = bench.forge(&bench.header_with("x5c", chain))?;
        bench.bad("x5c", "the forger's certificate in the header", token);
    }
    for (name, member, value) in [
        ("jku", "jku", ELSEWHERE),
        ("jku-file", "jku", "file:///dev/null"),
        ("jku-metadata", "jku", "http://169.254.169.254/latest/meta-data/"),
        ("jku-loopback", "jku", "http://127.0.0.1:9/keys"),
        ("jku-userinfo", "jku", "https://login.example.com@forger.example/keys"),
        ("x5u", "x5u", ELSEWHERE),
    ] {
        let token = bench.forge(&with(&own, member, value))?;
        bench.bad(name, "signed by another key, with the address where it would be found", token);
    }
    let empty = json!({"kty": "oct", "k": "", "kid": "own"});
    let header = with(&with(&bench.header, "alg", "HS256"), "jwk", empty);
    let token = hmac(bench, &header, b"");
    bench.bad("jwk-empty-secret", "an empty secret in the header", token);
    let token = bench.seal(&bench.header_with("jku", ELSEWHERE), bench.of.claims)?;
    bench.add(
        Expect::Either,
        "jku-ignored",
        "a good token that names another place; nothing may be fetched there",
        token,
    );
    Ok(())
}

/// A program that opens files, asks a database or runs a command by `kid` finds a key that the forger knows.
fn names_that_lead_elsewhere(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    for (name, kid, secret) in [
        ("path", "../../../../../../dev/null", &b""[..]),
        ("path-absolute", "/dev/null", b""),
        ("path-escaped", "..%2f..%2f..%2f..%2fdev%2fnull", b""),
        ("path-nul", "../../../../dev/null\0.pem", b""),
        ("path-hostname", "/proc/sys/kernel/randomize_va_space", b"2\n"),
        ("sql", "x' UNION SELECT 'secret' -- ", b"secret"),
        ("sql-or", "x' OR '1'='1", b""),
        ("command", "x|echo secret", b"secret\n"),
        ("template", "${7*7}{{7*7}}", b"49"),
        ("url", ELSEWHERE, b""),
    ] {
        let header = with(&bench.header_with("alg", "HS256"), "kid", kid);
        let token = hmac(bench, &header, secret);
        bench.bad(format!("kid-{name}"), "HMAC with the secret that this name would lead to", token);
        let token = bench.forge(&bench.header_with("kid", kid))?;
        bench.bad(format!("kid-{name}-forged"), "another key under a name that leads elsewhere", token);
    }
    let long = "k".repeat(3000);
    let token = bench.forge(&bench.header_with("kid", long))?;
    bench.bad("kid-long", "another key under a name of 3000 characters", token);
    let random = encode(&bench.rogue.sign(bench.of.algorithm, b"a name")?);
    let token = bench.seal(&bench.header_with("kid", random), bench.of.claims)?;
    bench.add(
        Expect::Either,
        "kid-unknown",
        "a good signature under a name that nobody has; refused where keys have names",
        token,
    );
    if bench.of.kid.is_some() {
        let token = bench.seal(&without(&bench.header, "kid"), bench.of.claims)?;
        bench.add(Expect::Either, "kid-missing", "a good signature without the key's name", token);
    }
    Ok(())
}

fn names_of_other_types(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let kid = bench.header.get("kid").cloned().unwrap_or(Value::Null);
    for (name, value) in
        [("number", json!(1)), ("list", json!([kid])), ("object", json!({ "kid": kid })), ("bool", json!(true))]
    {
        let token = bench.forge(&bench.header_with("kid", value.clone()))?;
        bench.bad(format!("kid-{name}-forged"), "another key, and a `kid` that is no text", token);
        let token = bench.seal(&bench.header_with("kid", value), bench.of.claims)?;
        bench.bad(format!("kid-{name}"), "a good signature, and a `kid` that is no text", token);
    }
    Ok(())
}

/// Who does not know what is critical has to refuse (RFC 7515 §4.1.11).
fn demands(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    for (name, about, crit, extra) in [
        ("unknown", "a demand that nobody knows", json!(["urn:example:x"]), Some("urn:example:x")),
        ("known-name", "a demand by the name of a usual member", json!(["alg"]), None),
        ("absent", "a demand whose member is absent", json!(["urn:example:y"]), None),
        ("empty", "an empty list of demands", json!([]), None),
        ("text", "demands that are no list", json!("urn:example:x"), Some("urn:example:x")),
        ("null", "demands that are null", Value::Null, None),
        ("numbers", "demands that are no texts", json!([1]), None),
    ] {
        let header = bench.header_with("crit", crit);
        let header = extra.map_or(header.clone(), |extra| with(&header, extra, true));
        let token = bench.seal(&header, bench.of.claims)?;
        // Many a reader takes null for absent.
        let expect = if name == "null" { Expect::Either } else { Expect::Refuse };
        bench.add(expect, format!("crit-{name}"), about, token);
    }
    Ok(())
}

/// Payloads that are signed as they stand (RFC 7797): a verifier that knows nothing of it reads something else.
fn unencoded(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let header = with(&bench.header_with("b64", false), "crit", json!(["b64"]));
    let token = bench.seal(&header, bench.of.claims)?;
    bench.bad("b64-false", "a payload that says it is not encoded, and is", token);
    let head = encode(token::text(&header).as_bytes());
    let signed = [head.as_bytes(), b".", bench.payload().as_bytes()].concat();
    let signature = encode(&bench.of.key.sign(bench.of.algorithm, &signed)?);
    let payload = encode(bench.payload().as_bytes());
    bench.bad("b64-false-signed-raw", "a payload that was signed unencoded", format!("{head}.{payload}.{signature}"));
    let token = bench.seal(&bench.header_with("b64", false), bench.of.claims)?;
    bench.add(Expect::Either, "b64-false-no-crit", "the same without the demand that belongs to it", token);
    Ok(())
}

fn hmac(bench: &Bench<'_>, header: &token::Members, secret: &[u8]) -> String {
    let input = token::input(token::text(header).as_bytes(), bench.payload().as_bytes());
    let signature = encode(&mac(Algorithm::Hs256, secret, input.as_bytes()));
    format!("{input}.{signature}")
}
