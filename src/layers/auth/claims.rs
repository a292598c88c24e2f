//! What a token's payload must say: each check by itself, in a fixed order, over claims of the types that RFC 7519 §4.1
//! gives them. Time is passed in, as seconds since the epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::failure::Failure;
use crate::base::identity::find;

/// What is asked of every token of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRules {
    /// Who must have issued it.
    pub issuer: Option<String>,
    /// For whom: one of these. Empty asks nothing.
    pub audience: Vec<String>,
    /// Claims that must be there; `exp` always must.
    pub required: Vec<String>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// Longest time from `iat` to `exp`; zero asks nothing.
    pub max_lifetime: Duration,
    /// By subject, the moment (seconds since the epoch) before which its tokens were issued that count no more.
    pub revoked_before: BTreeMap<String, u64>,
}

impl Default for ClaimRules {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: Vec::new(),
            required: vec!["exp".to_owned()],
            leeway: Duration::from_secs(30),
            max_lifetime: Duration::ZERO,
            revoked_before: BTreeMap::new(),
        }
    }
}

/// What a token says.
pub type Claims = Map<String, Value>;

/// One check.
pub struct Check {
    /// What it is about: a claim, or a key of the configuration.
    pub name: &'static str,
    /// Whether the claims pass, at this moment.
    pub passes: fn(&Claims, &ClaimRules, u64) -> Result<(), Failure>,
}

/// Every check, in the order in which they are made.
pub const CHECKS: &[Check] = &[
    Check { name: "exp", passes: expiry },
    Check { name: "nbf", passes: not_before },
    Check { name: "iat", passes: issued_at },
    Check { name: "max_lifetime", passes: lifetime },
    Check { name: "iss", passes: issuer },
    Check { name: "aud", passes: audience },
    Check { name: "sub", passes: subject },
    Check { name: "jti", passes: token_id },
    Check { name: "required_claims", passes: required },
    Check { name: "revoked_before", passes: revoked_before },
];

/// Reads a payload.
///
/// # Errors
/// When it is not a JSON object.
pub fn parse(payload: &[u8]) -> Result<Claims, Failure> {
    serde_json::from_slice(payload).map_err(|_| Failure::Payload)
}

/// Makes every check.
///
/// # Errors
/// The first that fails.
pub fn check(claims: &Claims, rules: &ClaimRules, now: u64) -> Result<(), Failure> {
    CHECKS.iter().try_for_each(|check| (check.passes)(claims, rules, now))
}

/// When the token is over, leeway included: from this second on it is refused.
pub fn over(claims: &Claims, rules: &ClaimRules) -> u64 {
    let expiry = date(claims, "exp").ok().flatten().unwrap_or_default();
    expiry.saturating_add(rules.leeway.as_secs())
}

fn expiry(claims: &Claims, rules: &ClaimRules, now: u64) -> Result<(), Failure> {
    let expiry = date(claims, "exp")?.ok_or_else(|| Failure::MissingClaim("exp".to_owned()))?;
    match now >= expiry.saturating_add(rules.leeway.as_secs()) {
        true => Err(Failure::Expired(now - expiry)),
        false => Ok(()),
    }
}

fn not_before(claims: &Claims, rules: &ClaimRules, now: u64) -> Result<(), Failure> {
    let latest = now.saturating_add(rules.leeway.as_secs());
    match date(claims, "nbf")? {
        Some(begin) if begin > latest => Err(Failure::NotYetValid(begin - now)),
        _ => Ok(()),
    }
}

fn issued_at(claims: &Claims, rules: &ClaimRules, now: u64) -> Result<(), Failure> {
    let latest = now.saturating_add(rules.leeway.as_secs());
    match date(claims, "iat")? {
        Some(issued) if issued > latest => Err(Failure::IssuedInFuture(issued - now)),
        _ => Ok(()),
    }
}

