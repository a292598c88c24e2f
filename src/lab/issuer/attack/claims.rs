//! Good signatures of claims that must not pass: of another time, for somebody else, or of types that a careless
//! comparison takes (RFC 7519 §4.1, RFC 8725 §3.8 to §3.12).

use serde_json::{Value, json};

use super::{Bench, Expect, without};
use crate::lab::issuer::key::KeyError;

const HOUR: i64 = 3600;

pub(super) fn add(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    times(bench)?;
    expiry_of_other_types(bench)?;
    issuers(bench)?;
    audiences(bench)
}

/// A good signature of the claims with this one as given.
fn say(
    bench: &mut Bench<'_>,
    expect: Expect,
    name: &str,
    claim: &str,
    raw: &str,
    about: &'static str,
) -> Result<(), KeyError> {
    let header = Value::Object(bench.header.clone()).to_string();
    let token = bench.seal_bytes(header.as_bytes(), bench.payload_with(claim, raw).as_bytes())?;
    bench.add(expect, name, about, token);
    Ok(())
}

fn times(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let now = bench.of.now;
    for (name, claim, time, about) in [
        ("expired", "exp", now - HOUR, "ended an hour ago"),
        ("expired-long-ago", "exp", 1, "ended in 1970"),
        ("expired-zero", "exp", 0, "ended at zero"),
        ("expired-negative", "exp", -1, "ended before time began"),
        ("expired-least", "exp", i64::MIN, "ended at the least number of 64 bits"),
        ("not-yet", "nbf", now + HOUR, "not valid for another hour"),
        ("not-yet-most", "nbf", i64::MAX, "not valid before the largest number of 64 bits"),
        ("issued-later", "iat", now + HOUR, "issued in an hour"),
    ] {
        say(bench, Expect::Refuse, name, claim, &time.to_string(), about)?;
    }
    for claim in ["nbf", "iat"] {
        let about = "a time that is no number";
        say(bench, Expect::Refuse, &format!("{claim}-text"), claim, &format!("\"{now}\""), about)?;
        say(bench, Expect::Refuse, &format!("{claim}-list"), claim, &format!("[{now}]"), about)?;
        say(bench, Expect::Refuse, &format!("{claim}-object"), claim, "{}", about)?;
        say(bench, Expect::Refuse, &format!("{claim}-bool"), claim, "true", about)?;
    }
    Ok(())
}

fn expiry_of_other_types(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let later = bench.of.now + HOUR;
    let token = bench.seal(&bench.header, &without(bench.of.claims, "exp"))?;
    bench.bad("exp-missing", "no end", token);
    let upper = without(bench.of.claims, "exp");
    let token = bench.seal(&bench.header, &super::with(&upper, "EXP", later))?;
    bench.bad("exp-upper-case", "an end by another name", token);
    for (name, raw, about) in [
        ("text", format!("\"{later}\""), "an end that is a text"),
        ("date", "\"2099-01-01T00:00:00Z\"".to_owned(), "an end that is a date"),
        ("null", "null".to_owned(), "an end that is null"),
        ("bool", "true".to_owned(), "an end that is true"),
        ("list", format!("[{later}]"), "an end that is a list"),
        ("object", format!("{{\"$gt\":{later}}}"), "an end that is an object"),
        ("not-a-number", "NaN".to_owned(), "an end that no JSON has"),
        ("infinite", "Infinity".to_owned(), "an end that no JSON has"),
        ("hexadecimal", "0x7fffffff".to_owned(), "an end that no JSON has"),
        ("leading-zero", format!("0{later}"), "an end that no JSON has"),
        ("plus", format!("+{later}"), "an end that no JSON has"),
        ("fraction-past", format!("{}.5", bench.of.now - HOUR), "an end in the past, with a fraction"),
        ("exponent-past", "1e9".to_owned(), "an end in the past, with an exponent"),
        ("tiny", "1e-400".to_owned(), "an end too close to zero"),
        ("wraps-to-past", "-18446744073709551615".to_owned(), "an end before all numbers of 64 bits"),
    ] {
        say(bench, Expect::Refuse, &format!("exp-{name}"), "exp", &raw, about)?;
    }
    for (name, raw, about) in [
        ("fraction", format!("{later}.5"), "an end with a fraction, which RFC 7519 §2 allows"),
        ("exponent", "4e9".to_owned(), "an end with an exponent, which RFC 7519 §2 allows"),
        ("most-signed", i64::MAX.to_string(), "the largest number of 64 bits with a sign"),
        ("most-unsigned", u64::MAX.to_string(), "the largest number of 64 bits"),
        ("huge", "9".repeat(40), "a number of 40 digits"),
        ("overflow", "1e400".to_owned(), "a number that is infinite for many"),
    ] {
        say(bench, Expect::Either, &format!("exp-{name}"), "exp", &raw, about)?;
    }
    let past = bench.of.now - HOUR;
    say(
        bench,
        Expect::Refuse,
        "exp-twice-last-past",
        "exp",
        &format!("{later},\"exp\":{past}"),
        "two ends, the last in the past",
    )?;
    say(
        bench,
        Expect::Either,
        "exp-twice-first-past",
        "exp",
        &format!("{past},\"exp\":{later}"),
        "two ends, the first in the past",
    )
}

