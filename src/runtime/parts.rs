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
use crate::layers::auth::api_key::ApiKeys;
use crate::layers::auth::basic::Basic;
use crate::layers::auth::forward::Forward;
use crate::layers::auth::keyset::KeySets;
use crate::layers::auth::policy::AuthPolicy;
use crate::layers::cache::store::Store;
use crate::layers::metrics::RouteMetrics;
use crate::layers::rate_limit::memory::Memories;
use crate::layers::redis::Connections;
use crate::upstream::Upstream;

/// Everything that may live on, by kind.
#[derive(Debug, Default)]
pub struct Parts {
    /// Upstreams by name. One with another source of addresses is the same upstream still: addresses that both sources
    /// have keep their state.
    pub upstreams: Living<Upstream>,
    /// The requests inside each route that allows only so many, by its name.
    pub in_flight: Living<Seats>,
    /// The counters of each route, by its name.
    pub metrics: Living<RouteMetrics>,
    /// Keys that verify tokens, by name and by all that says where they come from: with anything of that changed, they
    /// are others, and the old ones end with the last request that they may verify.
    pub key_sets: Arc<KeySets>,
    /// What has been kept of responses: one for all routes.
    pub cache: Living<Store>,
    /// Whoever else vouches for clients, with what they know and the connections that they have.
    pub credentials: Vouchers,
    /// What limits remember, by name: what was used up stays used up, whatever else has changed about the limit.
    pub memories: Memories,
    /// The Redis that is spoken to, while the settings for it stay the same.
    pub redis: Connections,
}

/// Policies `[auth.*]` that live on as long as they stay the same.
#[derive(Debug, Default)]
pub struct Vouchers {
    /// API keys.
    pub keys: Same<ApiKeys>,
    /// Names and passwords, and which of them were tried.
    pub users: Same<Basic>,
    /// Services, and the connections to them.
    pub services: Same<Forward>,
}

/// Things of one kind that are alive, each by the policy that it runs by.
#[derive(Debug)]
pub struct Same<T>(Mutex<Vec<(Arc<AuthPolicy>, Weak<T>)>>);

impl<T> Default for Same<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Same<T> {
    /// The one that runs by this policy, begun if there is none. Forgets those that have ended.
    pub fn get(&self, policy: &Arc<AuthPolicy>, begin: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, thing)| thing.strong_count() > 0);
        let known = all.iter().find(|(other, _)| other == policy).and_then(|(_, thing)| thing.upgrade());
        known.unwrap_or_else(|| {
            let begun = begin();
            all.push((policy.clone(), Arc::downgrade(&begun)));
            begun
        })
    }
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
