//! How many series a configuration can make at most, whatever clients and upstreams do: the sum over all metrics of what
//! their labels can be. `tollgate check` prints it.

use std::collections::BTreeSet;

use crate::base::cache::CacheNote;
use crate::base::mode::Mode;
use crate::base::reject::Reason;
use crate::config::{Config, RouteConfig};
use crate::layers::auth::failure::RESULTS;
use crate::layers::auth::fetch::FetchError;
use crate::layers::metrics::{METHODS, STATUS_LABELS};
use crate::telemetry::names::{self, Name};
use crate::telemetry::{histogram, process};
use crate::upstream::answers::LookupFailure;
use crate::upstream::metrics::{OUTCOMES, RETRIES, SKIPPED};
use crate::upstream::policy::{Discovery, UpstreamPolicy};
use crate::upstream::status::{self, STATES};

/// The most series on a page of metrics, by family. While a reload changes what there is, those of requests that end on
/// the configuration before are there too.
pub fn greatest(config: &Config, workers: usize) -> Vec<(Name, usize)> {
    names::ALL.iter().map(|name| (*name, of(name, config, workers))).collect()
}

/// The sum of it, `process_*` included.
pub fn total(config: &Config, workers: usize) -> usize {
    greatest(config, workers).iter().map(|(_, most)| most).sum::<usize>() + process::SERIES
}

fn of(name: &Name, config: &Config, workers: usize) -> usize {
    let routes = config.routes.len() + 1; // those that no route takes have a label of their own
    let upstreams = config.upstreams.len();
    let of_upstreams = |count: &dyn Fn(&UpstreamPolicy) -> usize| config.upstreams.iter().map(|one| count(one)).sum();
    let named = |policy: &UpstreamPolicy| !matches!(policy.discovery, Discovery::Addresses(_));
    match *name {
        names::REQUESTS => config.routes.iter().map(methods).sum::<usize>() * STATUS_LABELS + unmatched(),
        names::REQUEST_DURATION => routes * histogram::SERIES,
        names::REQUESTS_IN_FLIGHT => routes,
        names::REFUSALS => {
            (routes + config.routes.iter().filter(|route| observes(config, route)).count()) * Reason::ALL.len()
        }
        names::UPSTREAM_REQUESTS => upstreams * OUTCOMES.len(),
        names::UPSTREAM_DURATION => upstreams * histogram::SERIES,
        names::UPSTREAM_ENDPOINTS => upstreams * STATES.len(),
        names::UPSTREAM_EJECTIONS => upstreams,
        names::UPSTREAM_RETRIES => upstreams * RETRIES.len(),
        names::UPSTREAM_RETRIES_SKIPPED => upstreams * SKIPPED.len(),
        names::UPSTREAM_CONNECTIONS => upstreams * 2,
        names::UPSTREAM_WAITING => of_upstreams(&|policy| usize::from(policy.max_connections > 0)),
        names::UPSTREAM_CIRCUIT_STATE => of_upstreams(&|policy| usize::from(policy.circuit.is_some())),
        names::ENDPOINT_REQUESTS => of_upstreams(&addresses),
        names::DNS_LOOKUPS => of_upstreams(&|policy| usize::from(named(policy)) * (1 + LookupFailure::LABELS.len())),
        names::DNS_ANSWER_AGE => of_upstreams(&|policy| usize::from(named(policy))),
        names::AUTH => config.auth.len() * RESULTS.len(),
        names::JWKS_REFRESHES => config.auth.len() * (1 + FetchError::WORDS.len()),
        names::JWKS_AGE => config.auth.len(),
        names::RATE_LIMIT_DECISIONS => config.rate_limits.len() * 4, // allowed and refused, in two modes
        names::RATE_LIMIT_KEYS
        | names::RATE_LIMIT_STORE_ERRORS
        | names::RATE_LIMIT_EVICTIONS
        | names::RATE_LIMIT_OVERFLOWS => config.rate_limits.len(),
        names::CACHE_REQUESTS => {
            config.routes.iter().filter(|route| route.cache.is_some()).count() * CacheNote::ALL.len()
        }
        names::REDIS_UP | names::REDIS_REPLICAS => usize::from(config.redis.is_some()),
        names::BUILD_INFO => 1,
        names::CONFIG_RELOADS => 2,
        names::TRACE_SPANS => 3,
        names::CONNECTIONS | names::CONNECTIONS_REFUSED => config.server.listen.len(),
        names::WORKER_CONNECTIONS => workers,
        names::WORKER_TASKS | names::WORKER_BUSY => workers + 1,
        // Those without a label.
        _ => usize::from(name.labels.is_empty()),
    }
}

