//! A shared cache by RFC 9111: what one route keeps and answers. Small pure parts say what may be kept and served
//! ([`directives`], [`freshness`], [`storable`], [`vary`], [`validation`], [`range`], [`invalidation`], [`decide`]);
//! [`store`] keeps it, [`flight`] and [`fill`] let many wait for one, and [`service`] stands in the stack.

pub mod answer;
mod arrive;
pub mod ask;
pub mod blob;
pub mod date;
pub mod decide;
pub mod directives;
pub mod entry;
pub mod explain;
pub mod fetch;
pub mod fill;
pub mod flight;
pub mod freshness;
pub mod invalidation;
pub mod key;
pub mod pass;
pub mod policy;
pub mod pump;
pub mod purge;
pub mod range;
pub mod refresh;
pub mod room;
pub mod service;
pub mod status;
pub mod storable;
pub mod store;
pub mod structured;
pub mod tier;
pub mod validation;
pub mod vary;

use std::sync::Arc;

use metrics::Counter;

use crate::base::cache::CacheNote;
use crate::base::exchange::Exchange;
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;
use policy::RouteCachePolicy;
use store::Store;

/// The cache of one route.
pub struct Cache {
    /// What the route has decided; none where it keeps nothing, and only what changes on it makes void what others keep.
    policy: Option<RouteCachePolicy>,
    /// Largest body that is kept.
    max_object: u64,
    store: Arc<Store>,
    counters: [Counter; CacheNote::ALL.len()],
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cache({:?})", self.policy)
    }
}

impl Cache {
    /// The cache of a route with this name and policy.
    pub fn new(
        route: &str,
        policy: Option<RouteCachePolicy>,
        max_object: u64,
        store: Arc<Store>,
        recorder: &Recorder,
    ) -> Self {
        let counter = |note: CacheNote| match policy {
            Some(_) => recorder.counter(names::CACHE_REQUESTS, &[route, note.as_str()]),
            None => Counter::noop(),
        };
        Self { counters: CacheNote::ALL.map(counter), policy, max_object, store }
    }

    /// Notes what became of a request.
    fn note(&self, exchange: &mut Exchange, note: CacheNote) {
        exchange.cache = Some(note);
        if let Some(counter) = CacheNote::ALL.iter().position(|one| *one == note).and_then(|at| self.counters.get(at)) {
            counter.increment(1);
        }
    }
}
