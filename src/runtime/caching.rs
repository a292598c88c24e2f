//! What the routes of a snapshot keep responses in: found again on a reload, so that what was kept is still there.

use std::sync::Arc;

use super::build::Tools;
use crate::config::{Config, RouteConfig};
use crate::layers::cache::Cache;
use crate::layers::cache::store::Store;

/// The name of the one store.
const NAME: &str = "memory";

/// What all routes keep responses in.
pub(super) struct Caching {
    /// The store.
    pub(super) store: Arc<Store>,
    max_object: u64,
}

impl Caching {
    /// The store, where any route keeps something.
    pub(super) fn start(config: &Config, tools: &Tools) -> Option<Self> {
        config.routes.iter().any(|route| route.cache.is_some()).then(|| {
            let store = tools.parts.cache.find(NAME).unwrap_or_else(|| {
                let store = Store::new(&config.cache, &tools.recorder);
                tools.parts.cache.remember(NAME, &store);
                store
            });
            Self { store, max_object: config.cache.max_object }
        })
    }

    /// The cache of a route: also of one that keeps nothing, as what changes on it makes void what others keep.
    pub(super) fn of_route(&self, config: &RouteConfig, tools: &Tools) -> Arc<Cache> {
        let policy = config.cache.clone();
        Arc::new(Cache::new(&config.name, policy, self.max_object, self.store.clone(), &tools.recorder))
    }
}
