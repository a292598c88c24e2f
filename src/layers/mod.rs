//! Floor 2: the policies that stand in front of forwarding, and the one place that puts them in order. No layer knows
//! another, none knows what forwards. To add one: its file, a field of [`Policies`], a line in [`Stack`] and in
//! [`stack`].

pub mod access_log;
pub mod auth;
pub mod body_limit;
pub mod cache;
pub mod cors;
pub mod deadline;
pub mod gate;
pub mod in_flight;
pub mod ip_access;
pub mod metrics;
pub mod path_guard;
pub mod rate_limit;
pub mod redis;
pub mod request_id;
pub mod trace;

use std::sync::Arc;

use tower::ServiceBuilder;

use access_log::AccessLog;
use auth::Auth;
use body_limit::BodyLimit;
use cache::Cache;
use cache::service::{CacheLayer, Cached};
use cors::Cors;
use deadline::Deadline;
use gate::{GateLayer, Gated, Serve};
use in_flight::InFlight;
use ip_access::IpAccess;
use metrics::Metrics;
use path_guard::PathGuard;
use rate_limit::RateLimit;
use request_id::RequestId;
use trace::{Step, TraceGate};

/// What one route asks of its layers; `None` where it does not use one.
#[derive(Debug)]
pub struct Policies {
    /// Ids for requests.
    pub request_id: Arc<RequestId>,
    /// Lines for requests.
    pub access_log: Option<Arc<AccessLog>>,
    /// Numbers about requests.
    pub metrics: Arc<Metrics>,
    /// The traces of requests.
    pub trace: Option<Arc<TraceGate>>,
    /// The addresses that may come in.
    pub ip_access: Option<Arc<IpAccess>>,
    /// The paths that are refused.
    pub path_guard: Option<Arc<PathGuard>>,
    /// What pages of other origins may.
    pub cors: Option<Arc<Cors>>,
    /// How much may pass before it is known who asks.
    pub early_limits: Option<Arc<RateLimit>>,
    /// The requests at a time.
    pub in_flight: Option<Arc<InFlight>>,
    /// The budget of time.
    pub deadline: Option<Arc<Deadline>>,
    /// Notes how long it takes to find out who asks.
    pub auth_step: Option<Arc<Step>>,
    /// Who may pass.
    pub auth: Option<Arc<Auth>>,
    /// How much may pass by who asks.
    pub late_limits: Option<Arc<RateLimit>>,
    /// The budget of bytes.
    pub body_limit: Option<Arc<BodyLimit>>,
    /// Notes how long the cache takes, with what it has to fetch.
    pub cache_step: Option<Arc<Step>>,
    /// What has been answered before.
    pub cache: Option<Arc<Cache>>,
}

/// A route's layers around the service `S` that answers.
pub type Stack<S> = Observed<Admitted<Identified<S>>>;

/// Those that see every request and what became of it.
type Observed<S> = Gated<RequestId, Gated<AccessLog, Gated<Metrics, Gated<TraceGate, S>>>>;

/// Those that decide before anybody knows who asks.
type Admitted<S> =
    Gated<IpAccess, Gated<PathGuard, Gated<Cors, Gated<RateLimit, Gated<InFlight, Gated<Deadline, S>>>>>>;

/// Those that find out who asks, and what that one may do.
type Identified<S> = Gated<Step, Gated<Auth, Gated<RateLimit, Gated<BodyLimit, Gated<Step, Cached<S>>>>>>;

/// Puts a route's layers around `inner`, outermost first. Moving a line changes behaviour: read its reason first.
pub fn stack<S>(policies: &Policies, inner: S) -> Stack<S>
where
    S: Serve,
{
    ServiceBuilder::new()
        .layer(GateLayer(Some(policies.request_id.clone()))) // first: every line and every refusal names the id
        .layer(GateLayer(policies.access_log.clone())) // sees every outcome, also the refusals below
        .layer(GateLayer(Some(policies.metrics.clone()))) // likewise; behind the log only because the log needs no metrics
        .layer(GateLayer(policies.trace.clone())) // before all that is to be seen in a trace
        .layer(GateLayer(policies.ip_access.clone())) // before all that costs, and tells nothing else to who may not come in
        .layer(GateLayer(policies.path_guard.clone())) // before anything that decides by the path
        .layer(GateLayer(policies.cors.clone())) // a preflight has no credentials; and pages may read the refusals below
        .layer(GateLayer(policies.early_limits.clone())) // before all that costs: tokens are verified only at this rate
        .layer(GateLayer(policies.in_flight.clone())) // before all that costs or waits; a path refused above takes no room
        .layer(GateLayer(policies.deadline.clone())) // one budget for everything that waits below
        .layer(GateLayer(policies.auth_step.clone())) // around what it times
        .layer(GateLayer(policies.auth.clone())) // behind limits by address: signatures cost; before what asks who it is
        .layer(GateLayer(policies.late_limits.clone())) // behind auth, which says who asks
        .layer(GateLayer(policies.body_limit.clone())) // before anything that reads or forwards a body
        .layer(GateLayer(policies.cache_step.clone())) // around what it times
        .layer(CacheLayer(policies.cache.clone())) // last: a stored answer passes by everything above, and saves all below
        .service(inner)
}
