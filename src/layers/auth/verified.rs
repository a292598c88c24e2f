//! Tokens that were verified, so that a token costs its signature once. One such cache belongs to one policy and its
//! keys; a hash finds an entry, the exact bytes of the token decide. Only what is valid gets in, so no flood of bad
//! tokens can push a good one out.

use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderName, HeaderValue};

use super::recent::Recent;
use crate::base::identity::Identity;

/// Tokens per worker that are kept for certain, and their weight: about as many bytes.
const MOST: usize = 4096;
const HEAVIEST: usize = 4 << 20;
/// What is kept of a token, as a multiple of its own length.
const OVERHEAD: usize = 4;

/// What is known of a valid token, or of another credential.
#[derive(Debug)]
pub struct Verified {
    /// Who asks.
    pub identity: Arc<Identity>,
    /// Its `jti`.
    pub token_id: Option<Box<str>>,
    /// Its scopes.
    pub scopes: Vec<Box<str>>,
    /// What the upstream is told.
    pub fields: Box<[(HeaderName, HeaderValue)]>,
    /// From this moment on it counts no more, in seconds since the epoch.
    pub over: u64,
}

impl Verified {
    /// Who was vouched for by something else than a token, and what the upstream is told of it.
    pub fn lasting(identity: Identity, fields: Box<[(HeaderName, HeaderValue)]>) -> Self {
        Self { identity: Arc::new(identity), token_id: None, scopes: Vec::new(), fields, over: u64::MAX }
    }
}

/// The valid tokens of one policy, per worker.
#[derive(Debug)]
pub struct VerifiedTokens(Box<[Mutex<Slot>]>);

#[derive(Debug)]
struct Slot {
    /// Which keys verified them.
    generation: u64,
    tokens: Recent<Box<[u8]>, Arc<Verified>>,
}

impl VerifiedTokens {
    /// Nothing yet, for this many workers.
    pub fn new(workers: usize) -> Self {
        let slot = || Mutex::new(Slot { generation: 0, tokens: Recent::new(MOST, HEAVIEST) });
        Self((0..workers.max(1)).map(|_| slot()).collect())
    }

    /// What is known of a token that these keys have verified, and that is valid now.
    pub fn get(&self, worker: usize, token: &[u8], generation: u64, now: u64) -> Option<Arc<Verified>> {
        let mut slot = self.slot(worker)?;
        if slot.generation != generation {
            slot.tokens.clear();
            return None;
        }
        let known = slot.tokens.get(token)?;
        if now < known.over {
            return Some(known);
        }
        slot.tokens.remove(token);
        None
    }

    /// Remembers a token that these keys have verified.
    pub fn put(&self, worker: usize, token: &[u8], generation: u64, verified: Arc<Verified>) {
        let Some(mut slot) = self.slot(worker) else { return };
        if slot.generation != generation {
            slot.tokens.clear();
            slot.generation = generation;
        }
        slot.tokens.insert(token.into(), verified, token.len() * (1 + OVERHEAD));
    }

    fn slot(&self, worker: usize) -> Option<std::sync::MutexGuard<'_, Slot>> {
        let slot = self.0.get(worker).or(self.0.first())?;
        Some(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(over: u64) -> Arc<Verified> {
        let identity = Arc::default();
        Arc::new(Verified { identity, token_id: None, scopes: Vec::new(), fields: Box::default(), over })
    }

    #[test]
    fn a_token_is_known_until_it_is_over_or_the_keys_change() {
        let tokens = VerifiedTokens::new(2);
        tokens.put(0, b"t", 1, verified(100));
        assert!(tokens.get(0, b"t", 1, 99).is_some());
        assert!(tokens.get(1, b"t", 1, 99).is_none(), "another worker has its own");
        assert!(tokens.get(0, b"u", 1, 99).is_none());
        assert!(tokens.get(0, b"t", 1, 100).is_none());
        assert!(tokens.get(0, b"t", 1, 99).is_none(), "what is over is forgotten");
        tokens.put(0, b"t", 1, verified(100));
        assert!(tokens.get(0, b"t", 2, 1).is_none());
        assert!(tokens.get(0, b"t", 1, 1).is_none(), "the old keys do not come back");
        tokens.put(0, b"t", 2, verified(100));
        assert!(tokens.get(0, b"t", 2, 1).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let tokens = VerifiedTokens::new(1);
        for number in 0..3 * MOST {
            tokens.put(0, number.to_string().as_bytes(), 1, verified(100));
        }
        assert!(tokens.0[0].lock().unwrap().tokens.len() <= 2 * MOST);
        let long = vec![b'x'; 30_000];
        for number in 0..1000_u32 {
            tokens.put(0, &[&long, &number.to_be_bytes()[..]].concat(), 1, verified(100));
        }
        assert!(tokens.0[0].lock().unwrap().tokens.len() * long.len() * OVERHEAD <= 2 * HEAVIEST);
    }
}
