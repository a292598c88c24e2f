//! Builds a snapshot: the only place that constructs stacks and routers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use tokio::runtime::Handle;

use super::caching::Caching;
use super::limits::Limits;
use super::mount::{Answerer, Mount, Route};
use super::parts::Parts;
use super::snapshot::Snapshot;
use super::traces::seeds;
use super::vouching::{self, Vouching};
use crate::base::clock;
use crate::base::path;
use crate::config::order::{Entry, covers_host, entries, shares_host};
use crate::config::{Config, EncodedSlashes, HostMatch, PathMatch, RouteConfig};
use crate::layers::access_log::{AccessLog, Lines};
use crate::layers::body_limit::BodyLimit;
use crate::layers::cache::policy::{CachePolicy, Sharing};
use crate::layers::cors::Cors;
use crate::layers::deadline::Deadline;
use crate::layers::in_flight::InFlight;
use crate::layers::ip_access::IpAccess;
use crate::layers::metrics::{Metrics, RouteMetrics};
use crate::layers::path_guard::{Kept, PathGuard};
use crate::layers::request_id::RequestId;
use crate::layers::trace::{Step, Trace, TraceGate, Tracer};
use crate::layers::{Policies, Stack, stack};
use crate::telemetry::recorder::{Owners, Recorder};
use crate::upstream::balance::Sessions;
use crate::upstream::bound::Bound;
use crate::upstream::forward::Forward;
use crate::upstream::lookup::Lookup;
use crate::upstream::policy::UpstreamPolicy;
use crate::upstream::rewrite::Rewrite;
use crate::upstream::{self, Upstream};

/// The route label of requests that no route takes; no route can have this name.
const UNMATCHED: &str = "none";

/// What a snapshot is built with and shares with others.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Where numbers go.
    pub recorder: Arc<Recorder>,
    /// Where access lines go, if anywhere.
    pub lines: Option<Arc<Lines>>,
    /// Where ids come from.
    pub request_id: Arc<RequestId>,
    /// What traces are made with, where they have somewhere to go.
    pub tracer: Option<Arc<Tracer>>,
    /// What upstreams need.
    pub upstream: upstream::Tools,
    /// Where is worked out what asks nobody outside, such as whether a password fits: beside all else, unless somebody
    /// wants that alone to go on.
    pub local: Handle,
    /// What outlives a snapshot.
    pub parts: Arc<Parts>,
}

impl Tools {
    /// What a gateway with this configuration and so many workers needs, with nothing in it yet: no log, no traces. What
    /// goes on in the background does so on the runtime behind `control`.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(config: &Config, workers: usize, recorder: &Arc<Recorder>, control: &Handle) -> io::Result<Self> {
        let anchor = (clock::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let upstream = upstream::Tools {
            control: control.clone(),
            workers,
            recorder: recorder.clone(),
            dns: Arc::new(config.dns.clone()),
            lookup: Arc::new(Lookup::from_policy(&config.dns)),
            sessions: Arc::new(Sessions::new(anchor).map_err(io::Error::other)?),
        };
        let request_id = Arc::new(RequestId::new(seeds(workers), anchor));
        let (lines, tracer, parts) = Default::default();
        let (recorder, local) = (recorder.clone(), control.clone());
        Ok(Self { recorder, lines, request_id, tracer, upstream, local, parts })
    }
}

/// What routes have together.
struct Shared {
    vouching: Vouching,
    limits: Limits,
    caching: Option<Caching>,
}

/// A route for one of its hosts, and what it was made from.
struct Entered<'a> {
    config: &'a RouteConfig,
    host: Option<&'a HostMatch>,
    route: Arc<Route>,
}

/// A snapshot that is complete and does not run yet. Nothing that runs has changed; dropping it leaves no trace.
#[derive(Debug)]
pub struct Built {
    snapshot: Snapshot,
    /// Living upstreams, and what they will be told.
    policies: Vec<(Arc<Upstream>, Arc<UpstreamPolicy>)>,
    cache: CachePolicy,
    /// The names that have series from now on.
    owners: Owners,
}

