//! Tokens that are not three parts of strict base64url of two JSON objects (RFC 7515 §2, §5.2; RFC 8725 §3.11).

use super::{Bench, Expect, splice, with};
use crate::lab::issuer::key::KeyError;
use crate::lab::issuer::token;

pub(super) fn add(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    parts(bench);
    encodings(bench)?;
    json_of_the_header(bench)?;
    json_of_the_payload(bench)
}

fn parts(bench: &mut Bench<'_>) {
    let [head, payload, signature] = bench.parts().map(str::to_owned);
    let good = bench.good.clone();
    let half = &good[..good.len() / 2];
    let tail = &good[..good.len() - 1];
    for (name, token) in [
        ("truncated", half.to_owned()),
        ("truncated-last", tail.to_owned()),
        ("one-part", head.clone()),
        ("two-parts", format!("{head}.{payload}")),
        ("four-parts", format!("{good}.{signature}")),
        ("four-parts-empty", format!("{good}.")),
        ("five-parts", format!("{head}..{payload}.{signature}.{signature}")),
        ("dot-before", format!(".{good}")),
        ("only-dots", "..".to_owned()),
        ("many-dots", ".".repeat(2000)),
        ("no-header", format!(".{payload}.{signature}")),
        ("no-payload", format!("{head}..{signature}")),
        ("nested-dots", format!("{head}.{payload}..{signature}")),
        ("exchanged", format!("{payload}.{head}.{signature}")),
        ("twice", format!("{good}{good}")),
        ("twice-comma", format!("{good},{good}")),
        ("json", format!("{{\"protected\":\"{head}\",\"payload\":\"{payload}\",\"signature\":\"{signature}\"}}")),
        ("word", "null".to_owned()),
        ("undefined", "undefined".to_owned()),
    ] {
        bench.bad(format!("shape-{name}"), "not three parts", token);
    }
}

fn encodings(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let [head, payload, signature] = bench.parts().map(str::to_owned);
    for (name, token) in [
        ("padding", format!("{}.{}.{}", padded(&head), padded(&payload), padded(&signature))),
        ("padding-signature", format!("{head}.{payload}.{signature}=")),
        ("padding-more", format!("{head}.{payload}.{signature}====")),
        ("space-inside", format!("{head}.{payload}. {signature}")),
        ("space-before-dot", format!("{head} .{payload}.{signature}")),
        ("trailing-sign", format!("{head}.{payload}.{signature}~")),
        ("trailing-semicolon", format!("{head}.{payload}.{signature};a=b")),
        ("escaped-dots", format!("{head}%2E{payload}%2E{signature}")),
        ("sign-inside", format!("{}*{}.{payload}.{signature}", &head[..2], &head[2..])),
        ("quoted", format!("\"{head}.{payload}.{signature}\"")),
        ("letter-more", format!("{head}.{payload}.{signature}A")),
    ] {
        // What needs no padding is not changed by it.
        if token != bench.good {
            bench.bad(format!("base64-{name}"), "not strict base64url", token);
        }
    }
    // Three question marks in a row are an underscore wherever they stand, three angle brackets a dash.
    let token = bench.seal(&bench.header, &bench.claims_with("x-extra", "???>>>"))?;
    bench.bad("base64-alphabet", "the alphabet of ordinary base64", token.replace('-', "+").replace('_', "/"));
    if let Some(token) = other_last(&signature).map(|other| format!("{head}.{payload}.{other}")) {
        bench.bad("base64-loose-bits", "bits of the last character that belong to no byte", token);
    }
    Ok(())
}

