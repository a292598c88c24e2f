//! What runs, whole and immutable: for each set of hosts an axum router that mounts the routes, and the upstreams behind
//! them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;

use super::mount::Mount;
use crate::config::Config;
use crate::layers::auth::provider::Provider;
use crate::layers::cache::store::Store;
use crate::layers::metrics::RouteMetrics;
use crate::layers::rate_limit::limit::Limit;
use crate::layers::redis::Redis;
use crate::upstream::Upstream;

/// A configuration, running.
#[derive(Debug)]
pub struct Snapshot {
    /// Routers of the hosts that routes name.
    pub(super) exact: HashMap<String, Router, foldhash::fast::RandomState>,
    /// Routers of the wildcard hosts, by suffix, the longest first.
    pub(super) wildcard: Vec<(String, Router)>,
    /// The router of all other hosts.
    pub(super) any: Router,
    /// Delivers what was refused before it could be routed.
    pub(super) unmatched: Mount,
    pub(super) upstreams: Vec<Arc<Upstream>>,
    pub(super) providers: Vec<Arc<Provider>>,
    pub(super) limits: Vec<Arc<Limit>>,
    pub(super) redis: Option<Arc<Redis>>,
    pub(super) routes: Vec<Arc<str>>,
    pub(super) numbers: Vec<Arc<RouteMetrics>>,
    pub(super) config: Arc<Config>,
    pub(super) cache: Option<Arc<Store>>,
}

impl Snapshot {
    /// The router for a host: in lower case, without port.
    pub fn router(&self, host: &str) -> &Router {
        if self.exact.is_empty() && self.wildcard.is_empty() {
            return &self.any;
        }
        let wildcard = || self.wildcard.iter().find(|(suffix, _)| is_within(host, suffix)).map(|(_, router)| router);
        self.exact.get(host).or_else(wildcard).unwrap_or(&self.any)
    }

    /// What delivers a refusal that was decided before routing.
    pub fn unmatched(&self) -> &Mount {
        &self.unmatched
    }

    /// The upstreams, in name order.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Those who can vouch for a client, in name order.
    pub fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    /// What is kept of responses, where any route keeps some.
    pub fn cache(&self) -> Option<&Arc<Store>> {
        self.cache.as_ref()
    }

    /// How much may pass, in name order.
    pub fn limits(&self) -> &[Arc<Limit>] {
        &self.limits
    }

    /// The Redis that something of it needs.
    pub fn redis(&self) -> Option<&Arc<Redis>> {
        self.redis.as_ref()
    }

    /// The names of the routes, in the order in which they were written.
    pub fn routes(&self) -> &[Arc<str>] {
        &self.routes
    }

    /// The numbers of each route, in the same order; those of requests that no route takes come last.
    pub fn numbers(&self) -> &[Arc<RouteMetrics>] {
        &self.numbers
    }

    /// What it was made from.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }
}

/// Whether a host is covered by `*.example.com`, given as `.example.com`. At least one label must stand before it.
fn is_within(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}