impl Built {
    /// Tells what lives on of the new configuration, and hands out the snapshot, to be run at once.
    pub fn complete(self, tools: &Tools) -> Snapshot {
        for (upstream, policy) in &self.policies {
            upstream.adopt(policy, &tools.upstream);
        }
        if let Some(store) = &self.snapshot.cache {
            store.resize(&self.cache);
            store.share_through(self.snapshot.redis.as_ref().filter(|_| self.cache.store == Sharing::Redis));
        }
        tools.recorder.belongs_to(self.owners);
        for limit in self.snapshot.limits() {
            limit.memory.set_max_keys(limit.policy.max_keys);
        }
        self.snapshot
    }
}

/// Builds what a configuration describes, from what lives already and what is new.
pub fn build(config: &Config, tools: &Tools) -> Built {
    let mut policies = Vec::new();
    let mut upstreams: BTreeMap<&str, Arc<Bound>> = BTreeMap::new();
    let mut list = Vec::new();
    for policy in &config.upstreams {
        let upstream = tools.parts.upstreams.find(&policy.name).unwrap_or_else(|| {
            let upstream = Upstream::start(policy, &tools.upstream);
            tools.parts.upstreams.remember(&policy.name, &upstream);
            upstream
        });
        policies.push((upstream.clone(), policy.clone()));
        list.push(upstream.clone());
        upstreams.insert(&policy.name, Arc::new(Bound::new(upstream, policy)));
    }
    let snapshot = snapshot(config, &upstreams, list, tools);
    Built { snapshot, policies, cache: config.cache.clone(), owners: owners(config) }
}

/// Whose names labels may have: what is gone from the configuration has no series either, once it has ended.
fn owners(config: &Config) -> Owners {
    let routes = config.routes.iter().map(|route| route.name.clone()).chain([UNMATCHED.to_owned()]);
    Owners::from([
        ("route", routes.collect()),
        ("upstream", config.upstreams.iter().map(|policy| policy.name.clone()).collect()),
        ("auth", config.auth.iter().map(|policy| policy.name.clone()).collect()),
    ])
}

fn snapshot(
    config: &Config,
    upstreams: &BTreeMap<&str, Arc<Bound>>,
    list: Vec<Arc<Upstream>>,
    tools: &Tools,
) -> Snapshot {
    let shared = Shared {
        vouching: vouching::start(config, tools),
        limits: Limits::start(config, tools),
        caching: Caching::start(config, tools),
    };
    let mut ranks: HashMap<&PathMatch, usize> = HashMap::new();
    let routes: Vec<Option<Arc<Route>>> = config
        .routes
        .iter()
        .map(|route| {
            let next = ranks.len();
            let rank = *ranks.entry(&route.path).or_insert(next);
            let upstream = upstreams.get(route.upstream.as_str())?;
            let guard = path_guard(route, &config.routes);
            Some(Arc::new(build_route(route, rank, upstream, guard, &shared, tools)))
        })
        .collect();
    let in_order: Vec<Entered<'_>> = entries(&config.routes)
        .into_iter()
        .filter_map(|Entry { route, host }| {
            Some(Entered { config: config.routes.get(route)?, host, route: routes.get(route)?.clone()? })
        })
        .collect();
    let nobodys = common_policies(&UNMATCHED.into(), tools);
    let unmatched = stack(&nobodys, Answerer::Nobody);
    let hosts: BTreeSet<&HostMatch> = config.routes.iter().flat_map(|route| &route.hosts).collect();
    let mut wildcard = Vec::new();
    let mut exact = HashMap::default();
    for host in hosts {
        let router = router(&in_order, Some(host), &unmatched);
        match host {
            HostMatch::Exact(name) => drop(exact.insert(name.clone(), router)),
            HostMatch::Wildcard(suffix) => wildcard.push((suffix.clone(), router)),
        }
    }
    wildcard.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
    Snapshot {
        exact,
        wildcard,
        any: router(&in_order, None, &unmatched),
        unmatched: Mount::new(Vec::new(), unmatched.clone()),
        upstreams: list,
        providers: shared.vouching.providers(),
        limits: shared.limits.all,
        redis: shared.limits.redis,
        numbers: routes.iter().flatten().map(|route| &route.policies).chain([&nobodys]).map(numbers).collect(),
        routes: config.routes.iter().map(|route| route.name.as_str().into()).collect(),
        config: Arc::new(config.clone()),
        cache: shared.caching.map(|caching| caching.store),
    }
}

