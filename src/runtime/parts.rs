//! What outlives a snapshot, found again by what it is for. A snapshot is made of settings, which are new each time, and
//! of living things, which are not: addresses with their state and connections, and whatever else has learned or counted
//! something. The living things belong to the snapshots that use them; this only finds them again, so that what no
//! snapshot needs any more ends with the last request that does.
//!
//! To keep another kind of thing over a reload, give it a [`Living`] here, ask it in `runtime::build` before making a new
//! one, and bring the new settings to what was found in [`Built::complete`](super::build::Built::complete).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::base::seat::Seats;
use crate::layers::auth::keyset::KeySets;
use crate::layers::metrics::Errors;
use crate::upstream::Upstream;

/// Everything that may live on, by kind.
#[derive(Debug, Default)]
pub struct Parts {
    /// Upstreams by name. One with another source of addresses is the same upstream still: addresses that both sources
    /// have keep their state.
    pub upstreams: Living<Upstream>,
    /// The requests inside each route that allows only so many, by its name.
    pub in_flight: Living<Seats>,
    /// The errors of each route, by its name.
    pub errors: Living<Errors>,
    /// Keys that verify tokens, by name and by all that says where they come from: with anything of that changed, they
    /// are others, and the old ones end with the last request that they may verify.
    pub key_sets: Arc<KeySets>,
}

/// Things of one kind that are alive, by name.
#[derive(Debug)]
pub struct Living<T>(Mutex<BTreeMap<String, Weak<T>>>);

impl<T> Default for Living<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Living<T> {
    /// The one with this name, while somebody has it.
    pub fn find(&self, name: &str) -> Option<Arc<T>> {
        self.lock().get(name)?.upgrade()
    }

    /// The one with this name, or a new one.
    pub fn find_or_begin(&self, name: &str) -> Arc<T>
    where
        T: Default,
    {
        self.find(name).unwrap_or_else(|| {
            let new = Arc::default();
            self.remember(name, &new);
            new
        })
    }

    /// Finds this one from now on under the name. Forgets those that have ended.
    pub fn remember(&self, name: &str, thing: &Arc<T>) {
        let mut all = self.lock();
        all.retain(|_, thing| thing.strong_count() > 0);
        all.insert(name.to_owned(), Arc::downgrade(thing));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Weak<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_is_found_and_what_has_ended_is_forgotten() {
        let living = Living::default();
        let one = Arc::new(1);
        living.remember("one", &one);
        assert!(living.find("one").is_some_and(|found| Arc::ptr_eq(&found, &one)));
        assert_eq!(living.find("two"), None);
        drop(one);
        assert_eq!(living.find("one"), None);
        living.remember("two", &Arc::new(2));
        assert_eq!(living.lock().keys().collect::<Vec<_>>(), ["two"]);
    }
}