fn json_of_the_header(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let good = token::text(&bench.header);
    let alg = bench.of.algorithm.as_str();
    let payload = bench.payload();
    let broken: [(&str, Vec<u8>); 9] = [
        ("empty", Vec::new()),
        ("empty-object", b"{}".to_vec()),
        ("list", format!("[{good}]").into()),
        ("text", format!("\"{alg}\"").into()),
        ("null", b"null".to_vec()),
        ("trailing-data", format!("{good}x").into()),
        ("two", format!("{good}{good}").into()),
        ("not-utf8", [&good.as_bytes()[..good.len() - 1], b",\"x\":\"\xff\xfe\"}"].concat()),
        ("deep", format!("{}{}", "[".repeat(1500), "]".repeat(1500)).into()),
    ];
    for (name, bytes) in broken {
        let token = bench.seal_bytes(&bytes, payload.as_bytes())?;
        bench.bad(format!("header-{name}"), "a good signature of a header that is no JSON object", token);
    }
    let input = token::input(
        splice(&bench.header, "alg", &format!("\"{alg}\",\"alg\":\"none\"")).as_bytes(),
        payload.as_bytes(),
    );
    bench.bad("header-alg-twice-none-last", "two algorithms, the last is none, and no signature", format!("{input}."));
    let input = token::input(
        splice(&bench.header, "alg", &format!("\"none\",\"alg\":\"{alg}\"")).as_bytes(),
        payload.as_bytes(),
    );
    bench.bad(
        "header-alg-twice-none-first",
        "two algorithms, the first is none, and no signature",
        format!("{input}."),
    );
    let twice = splice(&bench.header, "alg", &format!("\"none\",\"alg\":\"{alg}\""));
    let token = bench.seal_bytes(twice.as_bytes(), payload.as_bytes())?;
    bench.add(Expect::Either, "header-alg-twice-signed", "two algorithms and a good signature", token);
    let escaped = splice(&bench.header, "\\u0061lg", "\"none\"").replace("\"alg\":", "\"x\":");
    let input = token::input(escaped.as_bytes(), payload.as_bytes());
    bench.bad("header-alg-escaped", "`alg` written with an escape, none, and no signature", format!("{input}."));
    let marked = [&[0xef, 0xbb, 0xbf], good.as_bytes()].concat();
    let token = bench.seal_bytes(&marked, payload.as_bytes())?;
    bench.add(
        Expect::Either,
        "header-byte-order-mark",
        "a mark before the JSON, which RFC 8259 §8.1 lets be ignored",
        token,
    );
    Ok(())
}

fn json_of_the_payload(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let header = token::text(&bench.header);
    let good = bench.payload();
    let nested = bench.good.clone();
    let broken: [(&str, Vec<u8>); 9] = [
        ("empty", Vec::new()),
        ("list", format!("[{good}]").into()),
        ("text", b"\"admin\"".to_vec()),
        ("number", b"1".to_vec()),
        ("null", b"null".to_vec()),
        ("trailing-data", format!("{good}x").into()),
        ("two", format!("{good}{good}").into()),
        ("not-utf8", [&good.as_bytes()[..good.len() - 1], b",\"x\":\"\xff\xfe\"}"].concat()),
        ("token", nested.into()),
    ];
    for (name, bytes) in broken {
        let token = bench.seal_bytes(header.as_bytes(), &bytes)?;
        bench.bad(format!("payload-{name}"), "a good signature of a payload that is no JSON object", token);
    }
    let said = with(&bench.header, "cty", "JWT");
    let token = bench.seal_bytes(token::text(&said).as_bytes(), bench.good.clone().as_bytes())?;
    bench.bad("payload-nested", "a token that has another one for its payload", token);
    let deep = bench.payload_with("x-extra", &format!("{}{}", "[".repeat(1000), "]".repeat(1000)));
    let token = bench.seal_bytes(header.as_bytes(), deep.as_bytes())?;
    bench.add(Expect::Either, "payload-deep", "a claim of a thousand lists", token);
    let twice = bench.payload_with("sub", "\"user\",\"sub\":\"admin\"");
    let token = bench.seal_bytes(header.as_bytes(), twice.as_bytes())?;
    bench.add(Expect::Either, "payload-sub-twice", "two subjects, which RFC 7519 §4 lets be refused", token);
    Ok(())
}

fn padded(part: &str) -> String {
    format!("{part}{}", "=".repeat((4 - part.len() % 4) % 4))
}

/// The same bytes with another last character: one that differs only in bits that belong to no byte.
fn other_last(part: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if part.len().is_multiple_of(4) {
        return None;
    }
    let (rest, last) = part.split_at(part.len() - 1);
    let value = ALPHABET.iter().position(|letter| last.as_bytes() == [*letter])?;
    Some(format!("{rest}{}", char::from(ALPHABET[value ^ 1])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::issuer::token::encode;

    #[test]
    fn loose_bits_are_those_that_no_byte_has() {
        assert_eq!((encode(b"a"), other_last(&encode(b"a"))), ("YQ".into(), Some("YR".into())));
        assert_eq!(other_last(&encode(b"abc")), None);
        assert_eq!((padded("YQ"), padded("YWI"), padded("YWJj")), ("YQ==".into(), "YWI=".into(), "YWJj".into()));
    }
}