/// The values that `method` can have where a route takes only some.
fn methods(route: &RouteConfig) -> usize {
    if route.methods.is_empty() {
        return METHODS.len();
    }
    let own = |method: &http::Method| METHODS.iter().find(|name| **name == method.as_str()).copied().unwrap_or("OTHER");
    let mut labels: BTreeSet<&str> = route.methods.iter().map(own).collect();
    if labels.contains("GET") {
        labels.insert("HEAD");
    }
    labels.len()
}

/// What no route takes is refused, but for `OPTIONS *`, and for those who leave before.
fn unmatched() -> usize {
    let refusals: BTreeSet<u16> = Reason::ALL.iter().map(|reason| reason.facts().status.as_u16()).collect();
    METHODS.len() * (refusals.len() + 2)
}

/// Whether anything on the route only counts what it would refuse.
fn observes(config: &Config, route: &RouteConfig) -> bool {
    let limits = |name: &str| config.rate_limits.iter().any(|limit| limit.name == name && limit.mode == Mode::Observe);
    route.auth.as_ref().is_some_and(|auth| auth.mode == Mode::Observe)
        || route.rate_limits.iter().any(|used| limits(&used.name))
}

fn addresses(policy: &UpstreamPolicy) -> usize {
    match &policy.discovery {
        Discovery::Addresses(list) => list.len().min(status::SERIES),
        Discovery::Dns { .. } | Discovery::Services { .. } => status::SERIES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn most(text: &str, name: Name) -> usize {
        let config = load::from_text(text).unwrap().config;
        greatest(&config, 2).iter().find(|(known, _)| *known == name).unwrap().1
    }

    const CONFIG: &str = "
        [auth.p]\nsecret = 'old-0123456789abcdef0123456789abcdef'
        [upstreams.a]\naddresses = ['10.0.0.1:80', '10.0.0.2:80']
        [upstreams.b]\ndns = 'b:80'\nmax_connections = 3
        [[routes]]\nname = 'x'\nprefix = '/x'\nupstream = 'a'\ncache = true\nmethods = ['GET', 'POST']
        [[routes]]\nname = 'y'\nprefix = '/y'\nupstream = 'b'\nauth = { use = 'p', mode = 'observe' }";

    #[test]
    fn the_bound_follows_from_the_configuration() {
        // GET, HEAD and POST for one route, all methods for the other, and what no route takes.
        assert_eq!(most(CONFIG, names::REQUESTS), 13 * STATUS_LABELS + unmatched());
        assert_eq!(most(CONFIG, names::REQUEST_DURATION), 3 * 16);
        assert_eq!(most(CONFIG, names::REFUSALS), 4 * Reason::ALL.len());
        assert_eq!(most(CONFIG, names::ENDPOINT_REQUESTS), 2 + 256);
        assert_eq!((most(CONFIG, names::DNS_LOOKUPS), most(CONFIG, names::UPSTREAM_WAITING)), (5, 1));
        assert_eq!((most(CONFIG, names::WORKER_BUSY), most(CONFIG, names::BUILD_INFO)), (3, 1));
    }

    #[test]
    fn what_is_configured_has_series_of_every_family() {
        let config = load::from_text(&format!(
            "{CONFIG}\n[upstreams.b.circuit]\n[rate_limits.l]\nrate = '1/s'\n[redis]\nurl = 'redis://127.0.0.1'"
        ))
        .unwrap()
        .config;
        let none: Vec<&str> =
            greatest(&config, 2).iter().filter(|(_, most)| *most == 0).map(|(name, _)| name.id).collect();
        assert!(none.is_empty(), "{none:?}");
    }
}