fn numbers(policies: &Policies) -> Arc<RouteMetrics> {
    policies.metrics.0.clone()
}

/// What a route refuses of paths: by its own settings, and so that no other spelling leads around those of others.
fn path_guard(config: &RouteConfig, routes: &[RouteConfig]) -> Option<PathGuard> {
    let others = routes.iter().filter(|other| other.is_guarded() && other.path != config.path);
    let kept: Vec<Kept> = others
        .filter(|other| shares_host(config, other))
        .map(|other| match &other.path {
            PathMatch::Prefix(prefix) => Kept::Prefix(prefix.clone()),
            PathMatch::Exact(path) => Kept::Exact(path.clone()),
        })
        .collect();
    let ambiguous = config.encoded_slashes == EncodedSlashes::Reject;
    (ambiguous || !kept.is_empty()).then_some(PathGuard { ambiguous, kept })
}

fn build_route(
    config: &RouteConfig,
    rank: usize,
    upstream: &Arc<Bound>,
    guard: Option<PathGuard>,
    shared: &Shared,
    tools: &Tools,
) -> Route {
    let name: Arc<str> = config.name.as_str().into();
    let [early_limits, late_limits] = shared.limits.of_route(config, &name);
    let prefix = match &config.path {
        PathMatch::Prefix(prefix) if config.strip_prefix => Some(prefix.clone()),
        _ => None,
    };
    let rewrite = Rewrite { strip_prefix: prefix, template: config.rewrite.clone() };
    let policies = Policies {
        ip_access: IpAccess::new(&config.allow_ips, &config.deny_ips).map(Arc::new),
        path_guard: guard.map(Arc::new),
        early_limits,
        in_flight: (config.max_in_flight > 0).then(|| Arc::new(in_flight(config, &tools.parts))),
        deadline: (!config.timeout.is_zero()).then(|| Arc::new(Deadline(config.timeout))),
        cors: config.cors.as_ref().map(|policy| Arc::new(Cors::new(policy, &config.methods))),
        auth_step: step(config.auth.is_some(), "auth", tools),
        auth: shared.vouching.of_route(config, &name, tools),
        late_limits,
        trace: trace(Some(&config.path), tools),
        body_limit: (config.max_body > 0).then(|| Arc::new(BodyLimit(config.max_body))),
        cache_step: step(config.cache.is_some(), "cache", tools),
        cache: shared.caching.as_ref().map(|caching| caching.of_route(config, tools)),
        ..common_policies(&name, tools)
    };
    let forward = Forward::new(upstream.clone(), rewrite, config.timeout);
    Route {
        rank,
        methods: config.methods.clone(),
        headers: config.headers.clone(),
        query: config.query.clone(),
        preflights: config.cors.is_some(),
        stack: stack(&policies, Answerer::Forward(forward.clone())),
        forward,
        policies,
        name,
    }
}

/// The requests that are inside now are counted on, whatever else has changed about their route.
fn in_flight(config: &RouteConfig, parts: &Parts) -> InFlight {
    InFlight::new(config.max_in_flight, parts.in_flight.find_or_begin(&config.name))
}

