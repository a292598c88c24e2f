//! Every known forgery of a token, each under a name, for trying what checks tokens: made from a real key, so that only
//! the forged part is wrong. Sources are RFC 8725, the advisories of past years and the mistakes that invite them. Prints
//! nothing and sends nothing.

mod algorithm;
mod certificate;
mod claims;
mod header;
mod shape;
mod signature;

use serde::Serialize;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::key::{Key, KeyError};
use super::token::{self, Members};

/// What has to come of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// It is good: who refuses it refuses too much.
    Accept,
    /// It must not pass.
    Refuse,
    /// It may pass or not, by what is set; it must break nothing.
    Either,
}

/// A token to try.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Its name.
    pub name: String,
    /// What has to come of it.
    pub expect: Expect,
    /// What it tries, in a few words.
    pub about: &'static str,
    /// The token.
    pub token: String,
}

/// What the forgeries are made from.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    /// The key of the issuer.
    pub key: &'a Key,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// The name under which the verifier knows it.
    pub kid: Option<&'a str>,
    /// Claims that the verifier takes.
    pub claims: &'a Members,
    /// The key set as it is published, byte by byte, if there is one besides our own.
    pub jwks: Option<&'a [u8]>,
    /// Seconds since 1970.
    pub now: i64,
}

/// All of them; the first ones are good.
///
/// # Errors
/// The algorithm is not for this key.
pub fn attempts(material: &Material<'_>) -> Result<Vec<Attempt>, KeyError> {
    let mut bench = Bench::new(material)?;
    controls(&mut bench)?;
    algorithm::add(&mut bench)?;
    signature::add(&mut bench)?;
    header::add(&mut bench)?;
    claims::add(&mut bench)?;
    shape::add(&mut bench)?;
    Ok(bench.made)
}

/// Where forgeries are made.
struct Bench<'a> {
    of: &'a Material<'a>,
    /// The header of a good token.
    header: Members,
    /// A good token.
    good: String,
    /// A key of the same kind, the forger's own.
    rogue: Key,
    made: Vec<Attempt>,
}

impl<'a> Bench<'a> {
    fn new(of: &'a Material<'a>) -> Result<Self, KeyError> {
        let header = token::header(of.algorithm, of.kid, &Members::new());
        let good = token::signed(&header, of.claims, of.key, of.algorithm)?;
        Ok(Self { of, header, good, rogue: Key::generate(of.algorithm, 2048)?, made: Vec::new() })
    }

    /// Lays a token down.
    fn add(&mut self, expect: Expect, name: impl Into<String>, about: &'static str, token: impl Into<String>) {
        self.made.push(Attempt { name: name.into(), expect, about, token: token.into() });
    }

    /// One that must not pass.
    fn bad(&mut self, name: impl Into<String>, about: &'static str, token: impl Into<String>) {
        self.add(Expect::Refuse, name, about, token);
    }

    /// The parts of the good token.
    fn parts(&self) -> [&str; 3] {
        let mut parts = self.good.splitn(3, '.');
        std::array::from_fn(|_| parts.next().unwrap_or_default())
    }

    /// The good header with one member changed.
    fn header_with(&self, name: &str, value: impl Into<Value>) -> Members {
        with(&self.header, name, value)
    }

    /// The good claims with one member changed.
    fn claims_with(&self, name: &str, value: impl Into<Value>) -> Members {
        with(self.of.claims, name, value)
    }

    /// Signed by the real key.
    fn seal(&self, header: &Members, claims: &Members) -> Result<String, KeyError> {
        token::signed(header, claims, self.of.key, self.of.algorithm)
    }

    /// Bytes signed by the real key.
    fn seal_bytes(&self, header: &[u8], payload: &[u8]) -> Result<String, KeyError> {
        token::signed_bytes(header, payload, self.of.key, self.of.algorithm)
    }

    /// The good claims under a header of the forger's, signed by the forger's key.
    fn forge(&self, header: &Members) -> Result<String, KeyError> {
        token::signed(header, self.of.claims, &self.rogue, self.of.algorithm)
    }

    /// The good claims as JSON.
    fn payload(&self) -> String {
        token::text(self.of.claims)
    }

    /// The good claims as JSON in which one member stands as given, JSON or not.
    fn payload_with(&self, name: &str, raw: &str) -> String {
        splice(self.of.claims, name, raw)
    }
}

fn controls(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let good = bench.good.clone();
    bench.add(Expect::Accept, "control", "a good token, as it is issued", good);
    let spaced = |members: &Members| serde_json::to_string_pretty(members).unwrap_or_default();
    let token = bench.seal_bytes(spaced(&bench.header).as_bytes(), spaced(bench.of.claims).as_bytes())?;
    bench.add(Expect::Accept, "control-spaced", "a good token whose JSON has spaces and line breaks", token);
    let token = bench.seal(&bench.header_with("x-extra", "ignored"), &bench.claims_with("x-extra", "ignored"))?;
    bench.add(Expect::Accept, "control-unknown-members", "a good token with members that nobody knows", token);
    if let Some(Value::String(audience)) = bench.of.claims.get("aud") {
        let several = bench.claims_with("aud", vec!["https://other.example".to_owned(), audience.clone()]);
        let token = bench.seal(&bench.header, &several)?;
        bench.add(Expect::Accept, "control-aud-list", "a good token for two audiences", token);
    }
    Ok(())
}

fn with(members: &Members, name: &str, value: impl Into<Value>) -> Members {
    let mut members = members.clone();
    members.insert(name.to_owned(), value.into());
    members
}

fn without(members: &Members, name: &str) -> Members {
    let mut members = members.clone();
    members.remove(name);
    members
}

/// Members as JSON in which one stands as given, JSON or not.
fn splice(members: &Members, name: &str, raw: &str) -> String {
    let rest = token::text(&without(members, name));
    let rest = rest.trim_start_matches('{');
    let comma = if rest == "}" { "" } else { "," };
    format!("{{\"{name}\":{raw}{comma}{rest}")
}

#[cfg(test)]
mod tests;
