//! Whether a token is what it says it is: its signature by a key that may make one, then its claims. Pure: no clock, no
//! network, no cache. The algorithm is what key and configuration allow; a token can only name one of those.

use super::algorithm::Algorithm;
use super::claims::{self, ClaimRules, Claims};
use super::failure::{Failure, shown};
use super::jws::Jws;
use super::keys::{Key, Keys};

/// Keys that are tried for a token that does not say which one it is.
pub const TRIES: usize = 8;

/// What a provider asks of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Algorithms that are allowed, of those that the keys allow. Empty means all of those.
    pub algorithms: Vec<Algorithm>,
    /// What the claims must say.
    pub claims: ClaimRules,
}

/// Verifies a token at a moment, given as seconds since the epoch.
///
/// # Errors
/// The first thing that is wrong with it: form, then signature, then claims.
pub fn verify(token: &[u8], keys: &Keys, rules: &Rules, now: u64) -> Result<Claims, Failure> {
    verify_parsed(&Jws::parse(token)?, keys, rules, now)
}

/// The same for a token that has been taken apart.
///
/// # Errors
/// Likewise.
pub fn verify_parsed(jws: &Jws<'_>, keys: &Keys, rules: &Rules, now: u64) -> Result<Claims, Failure> {
    verify_signature(jws, keys, &rules.algorithms)?;
    let claims = claims::parse(&jws.payload)?;
    claims::check(&claims, &rules.claims, now)?;
    Ok(claims)
}

/// Verifies the signature alone, and returns the key that it is by. `allowed` cuts down what the keys allow; empty does
/// not.
///
/// # Errors
/// When no key has the token's id, none may be used with its algorithm, or the signature is wrong.
pub fn verify_signature<'a>(jws: &'a Jws<'_>, keys: &'a Keys, allowed: &[Algorithm]) -> Result<&'a Key, Failure> {
    let algorithm = jws.header.algorithm;
    let refused = || Failure::Algorithm(algorithm.name().to_owned());
    if !allowed.is_empty() && !allowed.contains(&algorithm) {
        return Err(refused());
    }
    let mut named = keys.named(jws.header.key_id.as_deref()).peekable();
    if named.peek().is_none() {
        return Err(Failure::UnknownKey(shown(jws.header.key_id.as_deref().unwrap_or_default())));
    }
    let mut able = named.filter(|key| key.algorithms.has(algorithm)).take(TRIES).peekable();
    if able.peek().is_none() {
        return Err(refused());
    }
    able.find(|key| signed_by(jws, key)).ok_or(Failure::Signature)
}

fn signed_by(jws: &Jws<'_>, key: &Key) -> bool {
    let algorithm = jws.header.algorithm.primitive();
    jsonwebtoken::crypto::verify(jws.signature, jws.signed, &key.primitive, algorithm).unwrap_or(false)
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