/// Only where the real claims have an issuer: the verifier has to want this one.
fn issuers(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let Some(Value::String(issuer)) = bench.of.claims.get("iss").cloned() else { return Ok(()) };
    let token = bench.seal(&bench.header, &without(bench.of.claims, "iss"))?;
    bench.bad("iss-missing", "no issuer", token);
    for (name, value) in [
        ("other", json!("https://forger.example/")),
        ("longer", json!(format!("{issuer}.forger.example"))),
        ("shorter", json!(issuer.char_indices().next_back().map_or("", |(at, _)| &issuer[..at]))),
        ("slash", json!(issuer.strip_suffix('/').map_or_else(|| format!("{issuer}/"), str::to_owned))),
        ("case", json!(swap_case(&issuer))),
        ("space", json!(format!("{issuer} "))),
        ("nul", json!(format!("{issuer}\0"))),
        ("list", json!([issuer])),
        ("list-of-two", json!(["https://forger.example/", issuer])),
        ("object", json!({ issuer.as_str(): true })),
        ("null", Value::Null),
        ("number", json!(5)),
        ("empty", json!("")),
    ] {
        if value != json!(issuer) {
            let token = bench.seal(&bench.header, &bench.claims_with("iss", value))?;
            bench.bad(format!("iss-{name}"), "an issuer that is not the real one", token);
        }
    }
    Ok(())
}

/// Only where the real claims have an audience: the verifier has to want this one.
fn audiences(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let audience = match bench.of.claims.get("aud") {
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(several)) if several.first().is_some_and(Value::is_string) => {
            several[0].as_str().unwrap_or_default().to_owned()
        }
        _ => return Ok(()),
    };
    let token = bench.seal(&bench.header, &without(bench.of.claims, "aud"))?;
    bench.bad("aud-missing", "no audience", token);
    for (name, value) in [
        ("other", json!("https://other.example")),
        ("others", json!(["https://other.example", "https://another.example"])),
        ("longer", json!(format!("{audience}-other"))),
        ("shorter", json!(audience.char_indices().next_back().map_or("", |(at, _)| &audience[..at]))),
        ("case", json!(swap_case(&audience))),
        ("words", json!(format!("other {audience}"))),
        ("comma", json!(format!("other,{audience}"))),
        ("list-in-list", json!([[audience]])),
        ("object", json!({ audience.as_str(): true })),
        ("star", json!("*")),
        ("empty", json!("")),
        ("empty-list", json!([])),
        ("null", Value::Null),
        ("number", json!(1)),
        ("bool", json!(true)),
    ] {
        if value != json!(audience) {
            let token = bench.seal(&bench.header, &bench.claims_with("aud", value))?;
            bench.bad(format!("aud-{name}"), "an audience that is not the verifier", token);
        }
    }
    Ok(())
}

fn swap_case(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect()
}
