//! The keys of an issuer over time: one signs; those before it stay published until their tokens have ended. Knows no
//! clock and no listener.

use std::sync::Arc;

use serde_json::Value;

use super::algorithm::Algorithm;
use super::jwk;
use super::key::{Key, KeyError};

/// A key and how it is used.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The key.
    pub key: Arc<Key>,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Its name in tokens.
    pub kid: Option<String>,
}

/// The keys that are published; never more than [`Keyring::MOST`].
#[derive(Debug)]
pub struct Keyring {
    current: Signer,
    /// Each with the second since 1970 when it goes, the newest first.
    retired: Vec<(Signer, i64)>,
}

impl Signer {
    /// A key under its thumbprint, with its usual algorithm unless told otherwise.
    ///
    /// # Errors
    /// The algorithm is for other keys.
    pub fn new(key: Key, algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        let algorithm = algorithm.unwrap_or_else(|| key.family().usual());
        if algorithm.family() != key.family() {
            return Err(KeyError::Mismatch(algorithm, key.family()));
        }
        Ok(Self { algorithm, kid: jwk::thumbprint(&key), key: Arc::new(key) })
    }

    /// The public half; a secret has none.
    pub fn public(&self) -> Option<Value> {
        jwk::public(&self.key, self.kid.as_deref(), Some(self.algorithm))
    }

    fn is(&self, other: &Self) -> bool {
        self.key.public() == other.key.public()
    }
}

impl Keyring {
    /// Keys that are published at one time: however fast they rotate, the set stays small.
    pub const MOST: usize = 16;

    /// A ring with one key.
    pub fn new(current: Signer) -> Self {
        Self { current, retired: Vec::new() }
    }

    /// The key that signs.
    pub fn current(&self) -> &Signer {
        &self.current
    }

    /// From now on this key signs; the one before it stays published until `until`. The same key again changes nothing,
    /// and says so.
    pub fn rotate(&mut self, next: Signer, until: i64) -> bool {
        if next.is(&self.current) {
            return false;
        }
        self.retired.retain(|(old, _)| !old.is(&next));
        let old = std::mem::replace(&mut self.current, next);
        self.retired.insert(0, (old, until));
        self.retired.truncate(Self::MOST - 1);
        true
    }

    /// What is published at `now`; the key that signs comes first.
    pub fn published(&mut self, now: i64) -> Value {
        self.retired.retain(|(_, until)| now < *until);
        jwk::set(
            std::iter::once(&self.current).chain(self.retired.iter().map(|(old, _)| old)).filter_map(Signer::public),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::new(Key::generate(Algorithm::EdDsa, 2048).unwrap(), None).unwrap()
    }

    fn kids(ring: &mut Keyring, now: i64) -> Vec<String> {
        let set = ring.published(now);
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_new_key_joins_and_the_old_one_stays_for_a_while() {
        let (one, two) = (signer(), signer());
        let (first, second) = (one.kid.clone().unwrap(), two.kid.clone().unwrap());
        let mut ring = Keyring::new(one.clone());
        assert!(!ring.rotate(one.clone(), 100), "the same key again");
        assert!(ring.rotate(two, 100));
        assert_eq!(kids(&mut ring, 99), [second.clone(), first.clone()]);
        assert_eq!(ring.current().kid.as_ref(), Some(&second));
        assert_eq!(kids(&mut ring, 100), std::slice::from_ref(&second));
        assert!(ring.rotate(one, 300));
        assert_eq!(kids(&mut ring, 200), [first, second], "a key that comes back is there once");
    }

    #[test]
    fn however_often_it_rotates_the_set_stays_small() {
        let mut ring = Keyring::new(signer());
        for _ in 0..40 {
            ring.rotate(signer(), 1000);
        }
        assert_eq!(kids(&mut ring, 0).len(), Keyring::MOST);
    }
}