/// The traces of a route that takes these paths, where traces have somewhere to go.
fn trace(path: Option<&PathMatch>, tools: &Tools) -> Option<Arc<TraceGate>> {
    let path = path.map(|path| match path {
        PathMatch::Prefix(prefix) => format!("{}/*", prefix.trim_end_matches('/')).into(),
        PathMatch::Exact(path) => path.as_str().into(),
    });
    let tracer = tools.tracer.clone()?;
    Some(Arc::new(TraceGate(Trace::new(tracer, path))))
}

/// Times what is there, where there are traces.
fn step(is_there: bool, name: &'static str, tools: &Tools) -> Option<Arc<Step>> {
    (is_there && tools.tracer.is_some()).then(|| Arc::new(Step(name)))
}

/// What counts for a route goes on counting.
fn metrics(name: &Arc<str>, tools: &Tools) -> Arc<RouteMetrics> {
    tools.parts.metrics.find(name).unwrap_or_else(|| {
        let metrics = Arc::new(RouteMetrics::new(name, &tools.recorder));
        tools.parts.metrics.remember(name, &metrics);
        metrics
    })
}

/// What every request gets, whatever its route.
fn common_policies(name: &Arc<str>, tools: &Tools) -> Policies {
    Policies {
        request_id: tools.request_id.clone(),
        access_log: tools.lines.clone().map(|lines| Arc::new(AccessLog(lines))),
        metrics: Arc::new(Metrics(metrics(name, tools))),
        trace: trace(None, tools),
        ip_access: None,
        path_guard: None,
        cors: None,
        early_limits: None,
        in_flight: None,
        deadline: None,
        auth_step: None,
        auth: None,
        late_limits: None,
        body_limit: None,
        cache_step: None,
        cache: None,
    }
}

/// The router of one pattern of hosts, with every route that takes them. Each path gets every route that may take a
/// request there, the most specific first.
fn router(routes: &[Entered<'_>], host: Option<&HostMatch>, unmatched: &Stack<Answerer>) -> Router {
    let here: Vec<&Entered<'_>> = routes.iter().filter(|built| covers_host(built.host, host)).collect();
    let mount = |covered: &dyn Fn(&PathMatch) -> bool| {
        let taking = here.iter().filter(|built| covered(&built.config.path)).map(|built| built.route.clone());
        Mount::new(taking.collect(), unmatched.clone())
    };
    let paths: BTreeSet<&str> = here.iter().map(|built| text(&built.config.path)).collect();
    let prefixes: BTreeSet<&str> = here.iter().filter_map(|built| prefix(&built.config.path)).collect();
    let mut router = Router::new().without_v07_checks();
    for path in paths.iter().filter(|path| **path != "/" || !prefixes.contains("/")) {
        router = router.route_service(path, mount(&|route| takes(route, path)));
    }
    for prefix in prefixes.into_iter().filter(|prefix| *prefix != "/") {
        let below = mount(&|route| matches!(route, PathMatch::Prefix(other) if path::is_below(prefix, other)));
        let slash = format!("{prefix}/");
        // A route may have the path with the slash for its own.
        if !paths.contains(slash.as_str()) {
            router = router.route_service(&slash, below.clone());
        }
        router = router.route_service(&format!("{prefix}/{{*below}}"), below);
    }
    let root = mount(&|route| matches!(route, PathMatch::Prefix(prefix) if prefix == "/"));
    router.fallback_service(root)
}

/// Whether a route of this path takes requests to another one.
pub(super) fn takes(route: &PathMatch, path: &str) -> bool {
    match route {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) => path::is_below(path, prefix),
    }
}

fn text(path: &PathMatch) -> &str {
    match path {
        PathMatch::Prefix(text) | PathMatch::Exact(text) => text,
    }
}

fn prefix(path: &PathMatch) -> Option<&str> {
    match path {
        PathMatch::Prefix(prefix) => Some(prefix),
        PathMatch::Exact(_) => None,
    }
}
