//! Builds a snapshot: the only place that constructs stacks and routers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use tokio::runtime::Handle;

use super::mount::{Answerer, Mount, Route};
use super::parts::Parts;
use super::snapshot::Snapshot;
use crate::base::clock;
use crate::base::identity::Reserved;
use crate::base::path;
use crate::config::order::{Entry, covers_host, entries};
use crate::config::{Config, EncodedSlashes, HostMatch, PathMatch, RouteConfig};
use crate::layers::access_log::{AccessLog, Lines};
use crate::layers::auth::Auth;
use crate::layers::auth::policy::Method;
use crate::layers::auth::provider::{self, Provider};
use crate::layers::body_limit::BodyLimit;
use crate::layers::deadline::Deadline;
use crate::layers::in_flight::InFlight;
use crate::layers::ip_access::IpAccess;
use crate::layers::metrics::{Metrics, RouteMetrics};
use crate::layers::path_guard::PathGuard;
use crate::layers::request_id::RequestId;
use crate::layers::{Policies, Stack, stack};
use crate::telemetry::recorder::Recorder;
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
    /// What upstreams need.
    pub upstream: upstream::Tools,
    /// What outlives a snapshot.
    pub parts: Arc<Parts>,
}

impl Tools {
    /// What a gateway with this configuration and so many workers needs, with nothing in it yet. What goes on in the
    /// background does so on the runtime behind `control`.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(
        config: &Config,
        workers: usize,
        recorder: &Arc<Recorder>,
        lines: Option<Arc<Lines>>,
        control: &Handle,
    ) -> io::Result<Self> {
        // Each hasher has keys of its own from the system's randomness.
        let seeds = (0..workers).map(|worker| RandomState::new().hash_one(worker));
        let anchor = (clock::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let upstream = upstream::Tools {
            control: control.clone(),
            workers,
            recorder: recorder.clone(),
            dns: Arc::new(config.dns.clone()),
            lookup: Arc::new(Lookup::from_policy(&config.dns)),
            sessions: Arc::new(Sessions::new(anchor).map_err(io::Error::other)?),
        };
        let request_id = Arc::new(RequestId::new(seeds, anchor));
        Ok(Self { recorder: recorder.clone(), lines, request_id, upstream, parts: Arc::default() })
    }
}

/// Those who can vouch for a client, by name, and what only they may say.
struct Vouching {
    providers: BTreeMap<String, Arc<Provider>>,
    reserved: Reserved,
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
}

impl Built {
    /// Tells what lives on of the new configuration, and hands out the snapshot, to be run at once.
    pub fn complete(self, tools: &Tools) -> Snapshot {
        for (upstream, policy) in &self.policies {
            upstream.adopt(policy, &tools.upstream);
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
    Built { snapshot: snapshot(config, &upstreams, list, tools), policies }
}

fn snapshot(
    config: &Config,
    upstreams: &BTreeMap<&str, Arc<Bound>>,
    list: Vec<Arc<Upstream>>,
    tools: &Tools,
) -> Snapshot {
    let vouching = vouching(config, tools);
    let mut ranks: HashMap<&PathMatch, usize> = HashMap::new();
    let routes: Vec<Option<Arc<Route>>> = config
        .routes
        .iter()
        .map(|route| {
            let next = ranks.len();
            let rank = *ranks.entry(&route.path).or_insert(next);
            let upstream = upstreams.get(route.upstream.as_str())?;
            Some(Arc::new(build_route(route, rank, upstream, &vouching, tools)))
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
        providers: vouching.providers.into_values().collect(),
        numbers: routes.iter().flatten().map(|route| &route.policies).chain([&nobodys]).map(numbers).collect(),
        routes: config.routes.iter().map(|route| route.name.as_str().into()).collect(),
        config: Arc::new(config.clone()),
    }
}

fn numbers(policies: &Policies) -> Arc<RouteMetrics> {
    policies.metrics.0.clone()
}

/// Starts the policies that routes name.
fn vouching(config: &Config, tools: &Tools) -> Vouching {
    let needed = provider::Tools {
        control: tools.upstream.control.clone(),
        workers: tools.upstream.workers,
        recorder: tools.recorder.clone(),
        key_sets: tools.parts.key_sets.clone(),
    };
    let used = |name: &String| {
        config.routes.iter().filter_map(|route| route.auth.as_ref()).any(|auth| auth.policies.contains(name))
    };
    let mut providers = BTreeMap::new();
    let mut reserved = Vec::new();
    for policy in &config.auth {
        let Method::Jwt(jwt) = &policy.method;
        reserved.extend(jwt.claims_to_headers.iter().map(|(_, name)| name.clone()));
        if used(&policy.name) {
            providers.insert(policy.name.clone(), Provider::start(&policy.name, jwt, &needed));
        }
    }
    Vouching { providers, reserved: Reserved::new(reserved) }
}

/// What a route asks. One that asks nobody still lets nobody say who they are, where anything below would believe it.
fn auth(config: &RouteConfig, name: &Arc<str>, vouching: &Vouching, tools: &Tools) -> Option<Arc<Auth>> {
    let reserved = vouching.reserved.clone();
    match &config.auth {
        None => (!reserved.is_empty()).then(|| Arc::new(Auth::nobody(reserved))),
        Some(rule) => {
            let providers = rule.policies.iter().filter_map(|name| vouching.providers.get(name).cloned()).collect();
            Some(Arc::new(Auth::new(name.clone(), rule.clone(), providers, reserved, tools.recorder.clone())))
        }
    }
}

fn build_route(config: &RouteConfig, rank: usize, upstream: &Arc<Bound>, vouching: &Vouching, tools: &Tools) -> Route {
    let name: Arc<str> = config.name.as_str().into();
    let prefix = match &config.path {
        PathMatch::Prefix(prefix) if config.strip_prefix => Some(prefix.clone()),
        _ => None,
    };
    let rewrite = Rewrite { strip_prefix: prefix, template: config.rewrite.clone() };
    let policies = Policies {
        ip_access: IpAccess::new(&config.allow_ips, &config.deny_ips).map(Arc::new),
        path_guard: (config.encoded_slashes == EncodedSlashes::Reject).then(|| Arc::new(PathGuard)),
        in_flight: (config.max_in_flight > 0).then(|| Arc::new(in_flight(config, &tools.parts))),
        deadline: (!config.timeout.is_zero()).then(|| Arc::new(Deadline(config.timeout))),
        auth: auth(config, &name, vouching, tools),
        body_limit: (config.max_body > 0).then(|| Arc::new(BodyLimit(config.max_body))),
        ..common_policies(&name, tools)
    };
    let forward = Forward::new(upstream.clone(), rewrite, config.timeout);
    Route {
        rank,
        methods: config.methods.clone(),
        headers: config.headers.clone(),
        query: config.query.clone(),
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

/// What every request gets, whatever its route.
fn common_policies(name: &Arc<str>, tools: &Tools) -> Policies {
    let errors = tools.parts.errors.find_or_begin(name);
    Policies {
        request_id: tools.request_id.clone(),
        access_log: tools.lines.clone().map(|lines| Arc::new(AccessLog(lines))),
        metrics: Arc::new(Metrics(Arc::new(RouteMetrics::new(name, &tools.recorder, errors)))),
        ip_access: None,
        path_guard: None,
        in_flight: None,
        deadline: None,
        auth: None,
        body_limit: None,
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