/// A token without `iat` counts as issued now: what is left of it must not be too long.
fn lifetime(claims: &Claims, rules: &ClaimRules, now: u64) -> Result<(), Failure> {
    let most = rules.max_lifetime.as_secs();
    if rules.max_lifetime.is_zero() {
        return Ok(());
    }
    let expiry = date(claims, "exp")?.unwrap_or(u64::MAX);
    let issued = date(claims, "iat")?.unwrap_or_else(|| now.saturating_add(rules.leeway.as_secs()));
    match expiry.saturating_sub(issued) > most {
        true => Err(Failure::Lifetime),
        false => Ok(()),
    }
}

fn issuer(claims: &Claims, rules: &ClaimRules, _: u64) -> Result<(), Failure> {
    let found = text(claims, "iss")?;
    match (&rules.issuer, found) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Failure::MissingClaim("iss".to_owned())),
        (Some(wanted), Some(found)) if wanted == found => Ok(()),
        _ => Err(Failure::Issuer),
    }
}

fn audience(claims: &Claims, rules: &ClaimRules, _: u64) -> Result<(), Failure> {
    let wrong = Failure::ClaimType("aud");
    let found: Vec<&str> = match claims.get("aud") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect::<Option<_>>().ok_or(wrong)?,
        Some(_) => return Err(wrong),
    };
    if rules.audience.is_empty() || found.iter().any(|found| rules.audience.iter().any(|wanted| wanted == found)) {
        return Ok(());
    }
    match found.is_empty() {
        true => Err(Failure::MissingClaim("aud".to_owned())),
        false => Err(Failure::Audience),
    }
}

fn subject(claims: &Claims, _: &ClaimRules, _: u64) -> Result<(), Failure> {
    text(claims, "sub").map(drop)
}

fn token_id(claims: &Claims, _: &ClaimRules, _: u64) -> Result<(), Failure> {
    text(claims, "jti").map(drop)
}

fn required(claims: &Claims, rules: &ClaimRules, _: u64) -> Result<(), Failure> {
    let missing = |name: &&String| find(claims, name).is_none_or(Value::is_null);
    match rules.required.iter().find(missing) {
        Some(name) => Err(Failure::MissingClaim(name.clone())),
        None => Ok(()),
    }
}

/// A token that does not say when it was issued may be one of those that were taken back.
fn revoked_before(claims: &Claims, rules: &ClaimRules, _: u64) -> Result<(), Failure> {
    let Some(moment) = text(claims, "sub")?.and_then(|subject| rules.revoked_before.get(subject)) else {
        return Ok(());
    };
    match date(claims, "iat")? {
        Some(issued) if issued >= *moment => Ok(()),
        _ => Err(Failure::Revoked("issued before revoked_before")),
    }
}

/// A text; `None` where there is none.
pub(super) fn text<'a>(claims: &'a Claims, name: &'static str) -> Result<Option<&'a str>, Failure> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Failure::ClaimType(name)),
    }
}

/// A NumericDate (RFC 7519 §2), fractions cut off. Only a number that is not negative is one.
fn date(claims: &Claims, name: &'static str) -> Result<Option<u64>, Failure> {
    /// Later than this nothing is meant: the year 10000 and some.
    const LATEST: f64 = 1e12;
    let number = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(Failure::ClaimType(name)),
    };
    if let Some(whole) = number.as_u64() {
        return Ok(Some(whole));
    }
    match number.as_f64() {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the bounds were checked")]
        Some(float) if (0.0..LATEST).contains(&float) => Ok(Some(float as u64)),
        _ => Err(Failure::ClaimType(name)),
    }
}

/// The scopes that a token has: the words of `scope` (RFC 8693 §4.2), the elements or words of `scp`.
pub fn scopes(claims: &Claims) -> Vec<Box<str>> {
    let words = |value: Option<&Value>| -> Vec<Box<str>> {
        match value {
            Some(Value::String(text)) => text.split(' ').filter(|word| !word.is_empty()).map(Into::into).collect(),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(Into::into).collect(),
            _ => Vec::new(),
        }
    };
    let mut all = words(claims.get("scope"));
    all.extend(words(claims.get("scp")));
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
